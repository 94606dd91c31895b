"""Make a click command from an operation's description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from covey.client.target import Target
from covey.errors import InvalidRequestError
from covey.operations.command_document import Command, CommandParameter
from covey.operations.secret import Secret
from covey.surfaces.cli.help import command_page
from covey.surfaces.cli.menu import NEVER_ASKED, QUESTIONS
from covey.surfaces.cli.options import GLOBAL_FLAGS, GlobalOption, global_options
from covey.surfaces.cli.run_operation import run_operation
from covey.surfaces.cli.secrets_input import ask, is_interactive, read_stdin_line
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import printable
from covey.surfaces.cli.values import ParameterValue, WholeNumber, has_many

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

Values = dict[str, Any]

_SHORT = {"--follow": "-f"}
"""Flags that have a letter, the same in all commands."""

_OTHER_FLAGS = {"--host": "--for-host"}
"""What a parameter is called whose flag is the program's own."""


class DescribedCommand(click.Command):
    """A command with our help page; `hosts` is whether it works on other hosts as well."""

    def __init__(
        self,
        name: str,
        callback: Callable[..., Any],
        params: Sequence[click.Parameter],
        *,
        summary: str,
        description: str = "",
        examples: Sequence[str] = (),
        arguments: Sequence[tuple[str, str]] = (),
        context: Mapping[str, Any] | None = None,
        hosts: bool = False,
    ) -> None:
        taken = frozenset(flag for param in params for flag in param.opts)
        shared = global_options(taken, hosts=hosts)
        super().__init__(
            name=name,
            callback=callback,
            params=[*params, *shared],
            help=summary,
            context_settings={**CONTEXT, **(context or {})},
        )
        self._description = description
        self._examples = examples
        self._arguments = arguments
        self._also = [max(option.opts, key=len) for option in shared]
        self._hosts = hosts

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; raises `InvalidRequestError` where hosts were named for what has none."""
        session = ctx.find_object(Session)
        if not self._hosts and session is not None and not session.target.here:
            raise InvalidRequestError(
                f"{ctx.command_path} works on this machine alone.",
                hint="Leave out --host, --all and --tag.",
            )
        return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help page, without its last line's end."""
        options = [
            record
            for param in self.params
            if isinstance(param, click.Option)
            and not isinstance(param, GlobalOption)
            and (record := param.get_help_record(ctx))
        ]
        page = command_page(
            " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)]),
            self.help or "",
            self._description,
            arguments=self._arguments,
            options=options,
            examples=self._examples,
            also=self._also,
        )
        return page.rstrip("\n")


def operation_command(
    session: Session,
    command: Command,
    prepare: Callable[[Values], Values] = lambda values: values,
) -> click.Command:
    """Make the command that sends its values as they are, or as `prepare` leaves them."""
    dangerous = command.effect == "destroy"
    asks = dangerous and not any(param.flag == "--yes" for param in command.params)
    more = [click.Option(["-y", "--yes"], is_flag=True, help="Do not ask.")] if asks else []

    def run(values: Values, *, yes: bool = False) -> None:
        values = prepare(values)
        if asks and not yes and (session.target.several or command.name not in NEVER_ASKED):
            _confirm(command, values, session.target)
        run_operation(session, command, values)

    return describe_command(command, run, more=more, fans_out=True)


def describe_command(
    command: Command,
    run: Callable[..., None],
    *,
    leave_out: frozenset[str] = frozenset(),
    more: Sequence[click.Parameter] = (),
    name: str | None = None,
    summary: str | None = None,
    description: str | None = None,
    arguments: Sequence[tuple[str, str]] | None = None,
    examples: Sequence[str] | None = None,
    context: Mapping[str, Any] | None = None,
    fans_out: bool = False,
) -> DescribedCommand:
    """Make a command out of an operation's parameters and some of its own.

    `run` gets the operation's values as a mapping, and its own parameters by name. On several
    hosts the operation is run as it is, unless `run` does that itself (`fans_out`).
    """
    on_hosts = not (fans_out or leave_out)
    described = [param for param in command.params if param.name not in leave_out]
    own = [str(param.name) for param in more]

    def call(**given: Any) -> None:
        extra = {key: given.pop(key) for key in own}
        values = {param.name: _value(param, given) for param in described}
        session = click.get_current_context().find_object(Session)
        if session is not None and session.target.several and on_hosts:
            from covey.surfaces.cli.run_operation import run_operation

            run_operation(session, command, values)
            return
        run(values, **extra)

    if arguments is None:
        arguments = [
            (metavar(param), param.help)
            for param in described
            if param.kind == "argument" and not param.secret and param.help
        ]
    return DescribedCommand(
        name or command.path[-1],
        call,
        [*click_params(described, paginated=command.paginated), *more],
        summary=summary or command.summary,
        description=command.description if description is None else description,
        examples=command.examples if examples is None else examples,
        arguments=arguments,
        context=context,
        hosts=True,
    )


def _confirm(command: Command, values: Values, hosts: Target) -> None:
    """Ask a person before something is destroyed; scripts are not asked."""
    if not is_interactive():
        return
    target = " ".join(
        str(values[param.name])
        for param in command.params
        if param.kind == "argument" and not param.secret and values.get(param.name)
    )
    question = QUESTIONS.get(command.name, "")
    if not question:
        question = f"{command.summary.rstrip('.')}{' ({})' if target else ''}?"
    if not hosts.here:
        question = f"{question.rstrip('?')} on {hosts.label}?"
    question = printable(question.replace("{}", target))
    if not click.confirm(question, err=True):
        raise click.Abort


def click_params(
    described: Sequence[CommandParameter], *, paginated: bool = False
) -> list[click.Parameter]:
    """Make click's parameters: arguments first, then options."""
    params: list[click.Parameter] = []
    for param in described:
        if param.secret:
            params.append(_stdin_flag(param))
        elif param.kind == "argument":
            params.append(_argument(param))
        elif paginated and param.name == "limit":
            params.append(
                click.Option(
                    ["--limit", "limit"],
                    type=WholeNumber(1),
                    metavar="N",
                    help="Most items in all; every page is fetched otherwise.",
                )
            )
        else:
            params.append(_option(param))
    return params


def metavar(param: CommandParameter) -> str:
    """Return how an argument is written in a usage line."""
    return param.name.upper().replace("_", "-")


def stdin_flag(param: CommandParameter) -> str:
    """Return the flag that reads a secret from standard input."""
    return f"--{param.name.replace('_', '-')}-stdin"


def _argument(param: CommandParameter) -> click.Argument:
    return click.Argument(
        [param.name],
        type=ParameterValue(param),
        required=param.required,
        nargs=-1 if param.repeated else 1,
        metavar=metavar(param) + ("…" if param.repeated else ""),
    )


def _option(param: CommandParameter) -> click.Option:
    text = _about(param)
    if param.type == "boolean" and not param.required:
        negative = param.flag.startswith("--no-") and param.default is True
        short = [_SHORT[param.flag]] if param.flag in _SHORT else []
        return click.Option(
            [*short, param.flag, param.name],
            is_flag=True,
            flag_value=not negative,
            default=None,
            help=text,
        )
    return click.Option(
        [_flag(param), param.name],
        type=ParameterValue(param),
        required=param.required,
        multiple=param.repeated or param.type == "mapping",
        help=text,
    )


def _flag(param: CommandParameter) -> str:
    """Return the option's flag; one that is the program's own gets a longer name."""
    flag = param.flag or f"--{param.name.replace('_', '-')}"
    return _OTHER_FLAGS.get(flag, f"{flag}-value") if flag in GLOBAL_FLAGS else flag


def _about(param: CommandParameter) -> str:
    parts = [param.help]
    if has_many(param):
        parts.append(f"One of {', '.join(param.choices)}.")
    default = param.default
    if not (param.required or default in (None, "", [], {}) or isinstance(default, bool)):
        shown = ", ".join(map(str, default)) if isinstance(default, list) else f"{default}"
        parts.append(f"Default: {shown}.")
    return " ".join(parts).strip()


def _stdin_flag(param: CommandParameter) -> click.Option:
    about = param.help.rstrip(".") or metavar(param).lower()
    return click.Option(
        [stdin_flag(param), param.name],
        is_flag=True,
        help=f"{about}: from the first line of standard input, instead of a prompt.",
    )


def _value(param: CommandParameter, given: Mapping[str, Any]) -> Any:
    value = given.get(param.name)
    if param.secret:
        return _secret(param, from_stdin=bool(value))
    if param.type == "mapping":
        return dict(value) if value else None
    if param.repeated:
        return list(value) if value else None
    return value


def _secret(param: CommandParameter, *, from_stdin: bool) -> str | None:
    label = param.help.rstrip(".") or metavar(param).capitalize()
    found: Secret
    if from_stdin:
        found = read_stdin_line(label.lower())
    elif param.required:
        found = ask(label, otherwise=f"Send it by {stdin_flag(param)}.")
    else:
        return None
    return found.reveal()
