"""What the hook adds to the start of an interactive shell, from start to first prompt to exit."""

from __future__ import annotations

import contextlib
import os
import pty
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.measure import MS, interleaved, median
from benchmarks.report import Row, main
from benchmarks.startup import VARIABLES, fill, program
from tests.system.harness import new_fleet

ROUNDS = 101


def session_seconds(command: list[str], environment: Mapping[str, str]) -> float:
    """Start an interactive shell on a terminal, type `exit` at its prompt; seconds it lived."""
    started = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, dict(environment))
    os.write(terminal, b"exit\n")
    with contextlib.suppress(OSError):  # Linux reports the end of a terminal as EIO
        while os.read(terminal, 65536):
            pass
    os.waitpid(pid, 0)
    elapsed = time.perf_counter() - started
    os.close(terminal)
    return elapsed


def start(shell: str, directory: Path, rc: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of a shell whose only start-up file holds `rc`."""
    directory.mkdir()
    environment = {"HOME": str(directory), "TERM": "dumb", "PATH": os.environ["PATH"]}
    match shell:
        case "bash":
            (directory / "rc").write_text(rc)
            return [program("bash"), "--rcfile", str(directory / "rc"), "-i"], environment
        case "zsh":
            (directory / ".zshrc").write_text(rc)
            return [program("zsh"), "-d", "-i"], environment
        case _:
            config = directory / ".config/fish"
            config.mkdir(parents=True)
            (config / "config.fish").write_text(rc)
            return [program("fish"), "-i"], environment


def run() -> list[Row]:
    """Time each shell with and without the hook, in turn."""
    rows: list[Row] = []
    with new_fleet() as fleet:
        node = fleet.founder("freya")
        fill(node)
        for shell in ("bash", "zsh", "fish"):
            hook = node.out("shell-init", shell) + "\n"
            plain = start(shell, fleet.directory / f"{shell}-plain", "")
            hooked = start(shell, fleet.directory / f"{shell}-hooked", hook)
            times = interleaved(
                {
                    "plain": partial(session_seconds, *plain),
                    "hooked": partial(session_seconds, *hooked),
                },
                ROUNDS,
            )
            middle = {name: median(samples) * MS for name, samples in times.items()}
            added = median(
                [(h - p) * MS for h, p in zip(times["hooked"], times["plain"], strict=True)]
            )
            rows += [
                Row(f"{shell} without the hook", middle["plain"], "ms"),
                Row(f"added by the hook, {shell}", added, "ms", 3, f"{VARIABLES} variables"),
            ]
    return rows


if __name__ == "__main__":
    raise SystemExit(main("new_shell", run))
