"""`covey env run`: start a program with the variables that apply."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from covey.errors import CoveyError
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.operation_command import DescribedCommand, click_params
from covey.surfaces.cli.place import fill_place
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

NOT_FOUND = 127
NOT_EXECUTABLE = 126

_SOURCE = "env.values"


def run(session: Session, node: Node) -> click.Command:
    """Make the command."""
    source = session.client.command(_SOURCE)

    def start(command: tuple[str, ...], *, redact: bool, watch: bool, **given: Any) -> None:
        if (redact or watch) and sys.platform == "win32":
            raise CoveyError(
                "--redact and --watch need a POSIX terminal, which Windows has not.",
                hint="Leave them out, or run it in the Windows Subsystem for Linux.",
            )
        place = fill_place(session, source, given)
        fetched = fetch(session, place)
        if watch:
            from covey.surfaces.cli.env_run_watch import run_watching

            status = run_watching(session, list(command), place, fetched, redact=redact)
        elif redact:
            from covey.surfaces.cli.env_run_child import run_redacted

            status = run_redacted(list(command), environment(fetched), secrets_of(fetched))
        else:
            session.close()
            replace_process(list(command), environment(fetched))
        raise CommandExitError(status)

    return DescribedCommand(
        node.name,
        start,
        [
            *click_params(source.params),
            click.Option(["--redact"], is_flag=True, help="Mask secret values in its output."),
            click.Option(["--watch"], is_flag=True, help="Restart it when a variable changes."),
            click.Argument(
                ["command"], nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…"
            ),
        ],
        summary=node.summary,
        description="The variables are added to the environment, over those of the same name. Its "
        "exit status, or the signal that ended it, becomes that of covey. With --watch it gets "
        "SIGTERM and, after ten seconds, SIGKILL before it is started anew.",
        examples=(
            "env run -- make deploy",
            "env run --redact --project shop --environment prod -- ./migrate",
            "env run --watch -- npm start",
        ),
        context={"allow_interspersed_args": False},
        hosts=True,
    )


def fetch(
    session: Session, place: dict[str, Any], known: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Resolve the values for a process; tells of problems that are not `known`."""
    fetched: dict[str, Any] = session.client.call(_SOURCE, **place)
    for problem in fetched["problems"]:
        if problem in known:
            continue
        session.output.warn(f"{problem['name']} is left out: {problem['reason']}")
    return fetched


def environment(fetched: dict[str, Any]) -> dict[str, str]:
    """Return the process's environment: the present one with the fetched values over it."""
    return {**os.environ, **fetched["values"]}


def secrets_of(fetched: dict[str, Any]) -> list[str]:
    """Return the values to mask."""
    return [fetched["values"][name] for name in fetched["secret"] if name in fetched["values"]]


def replace_process(command: list[str], environ: dict[str, str]) -> NoReturn:
    """Become the program; raises `CommandExitError` with the shell's status if that fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    restore_signals()
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - what the user asked for
    except OSError as error:
        raise start_failure(command[0], error) from error


def restore_signals() -> None:
    """Give the program the default for what Python ignores."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_DFL)


class ProgramError(CoveyError):
    """The program cannot be started; the exit status is the one that shells use."""

    code = "program"

    def __init__(self, message: str, *, hint: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = status  # type: ignore[assignment,misc]


def start_failure(program: str, error: OSError) -> ProgramError:
    """Say why a program cannot be started."""
    if isinstance(error, FileNotFoundError):
        return ProgramError(
            f"There is no program {program}.",
            hint="Check its name and PATH; a shell's line needs: sh -c '…'",
            status=NOT_FOUND,
        )
    return ProgramError(
        f"{program} cannot be started: {error.strerror}.",
        hint="It must be an executable file.",
        status=NOT_EXECUTABLE,
    )
