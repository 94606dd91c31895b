"""`git-remote-covey`: git pushes to covey://APP through this machine's node (gitremote-helpers).

No token, no certificate and no port is asked for: the node carries the conversation, to the machine
that the app runs on.
"""

from __future__ import annotations

import base64
import os
import re
import select
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from covey.client.failure import CallFailedError, broken_off
from covey.client.request import fill_route
from covey.client.socket_call import SocketCall
from covey.errors import CoveyError, ExitCode, InvalidRequestError
from covey.operations.command_document import load_commands
from covey.surfaces.cli.exec_failure import as_error
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.session import Locals, Session
from covey.surfaces.cli.socket_client import open_call

_REFS = "apps.git-refs"
_TALKS = {"git-receive-pack": "apps.push", "git-upload-pack": "apps.pull"}
_ADDRESS = re.compile(r"(?:covey:)?(?://)?(?:(?P<host>[^/]+)/)?(?P<app>[^/]+?)(?:\.git)?/?")
_PROTOCOL = "version=2"
"""Of a fetch: each of its requests stands alone, as those of the operations do."""
_FLUSH = b"0000"
_HEAD = len(_FLUSH)
_STDIN, _STDOUT = 0, 1
_BLOCK = 1 << 16
_HELD = 1 << 20


def run(argv: Sequence[str], local: Locals) -> int:
    """Speak with git on standard input and output; returns the exit status."""
    session = Session(load_commands(), local, Output())
    try:
        app = _app(session, argv)
        return _obey(session, app)
    except CoveyError as error:
        session.output.error(error)
        return int(error.exit_code)
    except (BrokenPipeError, KeyboardInterrupt):
        return int(ExitCode.FAILED)
    finally:
        session.close()


def _app(session: Session, argv: Sequence[str]) -> str:
    """Return the app that an address names, and turn to the host that it names."""
    found = _ADDRESS.fullmatch(argv[-1]) if argv else None
    if found is None:
        raise InvalidRequestError(
            "This is no address of an app.", hint="For example: git push covey://shop main"
        )
    if found["host"]:
        session.target.add_hosts(found["host"])
    return found["app"]


def _obey(session: Session, app: str) -> int:
    while line := _line():
        verb, _, service = line.partition(" ")
        if verb == "capabilities":
            _write(b"connect\n\n")
        elif verb == "connect" and service in _TALKS:
            _connect(session, app, service)
            return int(ExitCode.OK)
        else:
            _write(b"fallback\n" if verb == "connect" else b"unsupported\n")
    return int(ExitCode.OK)


def _connect(session: Session, app: str, service: str) -> None:
    values: dict[str, Any] = {"app": app, "service": service}
    is_push = service == "git-receive-pack"
    if not is_push:
        values["protocol"] = _PROTOCOL
    refs = base64.b64decode(session.client.call(_REFS, **values)["data"])
    _write(b"\n" + _without_service(refs))
    if is_push:
        first = _read(_BLOCK)
        if not _FLUSH.startswith(first[:_HEAD]):
            _talk(session, _TALKS[service], {"app": app}, first, lambda: _read(_BLOCK))
        return
    while request := _request():
        given = {"app": app, "protocol": _PROTOCOL}
        _talk(session, _TALKS[service], given, request, None)


def _talk(
    session: Session,
    operation: str,
    values: Mapping[str, Any],
    first: bytes,
    more: Callable[[], bytes] | None,
) -> None:
    """Make one call: what git says goes in, from `more` too, and what comes goes to git."""
    command = session.client.command(operation)
    call, headers = open_call(session)
    path = fill_route(command.route, {"app": values["app"]})
    try:
        call.begin(path, headers, {k: v for k, v in values.items() if k != "app"})
        call.send({"data": first})
        if more is None:
            call.send({"end": None})
        _pass_on(call, more)
    except CallFailedError as error:
        raise as_error(error, None) from error
    except BrokenPipeError:
        raise
    except OSError:
        raise as_error(broken_off(), None) from None
    finally:
        call.close()


def _pass_on(call: SocketCall, more: Callable[[], bytes] | None) -> None:
    while not call.ended:
        poll = select.poll()
        poll.register(
            call.stream.fileno(), select.POLLIN | (select.POLLOUT if call.outgoing else 0)
        )
        if more is not None and len(call.outgoing) < _HELD:
            poll.register(_STDIN, select.POLLIN)
        for number, state in poll.poll():
            if more is not None and number == _STDIN:
                data = more()
                call.send({"data": data} if data else {"end": None})
                more = more if data else None
                continue
            if state & select.POLLOUT:
                call.flush()
            if state & ~select.POLLOUT:
                for message in call.receive():
                    _write(message["data"])


def _without_service(refs: bytes) -> bytes:
    """Leave out what HTTP alone has before the refs: a packet with the service's name, a flush."""
    if refs[_HEAD : _HEAD + 10] == b"# service=":
        return refs[int(refs[:_HEAD], 16) + _HEAD :]
    return refs


def _request() -> bytes:
    """Read packets to a flush packet; nothing at the end of the input."""
    found = bytearray()
    while head := _exactly(_HEAD):
        found += head
        if head == _FLUSH:
            return bytes(found) if len(found) > _HEAD else b""
        found += _exactly(max(0, int(head, 16) - _HEAD))
    return b""


def _exactly(count: int) -> bytes:
    found = b""
    while len(found) < count and (data := _read(count - len(found))):
        found += data
    return found if len(found) == count else b""


def _line() -> str:
    """Read a line and nothing behind it, which is for another protocol."""
    found = b""
    while (data := _read(1)) and data != b"\n":
        found += data
    return found.decode(errors="replace")


def _read(count: int) -> bytes:
    return os.read(_STDIN, count)


def _write(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(_STDOUT, left) :]
