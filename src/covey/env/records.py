"""Variables in the fleet's sealed records: by scope, by place, with their history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from covey.env.model import (
    COLLECTION,
    Stored,
    check_name,
    decode_stored,
    encode_stored,
    record_key,
    split_record_key,
)
from covey.env.resolve import Layered, layer
from covey.env.scope import Place, Scope
from covey.errors import CoveyError, NotFoundError
from covey.store.api import Change, Conflict, Record, RecordStore, Version, VersionId

Write = tuple[Scope, str, Stored | None, VersionId | None]
"""Scope, name, what to store (None deletes) and the version that it must replace, if any."""


class EnvRecords:
    """Reads and writes stored variables; raises what the record store raises."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    def get(self, scope: Scope, name: str) -> Layered | None:
        """Return a variable of exactly this scope, or None."""
        check_name(name)
        record = self._store.get(COLLECTION, record_key(scope, name))
        return None if record is None else _layered(record)[1]

    def require(self, scope: Scope, name: str) -> Layered:
        """Return a variable of this scope; raises `NotFoundError` that says where it is instead."""
        found = self.get(scope, name)
        if found is None:
            raise self.missing(name, f"the scope {scope}")
        return found

    def in_scope(self, scope: Scope) -> Iterator[tuple[str, Layered]]:
        """Yield the names and variables of one scope in order of name."""
        for record in self._store.scan(COLLECTION, record_key(scope, "")):
            yield _layered(record)

    def everything(self) -> Iterator[tuple[str, Layered]]:
        """Yield the variables of all scopes."""
        for record in self._store.scan(COLLECTION):
            yield _layered(record)

    def at(self, place: Place) -> dict[str, list[Layered]]:
        """Return what applies at a place: each name's variables, the winner last."""
        found = [pair for scope in place.scopes() for pair in self.in_scope(scope)]
        return layer(found)

    def history(self, scope: Scope, name: str) -> list[Version]:
        """Return every version, newest first; raises `NotFoundError` if there never was one."""
        check_name(name)
        versions = self._store.history(COLLECTION, record_key(scope, name))
        if not versions:
            raise self.missing(name, f"the scope {scope}")
        return versions

    def conflicts(self) -> list[Conflict]:
        """Return the variables with more than one current version."""
        return self._store.conflicts(COLLECTION)

    async def write(self, writes: Sequence[Write]) -> list[Version]:
        """Make all changes in one commit."""
        return await self._store.write(
            [
                Change(
                    COLLECTION,
                    record_key(scope, name),
                    None if stored is None else encode_stored(stored),
                    expected,
                )
                for scope, name, stored, expected in writes
            ]
        )

    def missing(self, name: str, where: str) -> CoveyError:
        """Return the error for a variable that is not there, with where it is or what is near."""
        all_names: dict[str, list[str]] = {}
        for other, item in self.everything():
            all_names.setdefault(other, []).append(str(item.scope))
        if name in all_names:
            hint = f"It is set in {', '.join(all_names[name])}; choose one with --scope."
        elif near := get_close_matches(name, all_names, 1):
            hint = f"Did you mean {near[0]}?"
        else:
            hint = "See what is set: covey env list --every-scope"
        return NotFoundError(f"{name} is not set in {where}.", hint=hint)


def _layered(record: Record) -> tuple[str, Layered]:
    scope, name = split_record_key(record.key)
    version = record.version
    return name, Layered(
        scope, decode_stored(record.value), version.id, version.at_ms, bool(record.rivals)
    )
