"""`covey init`, `join` and `recover`: how a machine becomes a node of a fleet."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from covey.errors import ConflictError, InvalidRequestError
from covey.operations.secret import Secret
from covey.surfaces.cli.node_control import (
    JoinReport,
    KeyFileUnlock,
    NodeControl,
    PasswordUnlock,
    UnlockChoice,
)
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.secrets_input import (
    ask,
    ask_new_password,
    check_password,
    read_stdin_line,
    read_stdin_text,
)
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import paint
from covey.surfaces.cli.tree import Node

_STDIN = "-"
_UNLOCK_HELP = (
    "A master password guards this machine's keys, and is asked for twice. An unattended "
    "server can keep them open by a key file instead."
)


def _options() -> list[click.Parameter]:
    return [
        click.Option(["--name"], metavar="NAME", help="This machine's name; else its host name."),
        click.Option(
            ["--password-stdin"],
            is_flag=True,
            help="Read the new master password from the first line of standard input.",
        ),
        click.Option(
            ["--key-file"],
            metavar="PATH",
            help="Guard the keys by this file instead; it is made if it is missing.",
        ),
    ]


def init(session: Session, node: Node) -> click.Command:
    """Make `covey init`."""

    def run(name: str | None, key_file: str | None, *, password_stdin: bool) -> None:
        control = session.locals.node_control()
        _refuse_second_node(session, control)
        report = control.init(name, _choose_unlock(key_file, password_stdin=password_stdin))
        _show_new_node(session, report.name, report.node_id, report.fleet_id, report.recovery_key)

    return DescribedCommand(
        node.name,
        run,
        _options(),
        summary=node.summary,
        description=f"{_UNLOCK_HELP} The recovery key is shown once: keep it off this machine.",
        examples=("init", "init --name frigg", "init --key-file /etc/covey/key"),
    )


def join(session: Session, node: Node) -> click.Command:
    """Make `covey join`."""

    def run(token: str, name: str | None, key_file: str | None, *, password_stdin: bool) -> None:
        control = session.locals.node_control()
        _refuse_second_node(session, control)
        secret, password = _read_token(token, password_stdin=password_stdin)
        unlock = _choose_unlock(key_file, password_stdin=password_stdin, password=password)
        _show_joined(session, control.join(secret, name, unlock))

    return DescribedCommand(
        node.name,
        run,
        [click.Argument(["token"], metavar="TOKEN"), *_options()],
        summary=node.summary,
        description=f"{_UNLOCK_HELP} Other users of this machine can see the arguments of running "
        "commands: `covey join -` reads the token from standard input or a hidden prompt.",
        arguments=[("TOKEN", "What `covey invite` printed, or - to read it unseen.")],
        examples=("join -", "join - --name frigg --key-file /etc/covey/key < token.txt"),
    )


def recover(session: Session, node: Node) -> click.Command:
    """Make `covey recover`."""

    def run(address: str, name: str | None, key_file: str | None, *, password_stdin: bool) -> None:
        control = session.locals.node_control()
        _refuse_second_node(session, control)
        key, password = _read_recovery_key(password_stdin=password_stdin)
        unlock = _choose_unlock(key_file, password_stdin=password_stdin, password=password)
        _show_joined(session, control.recover(address, key, name, unlock))

    return DescribedCommand(
        node.name,
        run,
        [click.Argument(["address"], metavar="ADDRESS:PORT"), *_options()],
        summary=node.summary,
        description="The recovery key is asked for, or read from standard input (with "
        "--password-stdin: the key on the first line, the password on the second). "
        "This machine becomes an admin of the fleet.",
        arguments=[("ADDRESS:PORT", "Any machine or relay of the fleet that still runs.")],
        examples=("recover frigg.example:13500", "recover 192.168.1.5:13500 < recovery-key.txt"),
    )


def _refuse_second_node(session: Session, control: NodeControl) -> None:
    """Refuse before anyone has typed a password."""
    if control.is_initialized():
        raise ConflictError(
            f"This machine is a node of a fleet already ({session.paths.data_dir}).",
            hint="See it, and how to come back if it was removed: covey status. For another node "
            "on this machine, set COVEY_HOME.",
        )


def _choose_unlock(
    key_file: str | None, *, password_stdin: bool, password: Secret | None = None
) -> UnlockChoice:
    if key_file is not None and password_stdin:
        raise InvalidRequestError(
            "Both --key-file and --password-stdin are given.", hint="Choose one of them."
        )
    if key_file is not None:
        return KeyFileUnlock(str(Path(key_file).expanduser().absolute()))
    if password is not None:
        return PasswordUnlock(check_password(password))
    if password_stdin:
        return PasswordUnlock(check_password(read_stdin_line("password")))
    return PasswordUnlock(ask_new_password())


def _read_token(given: str, *, password_stdin: bool) -> tuple[Secret, Secret | None]:
    """Return the invitation, and the password when both come from standard input."""
    if given != _STDIN:
        return Secret(given), None
    return _read_first_secret("invitation", "Invitation", password_stdin=password_stdin)


def _read_recovery_key(*, password_stdin: bool) -> tuple[Secret, Secret | None]:
    return _read_first_secret("recovery key", "Recovery key", password_stdin=password_stdin)


def _read_first_secret(
    what: str, prompt: str, *, password_stdin: bool
) -> tuple[Secret, Secret | None]:
    if sys.stdin.isatty() and not password_stdin:
        return ask(prompt, otherwise=f"Send the {what} by standard input."), None
    lines = read_stdin_text().splitlines()
    wanted = [what, "password"] if password_stdin else [what]
    if len(lines) < len(wanted) or not all(line.strip() for line in lines[: len(wanted)]):
        raise InvalidRequestError(
            f"Standard input holds no {' and '.join(wanted)}.",
            hint=f"Send the {' on the first line and the '.join(wanted)} on "
            + ("the second." if password_stdin else "its first line."),
        )
    return Secret(lines[0].strip()), Secret(lines[1]) if password_stdin else None


def _show_new_node(
    session: Session, name: str, node_id: str, fleet_id: str, recovery_key: Secret
) -> None:
    output = session.output
    if output.as_json:
        output.json(
            {
                "name": name,
                "node_id": node_id,
                "fleet_id": fleet_id,
                "recovery_key": recovery_key.reveal(),
            }
        )
        return
    if output.quiet:
        output.line(recovery_key.reveal())
        return
    output.line(f"This machine is {name}, the first of a new fleet.")
    output.line()
    output.line("Recovery key, shown this once:")
    output.line()
    output.line(f"  {paint(recovery_key.reveal(), 'bold', colour=output.colour)}")
    output.line()
    output.line("With it you regain the fleet if every machine or password is lost.")
    output.line("Write it down, and keep it off this machine.")
    output.line()
    output.line("Next: covey agent start, then covey invite for the second machine.")


def _show_joined(session: Session, report: JoinReport) -> None:
    output = session.output
    if output.as_json:
        output.json(
            {
                "name": report.name,
                "node_id": report.node_id,
                "fleet_id": report.fleet_id,
                "role": report.role,
                "inviter": report.inviter,
                "recovery_key": report.recovery_key.reveal() if report.recovery_key else None,
            }
        )
        return
    if not output.quiet:
        output.line(f"This machine is {report.name}, {report.role}; it joined by {report.inviter}.")
    if report.recovery_key is not None:
        output.line()
        output.line("New recovery key, shown this once; the old one is spent:")
        output.line()
        output.line(f"  {paint(report.recovery_key.reveal(), 'bold', colour=output.colour)}")
        output.line()
    if not output.quiet:
        output.line("Next: covey agent start")
