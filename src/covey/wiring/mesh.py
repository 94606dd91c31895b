"""Calls between this node and the other members, for as long as it is unlocked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from covey.fleet.discovery import Target as DialTarget
from covey.fleet.hosts import HostRecords
from covey.fleet.links import Dialer, Links
from covey.fleet.membership import FleetService
from covey.fleet.statements import NodeKind
from covey.operations.access import Limits, Role
from covey.operations.audit import AuditSink
from covey.operations.context import Services
from covey.operations.dispatch import Dispatcher, Place, Target
from covey.operations.registry import Registry
from covey.remote.call_links import CallLinks, CallTrust
from covey.remote.call_server import CallServer
from covey.remote.caller_assertion import Asserter, AssertionVerifier, Origin
from covey.remote.dispatcher import FleetDispatcher
from covey.remote.policy import limits_of
from covey.settings import AccessSettings
from covey.store.api import NodeId
from covey.wiring.tls import TlsContexts


class Mesh:
    """Keeps call links to the members that `targets` lead to; `dispatcher` finds their hosts."""

    def __init__(
        self,
        fleet: FleetService,
        hosts: HostRecords | None,
        tls: TlsContexts,
        access: AccessSettings,
        *,
        registry: Registry,
        services: Services,
        audit: AuditSink,
        dialer: Dialer,
        targets: Callable[[], Iterable[DialTarget]],
    ) -> None:
        self._core = fleet.core
        self._access = access
        me = self._core.keys.node_id
        asserter = Asserter(me, lambda: self._core.keys.signing_key)
        self._server = CallServer(
            registry, services, audit, AssertionVerifier(me, self._origin, self._limits)
        )
        self.calls = CallLinks(
            CallTrust(
                me=me,
                is_member=self._is_member,
                certified=fleet.member,
                client_tls=lambda: tls.client,
                server_tls=lambda: tls.server,
            ),
            self._server.serve,
            self._dial_now,
        )
        self.links = Links(me, dialer, self.calls.run, targets=targets, is_member=self._is_member)
        self.dispatcher = FleetDispatcher(self._core, hosts, self.calls, asserter, audit)

    def refresh(self) -> None:
        """Dial what is newly known."""
        self.links.refresh()

    def follow(self, replicating: Links) -> None:
        """Dial for calls whoever answers for replication, too."""
        self.links.refresh()
        for link in replicating.open_links:
            if self.links.link_with(link.peer) is None:
                self.links.dial_soon(link.peer)

    async def members_changed(self) -> None:
        """Cut off at once who is a member no more, and end what a lesser role may not do."""
        self._server.check_rights()
        await self.calls.cut_strangers()
        self.links.refresh()

    async def close(self) -> None:
        """End all calls and links."""
        await self.calls.close()
        await self.links.close()

    def _dial_now(self) -> None:
        self.links.dial_now()

    def _is_member(self, node_id: NodeId) -> bool:
        member = self._core.roster.members.get(node_id)
        return member is not None and member.present

    def _origin(self, node_id: NodeId) -> Origin | None:
        """Return a member that calls may come from; a relay passes on what others call."""
        member = self._core.roster.members.get(node_id)
        if member is None or not member.present or member.statement.kind is NodeKind.RELAY:
            return None
        statement = member.statement
        return Origin(statement.sign_key, self._core.name_of(node_id), statement.role)

    def _limits(self, member: str, node_id: NodeId, role: Role) -> Limits:
        return access_limits(self._access, member, node_id, role)


def access_limits(access: AccessSettings, member: str, node_id: str, role: Role) -> Limits:
    """Return what this node's settings leave to callers from a member."""
    return limits_of(
        access.rule,
        member=member,
        node_id=node_id,
        role=role,
        allow_by_default=access.default == "allow",
    )


class OpenDispatcher:
    """Implements `Dispatcher` over whatever node is open now; raises `LockedError` while none is.

    `find` returns the open node's own.
    """

    def __init__(self, find: Callable[[], Dispatcher]) -> None:
        self._find = find

    def names(self, target: Target) -> list[str]:
        """Return the names of the target's hosts."""
        return self._find().names(target)

    def place(self, host: str) -> Place:
        """Return a host for one call."""
        return self._find().place(host)
