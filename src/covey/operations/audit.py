"""The audit trail's record and the place that it is written to."""

from __future__ import annotations

from typing import Protocol

import msgspec

from covey.operations.page import Page


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, to what, from where, when and with which outcome; never a secret's value."""

    at: str
    caller: str
    kind: str
    role: str
    address: str
    operation: str
    target: str
    outcome: str
    request_id: str


class AuditSink(Protocol):
    """Keeps audit entries; raises `StorageError` when it cannot."""

    def record(self, entry: AuditEntry) -> None:
        """Append one entry durably."""


class AuditTrail(Protocol):
    """What was recorded, newest first; raises `StorageError`, `InvalidRequestError` (cursor)."""

    def query(
        self,
        *,
        operation: str | None = None,
        caller: str | None = None,
        since: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AuditEntry]:
        """Return one page; `operation` matches a name or, ending in `.`, a family of names.

        `since` is an ISO 8601 time: entries at or after it.
        """
