"""Pushes that git was given and whose deployment is not asked for yet: a crash loses none."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from covey.apps.pkt_line import RefUpdate
from covey.fleet.private_file import replace_private_file

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
    with contextlib.suppress(OSError):  # not its parents: the app may be gone by now
        push.file.parent.mkdir(mode=0o700, exist_ok=True)
    replace_private_file(push.file, msgspec.json.encode(_Note(update, caller)))
    return push


def noted_pushes(repository: Path) -> Iterator[BegunPush]:
    """Yield what a daemon that was killed had noted."""
    for file in sorted((repository / _PLACE).glob("*")):
        try:
            note = msgspec.json.decode(file.read_bytes(), type=_Note)
        except msgspec.MsgspecError:
            with contextlib.suppress(OSError):
                file.unlink()  # it was cut short: git was not given that push yet
        except OSError:
            continue
        else:
            yield BegunPush(note.update, note.caller, file)
