"""Follow a deployment in the terminal, from its queue to its address."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from covey.errors import CoveyError, LockedError, UnreachableError
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import paint, printable

_LOGS = "apps.deployment-logs"
_SHOW = "apps.deployment"
_TRIES = 5
_LOOKS = 50
_LOOK_S = 0.2
_GOOD = "succeeded"
_PASSING = frozenset({UnreachableError.code, LockedError.code})


class DeploymentFailedError(CoveyError):
    """The deployment ended, and its version does not serve."""

    code = "deployment_failed"


class _BrokenOffError(Exception):
    """The log broke off for `reason`, after the line with the number `seen`."""

    def __init__(self, reason: CoveyError, seen: int) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.seen = seen


def follow(session: Session, started: Mapping[str, Any]) -> Mapping[str, Any]:
    """Print a deployment's log as it comes, then how it ended; returns it as it is then.

    Raises `DeploymentFailedError` unless it succeeded. Leaving does not end the deployment.
    """
    app, number = str(started["app"]), int(started["number"])
    try:
        return _follow(session, app, number)
    except KeyboardInterrupt:
        session.output.note(
            f"Deployment {number} goes on. Follow it: "
            f"covey apps deployment-logs {app} {number} --follow"
        )
        raise


def _follow(session: Session, app: str, number: int) -> Mapping[str, Any]:
    seen = 0
    for attempt in range(_TRIES):
        try:
            seen = _print_log(session, app, number, seen)
            break
        except _BrokenOffError as error:
            # The daemon may be restarting; the deployment is resumed with it.
            seen = error.seen
            if attempt == _TRIES - 1:
                raise error.reason from None
            _wait_for_daemon(session, app, number)
    ended: Mapping[str, Any] = session.client.call(_SHOW, app=app, number=number)
    if ended["state"] != _GOOD:
        reason = str(ended["reason"])
        if not (session.output.as_json or session.output.quiet):
            # Further lines are the end of a log that was just printed.
            reason = reason.partition("\n")[0]
        raise DeploymentFailedError(
            f"Deployment {number} of {app} {_told(str(ended['state']))}: {reason.rstrip('.')}.",
            hint=_advice(ended),
            details={"deployment": dict(ended)},
        )
    return ended


def _print_log(session: Session, app: str, number: int, seen: int) -> int:
    output = session.output
    command = session.client.command(_LOGS)
    values = {"app": app, "number": number, "after": seen, "follow": True}
    step = ""
    try:
        for line in session.client.stream(command, values):
            seen = int(line["number"])
            if output.as_json or output.quiet:
                continue
            if line["step"] != step:
                step = str(line["step"])
                if step:
                    output.line(paint(f"── {printable(step)}", "bold", colour=output.colour))
            output.line(printable(str(line["text"])))
    except CoveyError as error:
        if error.code not in _PASSING:
            raise
        raise _BrokenOffError(error, seen) from error
    return seen


def _wait_for_daemon(session: Session, app: str, number: int) -> None:
    """Wait until it knows of the deployment again: one that stops still answers."""
    import time

    for _ in range(_LOOKS):
        with suppress(CoveyError):
            session.client.call(_SHOW, app=app, number=number)
            return
        time.sleep(_LOOK_S)


def _told(state: str) -> str:
    match state:
        case "rolled-back":
            return "served, turned bad and was rolled back"
        case "superseded":
            return "was not begun"
        case other:
            return "was cancelled" if other == "cancelled" else "failed"


def _advice(ended: Mapping[str, Any]) -> str | None:
    hint = ended.get("hint")
    return str(hint) if hint else None


def served(session: Session, ended: Mapping[str, Any]) -> None:
    """Say where what was deployed is served."""
    output = session.output
    if output.as_json:
        output.json(ended)
        return
    urls = [str(url) for url in ended.get("urls") or ()]
    if output.quiet:
        if urls:
            output.line(urls[0])
        return
    mark = paint("✓", "green", colour=output.colour)
    where = f": {', '.join(urls)}" if urls else " (it has no address: no web process)"
    output.line(f"{mark} {printable(str(ended['app']))} is served{where}")
