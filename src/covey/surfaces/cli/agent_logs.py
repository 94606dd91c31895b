"""`covey agent logs`: the daemon's log file, also when no daemon runs."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click

from covey.errors import NotFoundError
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node
from covey.surfaces.cli.values import WholeNumber
from covey.surfaces.cli.views import format_log_line

_POLL_SECONDS = 0.2


def logs(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def run(lines: int, *, follow: bool) -> None:
        output = session.output
        path = Path(session.paths.log_file)
        if not path.exists():
            raise NotFoundError(
                f"There is no log yet ({path}).", hint="Start the daemon: covey agent start"
            )
        for line in last_lines(path, lines):
            output.line(line if output.as_json else format_log_line(line, colour=output.colour))
        if follow:
            for line in new_lines(path):
                output.line(line if output.as_json else format_log_line(line, colour=output.colour))

    return DescribedCommand(
        node.name,
        run,
        [
            click.Option(
                ["-n", "--lines"],
                type=WholeNumber(),
                default=100,
                metavar="N",
                help="Lines from the end. Default: 100.",
            ),
            click.Option(["-f", "--follow"], is_flag=True, help="Go on with new lines."),
        ],
        summary=node.summary,
        examples=("agent logs", "agent logs --follow", "agent logs --lines 5000 --json"),
    )


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines, out of the rotated file before it too if they are not enough."""
    kept: deque[str] = deque(maxlen=count)
    for file in (path.with_name(f"{path.name}.1"), path):
        try:
            with file.open(encoding="utf-8", errors="replace") as stream:
                kept.extend(line.rstrip("\n") for line in stream)
        except FileNotFoundError:
            continue
    return list(kept)


def new_lines(path: Path) -> Iterator[str]:
    """Yield lines as they are written, across rotations, until interrupted."""
    stream = path.open(encoding="utf-8", errors="replace")
    stream.seek(0, os.SEEK_END)
    partial = ""
    try:
        while True:
            chunk = stream.readline()
            if chunk:
                partial += chunk
                if partial.endswith("\n"):
                    yield partial.rstrip("\n")
                    partial = ""
                continue
            if _was_rotated(stream.fileno(), path):
                stream.close()
                stream = path.open(encoding="utf-8", errors="replace")
                continue
            time.sleep(_POLL_SECONDS)
    finally:
        stream.close()


def _was_rotated(descriptor: int, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
