"""`covey config`: the settings of this machine, with or without a daemon."""

from __future__ import annotations

import os
from typing import Any

import click

from covey.operations.command_document import CommandResult, ResultField
from covey.settings import SettingDescription, describe, load
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

_COLUMNS = ("key", "value", "source", "default", "help")
_WIDE = 140
_NARROW = CommandResult("list", tuple(ResultField(name, "string") for name in _COLUMNS[:3]))
_SHAPE = CommandResult("list", tuple(ResultField(name, "string") for name in _COLUMNS))


def show(session: Session, node: Node) -> click.Command:
    """Make `covey config show`."""

    def run(*, defaults: bool) -> None:
        if session.is_remote and not defaults:
            _show(session.output, session.client.call("config.show"))
            return
        loaded = None if defaults else load(session.paths.settings_file)
        _show(session.output, [_row(item) for item in describe(loaded)])
        for warning in loaded.warnings if loaded else ():
            session.output.warn(warning)
        session.output.note(
            f"File: {session.paths.settings_file}"
            f"{'' if os.path.exists(session.paths.settings_file) else ' (there is none)'}. "  # noqa: PTH110
            "A running daemon has what it read at its start."
        )

    return DescribedCommand(
        node.name,
        run,
        [click.Option(["--defaults"], is_flag=True, help="Show the defaults instead.")],
        summary=node.summary,
        description="Each setting can be given in covey.toml, or in the environment as "
        "COVEY_<SECTION>_<KEY>: server.listen is COVEY_SERVER_LISTEN.",
        examples=("config show", "config show --json"),
    )


def path(session: Session, node: Node) -> click.Command:
    """Make `covey config path`."""

    def run() -> None:
        output = session.output
        if session.is_remote:
            found: Any = session.client.call("config.path")
        else:
            file = session.paths.settings_file
            found = {"path": file, "exists": os.path.exists(file)}  # noqa: PTH110
        if output.as_json:
            output.json(found)
            return
        output.line(found["path"])
        if not found["exists"]:
            output.note("There is no such file: every setting has its default.")

    return DescribedCommand(node.name, run, [], summary=node.summary, examples=("config path",))


def check(session: Session, node: Node) -> click.Command:
    """Make `covey config check`."""

    def run() -> None:
        output = session.output
        loaded = load(session.paths.settings_file)
        given = sorted(loaded.sources)
        if output.as_json:
            output.json(
                {
                    "path": session.paths.settings_file,
                    "valid": True,
                    "given": given,
                    "warnings": loaded.warnings,
                }
            )
            return
        for warning in loaded.warnings:
            output.warn(warning)
        if not output.quiet:
            count = len(given)
            output.line(
                f"The settings are valid; {count} of them {'is' if count == 1 else 'are'} given."
            )

    return DescribedCommand(
        node.name,
        run,
        [],
        summary=node.summary,
        description="It reads covey.toml and the environment as a start of the daemon would, and "
        "names the file, the line and the nearest known key of the first mistake.",
        examples=("config check",),
    )


def _show(output: Output, rows: list[dict[str, Any]]) -> None:
    """Show settings; a terminal too narrow for what they mean gets values and origins alone."""
    if not output.as_json and output.width is not None and output.width < _WIDE:
        output.rows(_NARROW, rows)
        output.note("What each means: a wider terminal shows it, or --json.")
    else:
        output.result(_SHAPE, rows)


def _row(item: SettingDescription) -> dict[str, Any]:
    return {
        "key": item.key,
        "value": _text(item.value),
        "source": item.source,
        "default": _text(item.default),
        "variable": item.variable,
        "type": item.type,
        "help": item.help,
    }


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
