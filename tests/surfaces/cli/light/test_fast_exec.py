"""Which command lines take the short way, and that it knows the routes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from covey.operations.command_document import load_commands
from covey.surfaces.cli.light.exec_call import ATTACH_ROUTE, ROUTE
from covey.surfaces.cli.light.fast_exec import read_exec
from covey.surfaces.cli.light.terminal_mode import Escapes


def test_the_routes_are_those_of_the_operations():
    routes = {command.name: command.route for command in load_commands().commands}
    assert routes["exec.run"] == ROUTE
    assert routes["exec.attach"] == ATTACH_ROUTE


def test_a_simple_command_is_read():
    wanted = read_exec(["-H", "frigg", "--cwd", "/tmp", "-n", "--", "ls", "-H", "--", "x"])
    assert wanted is not None
    assert (wanted.host, wanted.cwd, wanted.no_stdin) == ("frigg", "/tmp", True)
    assert wanted.words == ["ls", "-H", "--", "x"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--"],
        ["list"],
        ["-H", "a,b", "--", "ls"],
        ["-H", "a\r\nCovey-All: 1", "--", "ls"],
        ["--all", "--", "ls"],
        ["--json", "--", "ls"],
        ["--env", "A=1", "--", "ls"],
        ["--detach", "--", "ls"],
        ["--help"],
        ["-H", "frigg", "uname"],
    ],
    ids=" ".join,
)
def test_anything_else_is_left_to_the_command_line_proper(words: list[str]):
    assert read_exec(words) is None


def test_the_short_way_imports_next_to_nothing(tmp_path: Path):
    code = (
        "import sys; before = set(sys.modules)\n"
        "from covey.surfaces.cli.light import fast_exec\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"asyncio", "click", "dataclasses", "json", "msgspec", "re", "socket", "typing"}
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    "typed, passed, leaves",
    [
        ([b"ls\r", b"~."], b"ls\r", True),
        ([b"~", b"."], b"", True),
        ([b"~~."], b"~.", False),
        ([b"a~."], b"a~.", False),
        ([b"~x", b"~."], b"~x~.", False),
        ([b"\r~", b"\r"], b"\r~\r", False),
    ],
)
def test_a_tilde_and_a_dot_leave(typed: list[bytes], passed: bytes, leaves: bool):
    escapes = Escapes()
    assert b"".join(escapes.filter(piece) for piece in typed) == passed
    assert escapes.leaving is leaves
