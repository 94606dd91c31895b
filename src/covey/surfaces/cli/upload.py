"""Uploading a directory to the node that is to build it, and waiting for its changes."""

from __future__ import annotations

import select
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from covey.client.failure import CallFailedError, broken_off
from covey.client.request import fill_route
from covey.errors import CoveyError, InvalidRequestError, TooLargeError
from covey.surfaces.cli.copy_progress import Progress
from covey.surfaces.cli.exec_failure import as_error
from covey.surfaces.cli.humanize import size
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.socket_client import open_call

if TYPE_CHECKING:
    from covey.client.socket_call import SocketCall
    from covey.surfaces.cli.packing import Survey

_OPERATION = "apps.upload"
_PART = 256 << 10
_HELD = 1 << 20
_TICK_MS = 100
_SETTLE_S = 0.3
_LOOK_S = 0.5
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class UploadedDirectory:
    """What a deployment is told: the upload, and what git knows of the directory."""

    id: str
    commit: str = ""
    message: str = ""


def upload_directory(session: Session, app: str, directory: Path) -> UploadedDirectory:
    """Pack a directory and upload it; shows how far it is on a terminal.

    A directory that the node has already is not sent again. Raises `TooLargeError` that names
    what is large, `InvalidRequestError` for a directory that cannot be packed, and what a call
    raises.
    """
    from covey.surfaces.cli.checkout_state import read_commit, read_rules
    from covey.surfaces.cli.ignoring import read_ignoring
    from covey.surfaces.cli.packing import pack, survey

    directory = directory.resolve()
    commit = read_commit(directory)
    found = survey(directory, read_ignoring(directory, read_rules(directory)))
    if not any(entry.size for entry in found.entries):
        raise InvalidRequestError(
            f"There is nothing to deploy in {directory}.",
            hint="Is everything left out by .gitignore or .dockerignore?",
        )
    for line in found.left_out[:_MOST_NAMED]:
        session.output.note(f"Left out: {line}")
    with tempfile.TemporaryFile(prefix="covey-upload-") as file:
        progress = Progress(session.output)
        progress.heard({"type": "plan", "size": found.size})

        def packed_some(count: int) -> None:
            progress.passed(count)
            progress.tick()

        try:
            packed = pack(directory, found, file, packed_some)
        finally:
            progress.clear()
        file.seek(0)
        try:
            answer = _send(session, app, file, {"sha256": packed.sha256, "size": packed.size})
        except CoveyError as error:
            if error.code == TooLargeError.code:
                raise TooLargeError(error.message, hint=_large(found, error)) from error
            raise
    what = "is there already" if answer["known"] else f"uploaded: {size(packed.size)}"
    session.output.note(f"{directory.name or directory} {what}")
    return UploadedDirectory(answer["id"], commit.id, commit.message)


class Changes:
    """Waits for changes of the files that would be packed.

    That they cannot be read is one as well: the deployment that follows says why.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._seen = self._look()

    def wait(self) -> None:
        """Return once something has changed since the last look, and then rested a moment."""
        while (found := self._look()) == self._seen:
            time.sleep(_LOOK_S)
        while True:
            time.sleep(_SETTLE_S)
            again = self._look()
            if again == found:
                break
            found = again
        self._seen = found

    def _look(self) -> frozenset[tuple[str, int, int]] | None:
        from covey.surfaces.cli.checkout_state import read_rules
        from covey.surfaces.cli.ignoring import read_ignoring
        from covey.surfaces.cli.packing import survey

        rules = read_rules(self._directory)
        try:
            found = survey(self._directory, read_ignoring(self._directory, rules))
        except InvalidRequestError:
            return None
        return frozenset(
            (entry.path, entry.size, entry.changed)
            for entry in found.entries
            if not stat.S_ISDIR(entry.mode)
        )


def _send(session: Session, app: str, file: IO[bytes], arguments: dict[str, Any]) -> dict[str, Any]:
    command = session.client.command(_OPERATION)
    call, headers = open_call(session)
    progress = Progress(session.output)
    progress.heard({"type": "plan", "size": arguments["size"]})
    try:
        call.begin(fill_route(command.route, {"app": app}), headers, arguments)
        answer = _converse(call, file, progress)
    except OSError:
        raise as_error(broken_off(), None) from None
    except CallFailedError as error:
        raise as_error(error, None) from error
    finally:
        progress.clear()
        call.close()
    if answer is None:
        raise CoveyError("The upload ended without a word.", hint="Try again.")
    return answer


def _converse(call: SocketCall, file: IO[bytes], progress: Progress) -> dict[str, Any] | None:
    answer = None
    sending = True
    while not call.ended:
        if sending and len(call.outgoing) < _HELD:
            data = file.read(_PART)
            sending = bool(data)
            call.send({"data": data} if data else {"end": None})
            progress.passed(len(data))
        poll = select.poll()
        poll.register(
            call.stream.fileno(), select.POLLIN | (select.POLLOUT if call.outgoing else 0)
        )
        for _, state in poll.poll(_TICK_MS):
            if state & select.POLLOUT:
                call.flush()
            if state & ~select.POLLOUT:
                for message in call.receive():
                    answer = message
                    sending = False
        progress.tick()
    return answer


def _large(found: Survey, error: CoveyError) -> str:
    largest = ", ".join(f"{name} {size(count)}" for name, count in found.largest() if count)
    return f"Largest: {largest}. {error.hint or 'Leave out what is not needed by .gitignore'}"
