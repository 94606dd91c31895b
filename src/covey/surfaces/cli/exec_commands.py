"""`covey exec` and `covey shell`: a command on one host or several."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from covey.client.failure import CallFailedError
from covey.client.request import fill_route
from covey.errors import CoveyError, ExitCode, InvalidRequestError
from covey.operations.command_document import Command
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.exec_failure import as_error, settle
from covey.surfaces.cli.light.exec_call import ATTACH_ROUTE, ROUTE, Ending, ExecCall, run_call
from covey.surfaces.cli.operation_command import DescribedCommand, describe_command
from covey.surfaces.cli.run_operation import show_result
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.socket_client import open_call
from covey.surfaces.cli.tree import Node

_START = "exec.start"


def run(session: Session, node: Node) -> click.Command:
    """Make `covey exec run`, which is `covey exec` as well."""

    def start(words: tuple[str, ...], *, detach: bool, **given: Any) -> None:
        if not words and not given["shell"]:
            raise InvalidRequestError(
                "covey exec needs a command.",
                hint="For example: covey exec -H frigg -- uname -a. A shell: covey shell frigg",
            )
        wanted = _wanted(session, list(words), given)
        if detach:
            _detach(session, wanted)
        else:
            _run(session, wanted)

    return DescribedCommand(
        node.name,
        start,
        [
            *_options(),
            click.Option(["-t", "--tty"], is_flag=True, help="Give it a terminal."),
            click.Option(
                ["--shell"], is_flag=True, help="The words are one line for its user's shell."
            ),
            click.Option(["-n", "--no-stdin"], is_flag=True, help="Give it no input."),
            click.Option(
                ["--timeout"],
                type=click.FloatRange(min=0, min_open=True),
                metavar="SECONDS",
                help="End it, and all that it started, after this time.",
            ),
            click.Option(
                ["-d", "--detach"],
                is_flag=True,
                help="Let it run on by itself, and print its id for exec attach and exec logs.",
            ),
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND…"),
        ],
        summary=node.summary,
        description="The words reach the program as they are: no shell reads them, unless --shell "
        "asks for one. Its output, its exit status, or the signal that ended it (as 128 and the "
        "signal's number) become those of covey. Ctrl-C is passed on, and two seconds later, or "
        "at the second Ctrl-C, everything that it started is ended. On several hosts, each line "
        "is labelled, and input goes to all. A host whose agent cannot be reached is tried by SSH "
        "if its record has the field ssh.",
        examples=(
            "exec -H frigg -- uname -a",
            "exec --all -- systemctl is-active nginx",
            "exec -H frigg --shell 'df -h | sort'",
            "exec -H frigg --detach -- make -j4",
        ),
        context={"allow_interspersed_args": False},
        hosts=True,
    )


def shell(session: Session, node: Node) -> click.Command:
    """Make `covey shell`."""

    def start(host: str | None, **given: Any) -> None:
        if host is not None:
            session.target.add_hosts(host)
        if session.target.several:
            raise InvalidRequestError("covey shell opens one shell.", hint="Name one host.")
        wanted = _wanted(session, [], given)
        wanted.shell = True
        wanted.tty = sys.stdin.isatty()
        _run(session, wanted)

    return DescribedCommand(
        node.name,
        start,
        [
            click.Argument(["host"], required=False, metavar="HOST"),
            *_options(),
        ],
        summary=node.summary,
        description="Enter ~. at the beginning of a line to leave a shell that hangs.",
        examples=("shell frigg", "shell frigg --user postgres"),
        hosts=True,
    )


def attach(session: Session, node: Node) -> click.Command:
    """Make `covey exec attach`."""
    command = session.described(node)

    def start(values: dict[str, Any]) -> None:
        _one_host(session, command)
        wanted = ExecCall([], _host(session))
        route = fill_route(ATTACH_ROUTE, {"id": values["id"]})
        arguments = {"offset": values["offset"]} if values["offset"] else {}
        try:
            call, headers = open_call(session)
            ending = run_call(call, route, headers, arguments, tty=False, reads_input=True)
        except CallFailedError as error:
            if error.begun and error.exit_code == ExitCode.UNREACHABLE:
                where = f" -H {wanted.host}" if wanted.host else ""
                again = f"covey exec attach{where} {values['id']} --offset {error.offset}"
                error.hint = f"The command may run on. To follow it from there: {again}"
            raise as_error(error, wanted.host) from error
        raise _end(session, ending)

    return describe_command(
        command, start, name=node.name, summary=node.summary, description=_LEAVING
    )


_LEAVING = (
    "Ctrl-C is passed on to the command; the second one leaves it running. After a lost "
    "connection, attach again with --offset: nothing is lost or doubled."
)


def logs(session: Session, node: Node) -> click.Command:
    """Make `covey exec logs`: the output as it was, standard error apart."""
    command = session.described(node)

    def start(values: dict[str, Any]) -> None:
        _one_host(session, command)
        try:
            call, headers = open_call(session)
            route = fill_route(command.route, {"id": values["id"]})
            arguments = {key: value for key, value in values.items() if value and key != "id"}
            ending = run_call(
                call, route, headers, arguments, tty=False, reads_input=False, may_go_on=True
            )
        except CallFailedError as error:
            raise as_error(error, _host(session)) from error
        if ending.note:
            session.output.note(ending.note)

    return describe_command(command, start, name=node.name, summary=node.summary)


def _options() -> list[click.Parameter]:
    return [
        click.Option(["--user"], metavar="NAME", help="Run as this user of the host."),
        click.Option(["--cwd"], metavar="PATH", help="In this directory; else the user's home."),
        click.Option(
            ["-e", "--env"],
            multiple=True,
            metavar="NAME[=VALUE]",
            help="Set a variable; without a value, to the fleet's own.",
        ),
        click.Option(["--record"], is_flag=True, help="Record it, whatever the host's policy is."),
    ]


def _wanted(session: Session, words: list[str], given: dict[str, Any]) -> ExecCall:
    wanted = ExecCall(words, _host(session))
    wanted.quiet = session.output.quiet
    for name, value in given.items():
        setattr(wanted, name, list(value) if name == "env" else value)
    return wanted


def _run(session: Session, wanted: ExecCall) -> None:
    if session.target.several or session.output.as_json:
        from covey.surfaces.cli.exec_hosts import run_on_hosts

        raise CommandExitError(run_on_hosts(session, wanted))
    try:
        call, headers = open_call(session)
        arguments = wanted.arguments(os.environ)
        ending = run_call(
            call, ROUTE, headers, arguments, tty=wanted.tty, reads_input=not wanted.no_stdin
        )
    except CallFailedError as error:
        raise CommandExitError(settle(session, wanted, error)) from error
    raise _end(session, ending)


def _detach(session: Session, wanted: ExecCall) -> None:
    command = session.client.command(_START)
    if session.target.several:
        from covey.surfaces.cli.fan_out import run_on_hosts

        run_on_hosts(session, command, wanted.arguments(os.environ))
        return
    started = session.client.run(command, wanted.arguments(os.environ))
    if session.output.as_json:
        show_result(session.output, command, started)
        return
    session.output.line(started["id"])
    where = f" -H {wanted.host}" if wanted.host else ""
    session.output.note(f"Follow it: covey exec attach{where} {started['id']}")


def _end(session: Session, ending: Ending) -> CommandExitError:
    if ending.note and not session.output.quiet:
        session.output.stderr.write(f"{ending.note}\n")
    return CommandExitError(ending.status)


def _host(session: Session) -> str | None:
    return session.target.hosts[0] if len(session.target.hosts) == 1 else None


def _one_host(session: Session, command: Command) -> None:
    if session.target.several:
        raise CoveyError(
            f"covey {' '.join(command.path)} works on one host at a time.",
            hint="Name one: --host NAME",
        )
