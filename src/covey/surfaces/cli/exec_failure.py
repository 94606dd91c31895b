"""What happens when a command's host cannot be reached: SSH if there is an address, else why."""

from __future__ import annotations

from dataclasses import replace

from covey.client.failure import CallFailedError
from covey.errors import CoveyError
from covey.operations.command_document import load_commands
from covey.surfaces.cli.light.exec_call import ExecCall
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.session import Locals, Session
from covey.surfaces.cli.ssh import FIELD, SshAddress, address_of, line_of


def settle_alone(local: Locals, wanted: ExecCall, error: CallFailedError) -> int:
    """Settle a failed call where no session is, and return the exit status."""
    session = Session(load_commands(), local, Output(quiet=wanted.quiet))
    try:
        return settle(session, wanted, error)
    except CoveyError as failure:
        session.output.error(failure)
        return int(failure.exit_code)
    except KeyboardInterrupt:
        return 130
    finally:
        session.close()


def settle(session: Session, wanted: ExecCall, error: CallFailedError) -> int:
    """Run a command by SSH if its host was never reached; returns the exit status.

    Raises the call's error as a `CoveyError` where that is not possible.
    """
    address = fallback(session, wanted.host, error)
    if address is None or session.locals.ssh is None:
        raise as_error(error, wanted.host)
    line = line_of(wanted)
    announce(session, wanted.host or "", error, address)
    if wanted.user is not None:
        address = replace(address, user=wanted.user)
    no_stdin = wanted.no_stdin
    return session.locals.ssh().run(address.parts, line, tty=wanted.tty, no_stdin=no_stdin)


def fallback(session: Session, host: str | None, error: CallFailedError) -> SshAddress | None:
    """Return the address to try instead, if the host was never reached and has one."""
    if host is None or not error.never_reached or session.locals.ssh is None:
        return None
    return address_of(session, host)


def announce(session: Session, host: str, error: CallFailedError, address: SshAddress) -> None:
    """Say that SSH takes the agent's place."""
    session.output.warn(f"{host}: {error.message.rstrip('.')}. Using SSH: {address}")


def as_error(error: CallFailedError, host: str | None = None) -> CoveyError:
    """Return a call's error in the form that is shown."""
    hint = error.hint
    if error.never_reached and host:
        way = f"To let SSH stand in: covey fleet set-field {host} {FIELD} USER@ADDRESS"
        hint = way if hint is None else f"{hint.rstrip('.')}. {way}"
    shown = CoveyError(error.message, hint=hint, details=error.details)
    shown.code = error.code  # type: ignore[misc]
    shown.exit_code = error.exit_code  # type: ignore[assignment,misc]
    return shown
