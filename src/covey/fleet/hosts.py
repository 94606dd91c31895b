"""Host records: what the fleet knows of each machine, sealed in the store.

A record belongs to a member (its key is the node id) or to a machine that is none (its key is
`name:` and the folded name). Names are unique whatever their case and whichever of `-`, `_`
and `.` they use, so that `HOST_<HOSTNAME>_<FIELD>` can name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated

import msgspec
from msgspec import Meta

from covey.errors import ConflictError, DamagedError, InvalidRequestError, NotFoundError
from covey.fleet.machine import Machine, check_name
from covey.store.api import Change, NodeId, Record, RecordStore, VersionId

COLLECTION = "hosts"
_MAX_FIELDS = 256
_MAX_VALUE = 8192

FieldName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}(?!\n)$",
        max_length=64,
        description="A field of a host record, such as ip or backup_path.",
    ),
]


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    node_id: str | None = None
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    os: str = ""
    covey_version: str = ""
    tailscale: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)


class HostRecord(msgspec.Struct, frozen=True):
    """One machine; `node_id` is null if it is no member. `version` is the record's version.

    `tailscale` is its name in its tailnet, or its address there.
    """

    name: str
    node_id: str | None
    hostname: str
    addresses: tuple[str, ...]
    os: str
    covey_version: str
    tailscale: str
    fields: dict[str, str]
    version: str


def fold_name(name: str) -> str:
    """Return the form in which names are compared."""
    return name.casefold().replace("-", "_").replace(".", "_")


class HostRecords:
    """The fleet's host records; each method may raise `LockedError` or `StorageError`."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    def list(self) -> list[HostRecord]:
        """Return all records by name."""
        found = [_read(record) for record in self._store.scan(COLLECTION)]
        return sorted(found, key=lambda host: (fold_name(host.name), host.node_id or ""))

    def find(self, name: str) -> HostRecord | None:
        """Return the record with this name or node id (or the first 8 digits of it at least).

        Raises `ConflictError` if two machines have the name.
        """
        found = [host for host in self.list() if _answers_to(host, name)]
        if len(found) > 1:
            raise ConflictError(
                f"{name} is the name of {len(found)} machines.",
                hint="Name one by its node id: " + ", ".join(str(h.node_id) for h in found),
            )
        return found[0] if found else None

    def get(self, name: str) -> HostRecord:
        """Return the record with this name or node id; raises `NotFoundError`, `ConflictError`."""
        found = self.find(name)
        if found is not None:
            return found
        names = [host.name for host in self.list()]
        near = get_close_matches(name, names, 1)
        raise NotFoundError(
            f"No machine is called {name}.",
            hint=f"Did you mean {near[0]}?" if near else "See them all: covey fleet list",
        )

    def of_member(self, node_id: NodeId) -> HostRecord | None:
        """Return a member's record."""
        record = self._store.get(COLLECTION, node_id)
        return None if record is None else _read(record)

    def free_name(self, wanted: str, node_id: NodeId | None = None) -> str:
        """Return `wanted`, or with a number behind it if another member has that name.

        Of two members with one name, the one with the lower node id keeps it.
        """
        others = [host for host in self.list() if host.node_id not in {None, node_id}]
        holds = node_id is not None and self.of_member(node_id) is not None
        taken = {
            fold_name(host.name)
            for host in others
            if not (holds and _same(host.name, wanted) and str(host.node_id) > str(node_id))
        }
        candidates = (wanted if n == 1 else f"{wanted[:58]}-{n}" for n in range(1, len(taken) + 2))
        return next(name for name in candidates if fold_name(name) not in taken)

    async def upsert(
        self, name: str, fields: Mapping[str, str | None], expected: str | None = None
    ) -> HostRecord:
        """Set fields of the machine called `name` (None removes one), making its record if absent.

        Raises `InvalidRequestError` for an unfit name, field or value, `PreconditionFailedError`
        if `expected` is given and is not the record's version.
        """
        found = self.find(name)
        if found is None:
            stored = _Stored(check_name(name))
            return await self._write(stored, _merge({}, fields), expected)
        base = expected or found.version
        return await self._write(_stored(found), _merge(found.fields, fields), base)

    async def record_member(
        self, node_id: NodeId, machine: Machine, addresses: tuple[str, ...] = ()
    ) -> HostRecord:
        """Record what a member tells of itself; a record kept under its name becomes its own.

        A name that another member has gets a number. Nothing is written if nothing changed.
        """
        present = self.of_member(node_id)
        wanted = present.name if present is not None else machine.name
        name = self.free_name(wanted, node_id)
        other = next((h for h in self.list() if h.node_id is None and _same(h.name, name)), None)
        fields = (other.fields if other else {}) | (present.fields if present else {})
        stored = _Stored(
            name,
            node_id,
            machine.hostname,
            addresses or (present.addresses if present is not None else ()),
            machine.os,
            machine.covey_version,
            machine.tailscale,
            fields,
        )
        if present is not None and other is None and _stored(present) == stored:
            return present
        dropped = [] if other is None else [Change(COLLECTION, _key(_stored(other)), None)]
        return await self._write(stored, fields, None, dropped)

    async def rename(self, host: HostRecord, name: str, expected: str | None = None) -> HostRecord:
        """Give a machine another name; raises `ConflictError` if it is taken."""
        check_name(name)
        other = next((h for h in self.list() if _same(h.name, name)), None)
        if other is not None and _key(_stored(other)) != _key(_stored(host)):
            raise ConflictError(
                f"Another machine is called {other.name}.", hint="Choose another name."
            )
        old = _stored(host)
        new = msgspec.structs.replace(old, name=name)
        moved = _key(old) != _key(new)
        dropped = [Change(COLLECTION, _key(old), None)] if moved else []
        return await self._write(new, host.fields, None if moved else expected, dropped)

    async def release(self, node_id: NodeId) -> None:
        """Let go of a member that went: its fields stay on record under its name, if it has any."""
        present = self.of_member(node_id)
        if present is None:
            return
        changes = [Change(COLLECTION, node_id, None)]
        if present.fields:
            kept = _Stored(present.name, fields=present.fields)
            changes.append(Change(COLLECTION, _key(kept), msgspec.json.encode(kept)))
        await self._store.write(changes)

    async def delete(self, host: HostRecord) -> None:
        """Delete a record."""
        await self._store.write([Change(COLLECTION, _key(_stored(host)), None)])

    async def _write(
        self,
        stored: _Stored,
        fields: dict[str, str],
        expected: str | None,
        before: Sequence[Change] = (),
    ) -> HostRecord:
        stored = msgspec.structs.replace(stored, fields=fields)
        value = msgspec.json.encode(stored)
        base = VersionId(expected) if expected is not None else None
        change = Change(COLLECTION, _key(stored), value, base)
        versions = await self._store.write([*before, change])
        return _view(stored, versions[-1].id)


def _merge(before: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    after = dict(before)
    for field, value in changes.items():
        try:
            key = msgspec.convert(field, FieldName).lower()
        except msgspec.ValidationError as error:
            raise InvalidRequestError(
                f"{field[:80]!r} is not a name for a field.",
                hint="Use letters, digits and underscores, and begin with a letter.",
            ) from error
        if value is None:
            after.pop(key, None)
        elif len(value) > _MAX_VALUE or "\0" in value:
            raise InvalidRequestError(
                f"The value of {key} is too long or holds a NUL character.",
                hint=f"A field holds up to {_MAX_VALUE} characters.",
            )
        else:
            after[key] = value
    if len(after) > _MAX_FIELDS:
        raise InvalidRequestError(f"A host record holds at most {_MAX_FIELDS} fields.")
    return dict(sorted(after.items()))


def _answers_to(host: HostRecord, name: str) -> bool:
    short = len(name) >= 8  # noqa: PLR2004 - the length in which ids are shown
    by_id = short and host.node_id is not None and host.node_id.startswith(name.lower())
    return by_id or _same(host.name, name)


def _same(one: str, other: str) -> bool:
    return fold_name(one) == fold_name(other)


def _key(stored: _Stored) -> str:
    return stored.node_id or f"name:{fold_name(stored.name)}"


def _stored(host: HostRecord) -> _Stored:
    return _Stored(
        host.name,
        host.node_id,
        host.hostname,
        host.addresses,
        host.os,
        host.covey_version,
        host.tailscale,
        host.fields,
    )


def _view(stored: _Stored, version: str) -> HostRecord:
    return HostRecord(
        stored.name,
        stored.node_id,
        stored.hostname,
        stored.addresses,
        stored.os,
        stored.covey_version,
        stored.tailscale,
        stored.fields,
        version,
    )


def _read(record: Record) -> HostRecord:
    try:
        stored = msgspec.json.decode(record.value, type=_Stored)
    except msgspec.DecodeError as error:
        raise DamagedError(
            f"The host record {record.key} is damaged.",
            hint="Remove it: covey fleet remove " + record.key,
        ) from error
    return _view(stored, record.version.id)
