"""`covey env set`: values from the command line, standard input or a hidden prompt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from covey.errors import InvalidRequestError
from covey.operations.command_document import CommandParameter
from covey.operations.secret import Secret
from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.place import fill_place
from covey.surfaces.cli.secrets_input import ask, is_interactive, read_stdin_text
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import one_line
from covey.surfaces.cli.tree import Node
from covey.surfaces.cli.values import read_value

_ABOUT_ASSIGNMENTS = (
    "Several are set together or not at all. A NAME alone takes its value from standard input or "
    "a hidden prompt, where no other user can see it."
)
_ONE_AT_A_TIME = frozenset({"if_version"})


def set_(session: Session, node: Node) -> click.Command:
    """Make the command."""
    command = session.described(node)

    [name_param] = [param for param in command.params if param.name == "name"]

    def run(
        values: dict[str, Any], assignments: tuple[str, ...], *, stdin: bool, keep_newline: bool
    ) -> None:
        pairs = read_assignments(assignments, stdin=stdin, keep_newline=keep_newline)
        for name, _ in pairs:
            _check_name(name_param, name)
        filled = fill_place(session, command, values)
        if len(pairs) == 1:
            [(name, value)] = pairs
            result = session.client.run(command, {**filled, "name": name, "value": value.reveal()})
            hints = [result["hint"]] if result.get("hint") else []
        else:
            result = session.client.call("env.apply", changes=_changes(pairs, filled))
            hints = result["hints"]
        _report(session, result, [name for name, _ in pairs], filled.get("scope"), hints)

    return describe_command(
        command,
        run,
        leave_out=frozenset({"name", "value"}),
        more=[
            click.Argument(["assignments"], nargs=-1, required=True, metavar="NAME[=VALUE]…"),
            click.Option(["--stdin"], is_flag=True, help="Read the value from standard input."),
            click.Option(
                ["--keep-newline"],
                is_flag=True,
                help="Keep the last newline of standard input; else one is left out.",
            ),
        ],
        name=node.name,
        summary=node.summary,
        arguments=[
            (
                "NAME[=VALUE]…",
                _ABOUT_ASSIGNMENTS,
            )
        ],
        examples=(
            "env set GREETING='hello, world' EDITOR=micro",
            "env set API_TOKEN",
            "env set API_TOKEN --scope project < token.txt",
            "env set URL='https://${DOMAIN}/' --expand",
        ),
    )


def read_assignments(
    words: Sequence[str], *, stdin: bool, keep_newline: bool
) -> list[tuple[str, Secret]]:
    """Return names with values; raises `InvalidRequestError` for words that are neither."""
    bare = [word for word in words if "=" not in word]
    if not bare:
        if stdin:
            raise InvalidRequestError(
                "--stdin gives the value, and the words give values too.",
                hint="Write NAME --stdin, without =",
            )
        pairs = [word.partition("=") for word in words]
        return [(name, Secret(value)) for name, _, value in pairs]
    if len(words) > 1:
        raise InvalidRequestError(
            f"{len(words)} words are given, and not all of them are NAME=VALUE.",
            hint="Write NAME=VALUE as one word; quote a value with spaces. Or give one NAME alone.",
        )
    [name] = bare
    if not stdin and is_interactive():
        return [(name, ask(f"Value of {name}", otherwise="Use --stdin."))]
    if sys.stdin is None or sys.stdin.isatty():
        raise InvalidRequestError(
            f"{name} has no value.", hint=f"Send it by standard input: covey env set {name} --stdin"
        )
    text = read_stdin_text()
    if not keep_newline and text.endswith("\n"):
        text = text[:-1]
    return [(name, Secret(text))]


def _check_name(param: CommandParameter, name: str) -> None:
    try:
        read_value(param, name)
    except ValueError:
        raise InvalidRequestError(
            f"{one_line(name)!r} cannot be the name of a variable.",
            hint="A name has letters, digits and underscores, and begins with no digit.",
        ) from None


def _changes(pairs: Sequence[tuple[str, Secret]], values: dict[str, Any]) -> list[dict[str, Any]]:
    for name in _ONE_AT_A_TIME:
        if values.get(name) is not None:
            raise InvalidRequestError(
                f"--{name.replace('_', '-')} is for one variable at a time.",
                hint="Set them one by one.",
            )
    common = {key: value for key, value in values.items() if value is not None}
    return [{**common, "name": name, "value": value.reveal()} for name, value in pairs]


def _report(
    session: Session, result: Any, names: Sequence[str], scope: str | None, hints: Sequence[str]
) -> None:
    output = session.output
    if output.as_json:
        output.json(result)
        return
    if not output.quiet:
        output.line(f"Set {', '.join(names)} ({scope or 'fleet'}).")
    for hint in hints:
        output.warn(hint)
