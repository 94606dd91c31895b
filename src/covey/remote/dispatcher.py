"""Finds the hosts that a call is for: by name, by tag, or all members."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgspec

from covey.errors import NotFoundError, UnreachableError
from covey.fleet.core import FleetCore
from covey.fleet.hosts import HostRecord, HostRecords
from covey.fleet.statements import NodeKind
from covey.operations.audit import AuditSink
from covey.operations.context import Context
from covey.operations.dispatch import LocalPlace, Place, Target
from covey.operations.registry import Operation
from covey.remote.call_client import PeerPlace
from covey.remote.caller_assertion import Asserter
from covey.remote.calls import PeerCalls
from covey.store.api import NodeId

TAGS_FIELD = "tags"
"""The field of a host record that holds its tags, separated by commas or spaces."""


@dataclass(frozen=True, slots=True)
class FleetDispatcher:
    """Implements `Dispatcher` over the fleet's members; `hosts` is None on a relay."""

    core: FleetCore
    hosts: HostRecords | None
    calls: PeerCalls
    asserter: Asserter
    audit: AuditSink

    def names(self, target: Target) -> list[str]:
        """Return the names of the target's hosts; raises `NotFoundError` for an unknown one."""
        if target.everyone:
            return self._members()
        if target.tag is not None:
            return self._tagged(target.tag)
        return list(dict.fromkeys(self._find(name)[0] for name in target.hosts))

    def place(self, host: str) -> Place:
        """Return a host for one call."""
        name, node_id = self._find(host)
        if node_id is None:
            return NoAgent(name)
        if node_id == self.core.keys.node_id:
            return LocalPlace(self.audit)
        return PeerPlace(name, node_id, self.calls, self.asserter, self.audit)

    def _members(self) -> list[str]:
        """Return all that run operations: a relay only passes bytes on."""
        return sorted(
            self.core.name_of(member.node_id)
            for member in self.core.roster.present
            if member.statement.kind is not NodeKind.RELAY
        )

    def _tagged(self, tag: str) -> list[str]:
        records = [] if self.hosts is None else self.hosts.list()
        by_tag: dict[str, list[str]] = {}
        for record in records:
            for each in tags_of(record):
                by_tag.setdefault(each, []).append(record.name)
        found = by_tag.get(tag.casefold())
        if found is not None:
            return found
        near = get_close_matches(tag.casefold(), by_tag, 1)
        raise NotFoundError(
            f"No host has the tag {tag}.",
            hint=f"Did you mean {near[0]}?"
            if near
            else f"Give a host tags: covey fleet set-field NAME {TAGS_FIELD} {tag}",
        )

    def _find(self, name: str) -> tuple[str, NodeId | None]:
        """Return a host's name as it is kept, and its node id if it is a member."""
        record = None if self.hosts is None else self.hosts.find(name)
        if record is not None:
            return record.name, None if record.node_id is None else NodeId(record.node_id)
        member = self.core.find_member(name)
        return self.core.name_of(member.node_id), member.node_id


class NoAgent:
    """A machine that the fleet knows and that is no member: operations cannot run there."""

    route = "direct"

    def __init__(self, name: str) -> None:
        self._name = name

    async def invoke(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> Any:
        """Fail."""
        raise self._error()

    async def stream(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Fail."""
        raise self._error()
        yield

    def _error(self) -> UnreachableError:
        return UnreachableError(
            f"{self._name} is not a member of the fleet: it has no agent to ask.",
            hint=f"Let it join: covey invite, and on {self._name}: covey join TOKEN",
        )


def tags_of(record: HostRecord) -> list[str]:
    """Return a host's tags in the form in which they are compared."""
    return record.fields.get(TAGS_FIELD, "").casefold().replace(",", " ").split()
