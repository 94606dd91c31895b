"""Terminals that replay the `console` blocks of a page and compare what is printed.

A line `freya$ command` is typed in the terminal named freya (a real interactive bash); the lines
after it are what must be printed, where `…` stands for anything. Marks after the language say more:
`eventually` repeats the block's commands until they print that, `status=5` expects that exit
status from the last command.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE_S = 30.0
_PROMPT = re.compile(r"^(?P<terminal>[a-z]*)\$ (?P<command>.*)$")
_END = "--- ended with "


@dataclass(slots=True)
class Step:
    """One typed command and the lines that it must print."""

    terminal: str
    command: str
    expected: list[str] = field(default_factory=list)


def steps(text: str) -> list[Step]:
    """Read the commands of one block; a line that ends with a backslash goes on in the next."""
    found: list[Step] = []
    for line in text.splitlines():
        if found and not found[-1].expected and found[-1].command.endswith("\\"):
            found[-1].command += "\n" + line.removeprefix("> ")
        elif match := _PROMPT.match(line):
            found.append(Step(match["terminal"], match["command"]))
        elif found:
            found[-1].expected.append(line)
        else:
            raise AssertionError(f"a console block begins with a command, not with: {line}")
    return found


def matches(expected: list[str], printed: str) -> bool:
    """Whether the output is as written, `…` standing for anything and blanks for any blanks."""
    pattern = r"\s+".join(
        ".*?".join(re.escape(part) for part in word.split("…"))
        for word in " ".join(expected).split()
    )
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


class Terminal:
    """An interactive bash without the tester's start-up files."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "--noediting", "-i"],
            env={**environment, "PS1": "", "PS2": ""},
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.run("set +H")

    def run(self, command: str) -> tuple[str, int]:
        """Type a command; returns what it printed and its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.write(f'echo "{_END}$?"\n'.encode())
        self._process.stdin.flush()
        printed = self._read()
        output, _, status = printed.rpartition(_END)
        return output, int(status)

    def close(self) -> None:
        """End the shell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait(10)

    def _read(self) -> str:
        assert self._process.stdout is not None
        until = time.monotonic() + DEADLINE_S
        text = b""
        end = re.compile(rb"(?:^|\n)?" + _END.encode() + rb"\d+\n$")
        while not end.search(text):
            ready, _, _ = select.select([self._process.stdout], [], [], until - time.monotonic())
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise AssertionError(f"no end after {DEADLINE_S} s: {text.decode()}")
            text += chunk
        return text.decode()
