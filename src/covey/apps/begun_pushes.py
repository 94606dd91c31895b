"""Pushes that git was given and whose deployment is not asked for yet: a crash loses none."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from covey.apps.pkt_line import RefUpdate
from covey.errors import StorageError

_PLACE = "covey-pushes"


class _Note(msgspec.Struct, frozen=True):
    update: RefUpdate
    caller: str


@dataclass(frozen=True, slots=True)
class BegunPush:
    """One of them, and the file that tells of it."""

    update: RefUpdate
    caller: str
    file: Path

    def forget(self) -> None:
        """Its deployment was asked for, or there is to be none."""
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)


def note_push(repository: Path, update: RefUpdate, caller: str) -> BegunPush:
    """Note a push durably, before git is given it. Raises `StorageError`."""
    push = BegunPush(update, caller, repository / _PLACE / secrets.token_hex(8))
    try:
        push.file.parent.mkdir(mode=0o700, exist_ok=True)
        with push.file.open("xb") as file:
            file.write(msgspec.json.encode(_Note(update, caller)))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        push.forget()
        raise StorageError(
            f"The push cannot be noted: {error.strerror}.",
            hint="Free some space in Covey's data directory, and push again.",
        ) from error
    return push


def noted_pushes(repository: Path) -> Iterator[BegunPush]:
    """Yield what a daemon that was killed had noted."""
    for file in sorted((repository / _PLACE).glob("*")):
        try:
            note = msgspec.json.decode(file.read_bytes(), type=_Note)
        except (OSError, msgspec.MsgspecError):
            BegunPush(RefUpdate("", "", ""), "", file).forget()  # git was not given it yet
        else:
            yield BegunPush(note.update, note.caller, file)
