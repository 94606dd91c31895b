"""Run one operation and show what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from covey.operations.command_document import Command, CommandResult
from covey.surfaces.cli.menu import VIEWS
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.session import Session

View = Callable[[Output, Any], None]


def run_operation(session: Session, command: Command, values: Mapping[str, Any]) -> None:
    """Call, stream or page through an operation, and print its result."""
    output = session.output
    view = None if output.as_json or output.quiet else _view(command.name)
    if command.streams:
        show = view or Output.stream_item
        for item in session.client.stream(command, values):
            show(output, item)
    elif command.paginated:
        _page_through(session, command, values)
    else:
        result = session.client.run(command, values)
        if view is not None:
            view(output, result)
        elif not (output.quiet and command.effect in {"change", "destroy"}):
            output.result(command.result, result)


def _page_through(session: Session, command: Command, values: Mapping[str, Any]) -> None:
    output = session.output
    found: list[Any] = []
    cursor = None
    for items, after in session.client.pages(command, values, values.get("limit")):
        found.extend(items)
        cursor = after
    if output.as_json:
        output.json(found)
    else:
        output.rows(CommandResult("list", command.result.fields), found)
    if cursor is not None:
        output.note(f"There are more: --cursor {cursor}")


def _view(name: str) -> View | None:
    if name not in VIEWS:
        return None
    module, function = VIEWS[name].split(":")
    view: View = getattr(import_module(f"covey.surfaces.cli.{module}"), function)
    return view
