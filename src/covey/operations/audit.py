"""The audit trail's record and the place that it is written to."""

from __future__ import annotations

from typing import Protocol

import msgspec


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
