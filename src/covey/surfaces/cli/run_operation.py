"""Run one operation and show what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from covey.operations.command_document import Command, CommandResult
from covey.surfaces.cli.menu import ALONE, COLUMNS, EMPTY, VIEWS
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.place import fill_place
from covey.surfaces.cli.session import Session

View = Callable[[Output, Any], None]


def run_operation(session: Session, command: Command, values: Mapping[str, Any]) -> None:
    """Call, stream or page through an operation, and print its result."""
    output = session.output
    values = fill_place(session, command, values)
    if session.target.several:
        from covey.surfaces.cli.fan_out import run_on_hosts

        run_on_hosts(session, command, values)
        return
    if command.streams:
        for item in session.client.stream(command, values):
            show_item(output, command, item)
    elif command.paginated:
        _page_through(session, command, values)
    else:
        show_result(output, command, session.client.run(command, values))


def show_result(output: Output, command: Command, result: Any) -> None:
    """Print the one result of an operation."""
    view = None if output.as_json else _view(command.name)
    if command.name in ALONE and not output.as_json:
        output.alone(ALONE[command.name], result)
    elif view is not None:
        view(output, result)
    elif command.result.kind in {"list", "page"} and not output.as_json:
        items = result["items"] if command.result.kind == "page" else result
        output.rows(shape_for_people(command), items or [], _empty(command))
    elif not (output.quiet and command.effect in {"change", "destroy"}):
        output.result(command.result, result)


def show_item(output: Output, command: Command, item: Any) -> None:
    """Print one item of a streaming operation."""
    view = None if output.as_json else _view(command.name)
    (view or Output.stream_item)(output, item)


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
        output.rows(shape_for_people(command), found, _empty(command))
    if cursor is not None:
        output.note(f"There are more: --cursor {cursor}")


def shape_for_people(command: Command) -> CommandResult:
    """Return a list's shape with the columns that are chosen for people, if any are."""
    chosen = COLUMNS.get(command.name)
    fields = {field.name: field for field in command.result.fields}
    if chosen is None:
        return CommandResult("list", command.result.fields)
    return CommandResult("list", tuple(fields[name] for name in chosen if name in fields))


def _empty(command: Command) -> str:
    return EMPTY.get(command.name, "Nothing found.")


def _view(name: str) -> View | None:
    if name not in VIEWS:
        return None
    module, function = VIEWS[name].split(":")
    view: View = getattr(import_module(f"covey.surfaces.cli.{module}"), function)
    return view
