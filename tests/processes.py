"""What runs on this machine, as anyone may see it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def command_lines() -> Iterator[str]:
    """Return the command of each process but this one, its words parted by blanks."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            yield line.replace(b"\0", b" ").decode(errors="replace").strip()


def processes_with(*words: str) -> list[str]:
    """Return the commands that hold one of the words, but for programs that tests wrote."""
    lines = (line for line in command_lines() if "import" not in line)
    return [line for line in lines if any(word in line for word in words)]
