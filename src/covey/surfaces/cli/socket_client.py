"""Connections for calls that pass input on while they run."""

from __future__ import annotations

from typing import Any, cast

from covey.client.socket_call import SocketCall
from covey.client.target import Target
from covey.errors import CoveyError
from covey.surfaces.cli.session import Session


def open_call(
    session: Session, target: Target | None = None, *, local: bool = False
) -> tuple[SocketCall, dict[str, str]]:
    """Connect to the node that the options name; returns the call and the headers for it.

    `local` is for this home's own daemon instead, whatever the options say. Raises
    `UnreachableError` and what else the options may have wrong.
    """
    import sys

    if sys.platform == "win32":
        raise CoveyError(
            "This needs a POSIX terminal, which Windows has not.",
            hint="Use the Windows Subsystem for Linux, or the Python interface.",
        )
    chosen = session.target if target is None else target
    headers = chosen.headers()
    client = session.local_client if local else session.client
    stream, more = client.transport.open_stream()
    return SocketCall(cast("Any", stream)), {**headers, **more}
