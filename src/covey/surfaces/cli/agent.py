"""`covey agent start`, `stop` and `status`: the daemon in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from covey.errors import CoveyError, NotFoundError, UnauthenticatedError, UnreachableError
from covey.operations.secret import Secret
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.client import Client
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.secrets_input import is_interactive
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.transport import not_running
from covey.surfaces.cli.tree import Node
from covey.surfaces.cli.unlock import PASSWORD_STDIN, read_password

START_SECONDS = 30.0
STOP_SECONDS = 10.0

_POLL_SECONDS = 0.05
_SHOWN_LINES = 5


def start(session: Session, node: Node) -> click.Command:
    """Make `covey agent start`."""

    def run(*, password_stdin: bool) -> None:
        control = session.locals.node_control()
        if not control.is_initialized():
            raise NotFoundError(
                "This machine is no node of a fleet yet.",
                hint="Make a fleet: covey init. Or join one: covey join -",
            )
        was_running = session.local_client.is_up()
        password = _password(session, from_stdin=password_stdin, running=was_running)
        if not was_running:
            _spawn(session)
        client = session.local_client
        if password is not None and client.call("node.status")["state"] == "locked":
            _unlock(client, password)
        _report(session, client.call("node.status"), was_running=was_running)

    return DescribedCommand(
        node.name,
        run,
        [PASSWORD_STDIN],
        summary=node.summary,
        description="If the keys need a master password, it is asked for; without a terminal the "
        "daemon starts locked, and `covey unlock` opens it.",
        examples=("agent start", "agent start --password-stdin < password.txt"),
    )


def stop(session: Session, node: Node) -> click.Command:
    """Make `covey agent stop`."""

    def run() -> None:
        client = session.local_client
        if not client.is_up():
            if not session.output.quiet:
                session.output.line("The daemon is not running.")
            return
        pid = client.call("node.status")["pid"]
        client.call("node.shutdown")
        client.transport.close()
        control = session.locals.node_control()
        if not _wait(lambda: not control.is_running(), STOP_SECONDS):
            raise UnreachableError(
                f"The daemon (pid {pid}) did not stop within {STOP_SECONDS:.0f} seconds.",
                hint=f"See why: covey agent logs. Nothing acknowledged is lost by: kill -9 {pid}",
            )
        if not session.output.quiet:
            session.output.line("The daemon has stopped.")

    return DescribedCommand(node.name, run, [], summary=node.summary, examples=("agent stop",))


def status(session: Session, node: Node) -> click.Command:
    """Make `covey agent status`."""

    def run() -> None:
        output = session.output
        service = _installed(session)
        client = session.local_client
        found: dict[str, Any] = {"running": client.is_up(), "service": service}
        if found["running"]:
            node_status = client.call("node.status")
            found |= {
                name: node_status.get(name) for name in ("pid", "state", "started_at", "socket")
            }
        if output.as_json:
            output.json(found)
        elif not output.quiet:
            output.record({"running": found.pop("running"), **found})
        if "pid" not in found:
            if not output.as_json and not output.quiet:
                output.note(str(not_running(session.paths).hint))
            raise CommandExitError(int(UnreachableError.exit_code))

    return DescribedCommand(
        node.name,
        run,
        [],
        summary=node.summary,
        description="The exit status is 0 if it runs and 6 if it does not.",
        examples=("agent status", "agent status --quiet && echo running"),
    )


def _password(session: Session, *, from_stdin: bool, running: bool) -> Secret | None:
    """Read the password before the daemon starts, so that a refusal leaves nothing behind."""
    if from_stdin:
        return read_password(from_stdin=True)
    if not session.locals.node_control().unlocks_by_password() or not is_interactive():
        return None
    if running and session.local_client.call("node.status")["state"] != "locked":
        return None
    return read_password(from_stdin=False)


def _unlock(client: Client, password: Secret) -> None:
    try:
        client.call("node.unlock", password=password.reveal())
    except CoveyError as error:
        if error.code != UnauthenticatedError.code:
            raise
        raise UnauthenticatedError(
            f"{error.message.rstrip('.')}, so the daemon runs with its keys locked.",
            hint="Try again: covey unlock. Without the password: covey recover",
        ) from error


def _spawn(session: Session) -> None:
    """Start `covey up` detached, and return when it answers; raises what it said if it ended."""
    said = Path(session.paths.log_file).with_name("start.log")
    said.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            [*own_command(), "up", "--locked", "--no-color"],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/" if os.name == "posix" else None,
            env=_environment(),
        )
    finally:
        os.close(descriptor)
    if not _wait(lambda: process.poll() is not None or session.local_client.is_up(), START_SECONDS):
        process.terminate()
        raise UnreachableError(
            f"The daemon did not answer within {START_SECONDS:.0f} seconds.",
            hint="See why: covey agent logs",
        )
    if process.poll() is not None:
        raise _start_failure(said, process.returncode)


def own_command() -> list[str]:
    """Return the command line that starts this same program."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-P", "-m", "covey"]


def _environment() -> dict[str, str]:
    """Return the environment without what concerns this command alone, not the daemon."""
    leave = {"COVEY_TOKEN", "COVEY_TOKEN_FILE", "COVEY_URL"}
    return {name: value for name, value in os.environ.items() if name not in leave}


def _start_failure(said: Path, status: int) -> CoveyError:
    """Repeat the error that the daemon ended with, as its own exit status tells it."""
    lines = [line for line in said.read_text("utf-8", "replace").splitlines() if line.strip()]
    message, hint = "", "See the log: covey agent logs"
    for line in lines:
        if line.startswith("error: "):
            message = line.removeprefix("error: ")
        elif line.startswith("hint: "):
            hint = line.removeprefix("hint: ")
    if not message:
        message = "The daemon ended at once. " + " / ".join(lines[-_SHOWN_LINES:])
    failure = CoveyError(message.strip(), hint=hint)
    kinds = {kind.exit_code: kind for kind in _leaf_errors()}
    kind = kinds.get(status)  # type: ignore[call-overload]
    return kind(message.strip(), hint=hint) if kind is not None else failure


def _leaf_errors() -> list[type[CoveyError]]:
    from covey import errors

    return [
        errors.InvalidRequestError,
        errors.NotFoundError,
        errors.RefusedError,
        errors.ConflictError,
        errors.UnreachableError,
    ]


def _report(session: Session, node_status: dict[str, Any], *, was_running: bool) -> None:
    output = session.output
    if output.as_json:
        output.json(node_status)
        return
    if output.quiet:
        return
    verb = "was running already" if was_running else "is running"
    output.line(f"The daemon {verb} (pid {node_status['pid']}): {node_status['state']}.")
    if node_status["state"] == "locked":
        output.warn("Its keys are locked. Open them: covey unlock")


def _installed(session: Session) -> str | None:
    try:
        return session.locals.service_manager().installed()
    except CoveyError:
        return None


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
