"""`covey audit play`: a recorded command or shell again, at its own pace."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import click

from covey.surfaces.cli.humanize import duration
from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.run_operation import run_operation
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import printable
from covey.surfaces.cli.tree import Node

_RESET = "\x1b[0m\x1b[?25h"


def play(session: Session, node: Node) -> click.Command:
    """Make the command."""
    command = session.described(node)

    def run(values: dict[str, Any], *, speed: float, idle: float, cast: bool) -> None:
        output = session.output
        if output.as_json or session.target.several:
            run_operation(session, command, values)
            return
        items = session.client.stream(command, values)
        if cast:
            for item in items:
                output.json(_cast(item), indent=False)
        else:
            _play(output, items, speed, idle)

    return describe_command(
        command,
        run,
        more=[
            click.Option(
                ["--speed"],
                type=click.FloatRange(0.1, 1000),
                default=1.0,
                metavar="N",
                help="So many times as fast. Default: 1.",
            ),
            click.Option(
                ["--idle"],
                type=click.FloatRange(0),
                default=2.0,
                metavar="SECONDS",
                help="Longest pause. Default: 2.",
            ),
            click.Option(["--cast"], is_flag=True, help="Print it in the format asciicast v2."),
        ],
        name=node.name,
        summary=node.summary,
        description="On a terminal it takes its time; into a pipe or file it is written at once.",
        examples=("audit play 4f1d20c8a3be", "audit play 4f1d20c8a3be --cast > shell.cast"),
        fans_out=True,
    )


def _play(output: Output, items: Iterable[dict[str, Any]], speed: float, idle: float) -> None:
    at = 0.0
    waits = output.stdout.isatty()
    try:
        for item in items:
            if item["type"] == "header":
                output.note(f"{item['title']} ({item['columns']}x{item['rows']})")
                continue
            if waits:
                time.sleep(min((item["at"] - at) / speed, idle))
            at = item["at"]
            if item["kind"] == "o":
                output.exact(item["data"])
            elif item["kind"] == "m":
                output.note(f"\n{printable(item['data'])}")
    finally:
        if waits:
            output.exact(_RESET)
    output.note(f"The end, after {duration(at)}.")


def _cast(item: dict[str, Any]) -> Any:
    if item["type"] != "header":
        return [item["at"], item["kind"], item["data"]]
    return {
        "version": 2,
        "width": item["columns"],
        "height": item["rows"],
        "timestamp": item["timestamp"],
        "title": item["title"],
    }
