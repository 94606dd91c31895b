"""Run an operation on several hosts: each answer labelled as it comes, and a summary at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

import msgspec

from covey.client.target import HostAnswer, Target
from covey.errors import ExitCode
from covey.operations.command_document import Command
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.run_operation import show_item, show_result
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tables import Table, render_table
from covey.surfaces.cli.terminal import one_line, paint, printable, width_of


def run_on_hosts(session: Session, command: Command, values: Mapping[str, Any]) -> None:
    """Run it and print everything; raises `CommandExitError` with the first failure's status."""
    output = session.output
    ended: list[HostAnswer] = []
    for answer in session.client.on_hosts(command, _largest_page(command, values)):
        whole = _with_every_page(session, command, values, answer)
        if answer.last:
            ended.append(whole)
        _show(output, command, whole)
    if output.as_json and not command.streams:
        output.json(ended)
    summarize(output, ended)
    failed = [answer for answer in ended if answer.error is not None]
    if failed and failed[0].error is not None:
        raise CommandExitError(failed[0].error.exit_code or int(ExitCode.FAILED))


def summarize(
    output: Output, ended: Sequence[HostAnswer], results: Mapping[str, str] | None = None
) -> None:
    """Tell people on standard error how each host did; `results` says more than ok."""
    if output.quiet or output.as_json:
        return
    told = results or {}
    rows = [
        (
            one_line(answer.host),
            told.get(answer.host, "ok") if answer.error is None else one_line(_failure(answer)),
            "" if answer.route == "local" else answer.route,
            f"{answer.ms:.0f} ms",
        )
        for answer in ended
    ]
    output.stdout.flush()
    output.stderr.write("\n")
    table = Table(("host", "result", "route", "time"), tuple(rows))
    for line in render_table(table, width_of(output.stderr), colour=output.colour_errors):
        output.stderr.write(f"{line}\n")


def _failure(answer: HostAnswer) -> str:
    return "" if answer.error is None else answer.error.message.rstrip(".")


def _show(output: Output, command: Command, answer: HostAnswer) -> None:
    if output.as_json:
        if command.streams:
            output.json(answer, indent=False)
        return
    label = one_line(answer.host)
    if answer.error is not None:
        failure = answer.error.as_error()
        failure.message = f"{label}: {printable(failure.message)}"
        output.error(failure)
    elif command.streams and not answer.last:
        show_item(labelled(output, label), command, answer.value)
    elif not command.streams:
        _show_result(output, command, label, answer.value)


def _show_result(output: Output, command: Command, label: str, value: Any) -> None:
    """Show what is one line beside the host's name, and anything longer below it."""
    short = command.result.kind in {"value", "none"} or (
        isinstance(value, Mapping) and (set(value) == {"message"} or output.quiet)
    )
    if short or (output.quiet and command.result.kind in {"list", "page"}):
        show_result(labelled(output, label), command, value)
        return
    output.line(paint(f"── {label}", "bold", colour=output.colour))
    show_result(output, command, value)


def _largest_page(command: Command, values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not command.paginated or values.get("limit") is not None:
        return values
    largest = [param.maximum for param in command.params if param.name == "limit"]
    return {**values, "limit": int(largest[0])} if largest and largest[0] else values


def _with_every_page(
    session: Session, command: Command, values: Mapping[str, Any], answer: HostAnswer
) -> HostAnswer:
    """Fetch the pages after a host's first, unless the user limited them."""
    if not (command.paginated and answer.ok and isinstance(answer.value, dict)):
        return answer
    items, cursor = list(answer.value["items"]), answer.value.get("next_cursor")
    if cursor is not None and values.get("limit") is None:
        client = session.another_client(Target(hosts=(answer.host,)))
        try:
            for more, after in client.pages(command, {**values, "cursor": cursor}, None):
                items.extend(more)
                cursor = after
        finally:
            client.transport.close()
    value = items if session.output.as_json else {"items": items, "next_cursor": cursor}
    return msgspec.structs.replace(answer, value=value)


class _Labelled:
    """A text stream that puts a host's name before each line."""

    def __init__(self, stream: IO[str], label: str) -> None:
        self._stream = stream
        self._label = label
        self._partial = ""

    def write(self, text: str) -> int:
        """Write the lines that are whole."""
        *whole, self._partial = (self._partial + text).split("\n")
        for line in whole:
            self._stream.write(f"{self._label}{line}\n")
        return len(text)

    def flush(self) -> None:
        """Write what is there, a line without its end too."""
        if self._partial:
            self._stream.write(f"{self._label}{self._partial}\n")
            self._partial = ""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether a terminal shows it; it is narrower than the terminal, so layout asks no more."""
        return False


def labelled(output: Output, label: str) -> Output:
    """Return an output whose lines begin with a host's name."""
    painted = paint(f"{label}:", "cyan", colour=output.colour)
    stream: Any = _Labelled(output.stdout, f"{painted} ")
    return replace(output, stdout=stream, stderr=sys.stderr)
