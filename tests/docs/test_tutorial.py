"""The tutorials do what they say: every command is run against real daemons."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.docs.console import DEADLINE_S, Step, Terminal, matches, steps
from tests.docs.markdown import ROOT, Block, blocks
from tests.podman import Podman
from tests.ports import free_port

TUTORIALS = sorted((ROOT / "docs/tutorial").glob("*.md"))
PORT = re.compile(r"\b135\d\d\b")


class Desk:
    """The reader's home directory and open terminals; ports of the text become free ones."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._terminals: dict[str, Terminal] = {}
        self._ports: dict[str, str] = {}
        self._environment = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "TERM": "dumb",
            **environment,
        }

    def type(self, step: Step) -> tuple[str, int]:
        """Run one command where the text says."""
        terminal = self._terminals.get(step.terminal)
        if terminal is None:
            terminal = self._terminals[step.terminal] = Terminal(self._environment, self._home)
        output, status = terminal.run(PORT.sub(self._port, step.command))
        for written, real in self._ports.items():
            output = output.replace(real, written)
        return output, status

    def write(self, path: str, text: str) -> None:
        """Write a file of the text below the home directory."""
        (self._home / path).write_text(text + "\n")

    def close(self) -> None:
        """Stop the daemons that the text left running, and close the terminals."""
        for terminal in self._terminals.values():
            terminal.run("covey agent stop")
            terminal.close()

    def _port(self, match: re.Match[str]) -> str:
        return self._ports.setdefault(match[0], str(free_port()))


@pytest.fixture
def desk(podman: Podman) -> Iterator[Desk]:
    home = Path(tempfile.mkdtemp(prefix="tour-"))
    made = Desk(home, podman.environ)
    yield made
    made.close()
    shutil.rmtree(home)


def test_there_is_a_tutorial() -> None:
    assert TUTORIALS


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial(tutorial: Path, desk: Desk) -> None:
    for block in blocks(tutorial):
        for mark in block.marks:
            if mark.startswith("file="):
                desk.write(mark.removeprefix("file="), block.text)
        if block.language == "console":
            replay(block, desk)


def replay(block: Block, desk: Desk) -> None:
    wanted = next((int(m[7:]) for m in block.marks if m.startswith("status=")), 0)
    until = time.monotonic() + DEADLINE_S
    commands = steps(block.text)
    while True:
        wrong = ""
        for step in commands:
            printed, status = desk.type(step)
            last = step is commands[-1]
            if status != (wanted if last else 0) or not matches(step.expected, printed):
                wrong = f"{block}: {step.command}\nended with {status} and printed:\n{printed}"
                break
        if not wrong:
            return
        if "eventually" not in block.marks or time.monotonic() > until:
            raise AssertionError(wrong)
