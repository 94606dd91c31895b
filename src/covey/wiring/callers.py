"""Who calls: the owner at the local socket, a token's holder, or a member by its certificate."""

from __future__ import annotations

import contextlib
import getpass
import hmac
from collections.abc import Callable
from dataclasses import replace

from covey.errors import CoveyError
from covey.fleet.membership import FleetService
from covey.fleet.statements import NodeKind
from covey.fleet.tokens import Tokens
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.operations.context import Services
from covey.remote.policy import limits_of
from covey.settings import AccessSettings
from covey.store.api import NodeId
from covey.wiring.mesh import access_limits


class Callers:
    """Implements the HTTP surface's `Authenticator` over whatever services are open now.

    `local_token` returns the token of the local TCP port where there are no Unix sockets. `access`
    holds for members and for the tokens made on them; for this node's own tokens its rules that
    name no member do.
    """

    def __init__(
        self,
        services: Services,
        local_token: Callable[[], str | None],
        access: AccessSettings = AccessSettings(),  # noqa: B008 - frozen
    ) -> None:
        self._services = services
        self._local_token = local_token
        self._access = access

    def by_token(self, token: str, address: str) -> Caller | None:
        """Return the token's caller, or None if there is no such token."""
        local = self._local_token()
        if local is not None and hmac.compare_digest(token.encode(), local.encode()):
            return self.local(None)
        found = self._services.get(Tokens).authenticate(token, address)
        return None if found is None else replace(found, limits=self._limits(found))

    def _limits(self, holder: Caller) -> Limits:
        """Return the limits of a token: a member is not rid of its own by making one."""
        core = self._services.get(FleetService).core
        maker = holder.node_id
        if maker is None or maker == core.keys.node_id:
            return limits_of(self._access.rule, member="", node_id="", role=holder.role)
        return access_limits(self._access, core.name_of(NodeId(maker)), maker, holder.role)

    def by_certificate(self, certificate: bytes, address: str) -> Caller | None:
        """Return the member with this certificate; a relay may call nothing."""
        core = self._services.get(FleetService).core
        try:
            member = core.member_of(certificate)
        except CoveyError:
            return None
        if member.statement.kind is NodeKind.RELAY:
            return None
        name, role = core.name_of(member.node_id), member.statement.role
        return Caller(
            CallerKind.NODE,
            name,
            role,
            address,
            node_id=member.node_id,
            limits=access_limits(self._access, name, member.node_id, role),
        )

    def local(self, uid: int | None) -> Caller:
        """Return the owner of this node, named `user@node` after the user at the other end."""
        name = _user_name(uid)
        with contextlib.suppress(CoveyError):
            name = f"{name}@{self._services.get(FleetService).core.keys.secrets.name}"
        return Caller(CallerKind.LOCAL, name, Role.ADMIN, "local")


def _user_name(uid: int | None) -> str:
    try:
        if uid is None:
            return getpass.getuser()
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OSError):
        return "owner" if uid is None else f"uid {uid}"
