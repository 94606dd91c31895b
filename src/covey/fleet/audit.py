"""The trail of what was done on this node, and the questions that can be put to it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Protocol

import msgspec

from covey.operations.audit import AuditEntry


class AuditRecord(msgspec.Struct, frozen=True):
    """One kept entry; `number` grows by the order of keeping and is never used twice."""

    number: int
    at: str
    caller: str
    kind: str
    role: str
    address: str
    operation: str
    target: str
    outcome: str
    request_id: str

    @classmethod
    def of(cls, number: int, entry: AuditEntry) -> AuditRecord:
        """Number an entry."""
        return cls(number, **msgspec.structs.asdict(entry))


class AuditQuery(msgspec.Struct, frozen=True):
    """What to look for, newest first; None matches everything.

    `operation` is a name or a pattern (`env.*`), case-sensitive, as SQLite's GLOB and
    `fnmatchcase` read it. `since` is inclusive, in the form of `AuditEntry.at`. `before` is a
    record's number: only older ones are wanted.
    """

    operation: str | None = None
    caller: str | None = None
    outcome: str | None = None
    since: str | None = None
    before: int | None = None
    limit: int = 100


class AuditTrail(Protocol):
    """The kept entries of this node."""

    def find(self, query: AuditQuery) -> list[AuditRecord]:
        """Return what matches, newest first; raises `StorageError`."""


def matches(record: AuditRecord, query: AuditQuery) -> bool:
    """Whether a record is asked for: what every trail's `find` means."""
    return (
        (query.operation is None or fnmatchcase(record.operation, query.operation))
        and query.caller in {None, record.caller}
        and query.outcome in {None, record.outcome}
        and (query.since is None or record.at >= query.since)
        and (query.before is None or record.number < query.before)
    )
