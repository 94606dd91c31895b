"""The fleet's operations as callers meet them: who may call what, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from covey.errors import CoveyError, InvalidRequestError, NotFoundError, RefusedError
from covey.fleet import operations
from covey.fleet.hosts import HostRecords
from covey.fleet.invitation import read_token
from covey.fleet.membership import FleetService
from covey.fleet.recovery import read_recovery_key
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.audit import AuditEntry
from covey.operations.codec import convert, from_json, to_json
from covey.operations.context import Context, Services
from covey.operations.invoke import invoke
from covey.operations.registry import Effect, Registry
from tests.fleet.fleet_nodes import Node, Wall, found, join, redeem, tell

REGISTRY = Registry.from_modules([operations])
SAMPLE: dict[str, dict[str, Any]] = {
    "fleet.show": {"node": "frigg"},
    "fleet.revoke-invitation": {"invitation": "0" * 16},
    "fleet.remove": {"node": "odin"},
    "fleet.rename": {"node": "frigg", "name": "freya"},
    "fleet.set-role": {"node": "frigg", "role": "admin"},
    "fleet.set-field": {"node": "frigg", "field": "ip", "value": "10.0.0.1"},
    "fleet.unset-field": {"node": "frigg", "field": "ip"},
}


class Trail:
    """Keeps audit entries."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


class Surface:
    """Calls operations of one node as some caller, and reads results as clients do."""

    def __init__(self, node: Node, role: Role = Role.ADMIN) -> None:
        self.services = Services()
        self.services.provide(FleetService, node.fleet)
        self.services.provide(HostRecords, node.hosts)
        self.role = role
        self.trail = Trail()

    async def __call__(self, name: str, /, **given: Any) -> Any:
        operation = REGISTRY[name]
        arguments = convert(given, operation.signature.arguments)
        caller = Caller(CallerKind.TOKEN, "tester", self.role, "192.0.2.9")
        context = Context(caller, self.services, "request")
        result = await invoke(operation, arguments, context, self.trail)
        assert from_json(to_json(result), operation.signature.result) == result
        return result


def run(case: Callable[[Node, Surface], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, _ = await found(Wall())
        await case(admin, Surface(admin))
        await admin.stop()

    asyncio.run(whole())


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_authorization(name: str) -> None:
    """Each operation is refused to the role below its own, and changes nothing then."""
    required = REGISTRY[name].access
    lower = Role(required - 1) if required > Role.VIEWER else None

    async def case(frigg: Node, call: Surface) -> None:
        before = frigg.roster.digest(), frigg.head(frigg.id)
        for role in (lower,) if lower else ():
            call.role = role
            with pytest.raises(RefusedError, match=f"needs the role {required.label}"):
                await call(name, **SAMPLE.get(name, {}))
            assert call.trail.entries[-1].outcome == "refused"
        caller = Caller(CallerKind.ANONYMOUS, "nobody", Role.ADMIN, "192.0.2.9")
        arguments = convert(SAMPLE.get(name, {}), REGISTRY[name].signature.arguments)
        with pytest.raises(RefusedError):
            await invoke(REGISTRY[name], arguments, Context(caller, call.services, "r"), call.trail)
        assert (frigg.roster.digest(), frigg.head(frigg.id)) == before

    run(case)


def test_every_change_needs_more_than_a_viewer() -> None:
    for item in REGISTRY.values():
        assert (item.access > Role.VIEWER) is (item.effect is not Effect.READ) or (
            item.name == "fleet.invitations"
        )
        assert item.definition.examples, item.name
        assert item.definition.summary.endswith("."), item.name


def test_inviting_listing_and_removing() -> None:
    async def case(frigg: Node, call: Surface) -> None:
        made = await call("fleet.invite", role="operator", expires="1h30m")
        assert (made.kind, made.role, made.addresses) == (
            "full",
            "operator",
            ["frigg.example:13500"],
        )
        assert made.expires_at == "2030-01-01T01:30:00+00:00"
        (listed,) = await call("fleet.invitations")
        assert (listed.id, listed.role) == (made.id, "operator")
        odin, _ = await redeem(frigg, read_token(made.token), "odin")
        assert await call("fleet.invitations") == []
        assert [node.name for node in await call("fleet.list")] == ["frigg", "odin"]
        assert (await call("fleet.show", node=odin.id[:8])).node.role == "operator"
        assert (await call("fleet.info")).members == 2
        frigg.known_secrets = ["TOKEN"]
        removed = await call("fleet.remove", node="odin")
        assert removed.secrets_known == ["TOKEN"]
        assert "change them" in removed.advice
        assert [node.name for node in await call("fleet.list")] == ["frigg"]
        assert len(await call("fleet.list", everything=True)) == 2
        entry = call.trail.entries[-1]
        assert (entry.operation, entry.target, entry.outcome) == ("fleet.remove", "odin", "ok")
        assert made.token not in str(call.trail.entries)

    run(case)


def test_relays_and_revoked_invitations() -> None:
    async def case(_frigg: Node, call: Surface) -> None:
        made = await call("fleet.invite", relay=True)
        assert (made.kind, made.role) == ("relay", None)
        done = await call("fleet.revoke-invitation", invitation=made.id)
        assert made.id in done.message
        with pytest.raises(NotFoundError):
            await call("fleet.revoke-invitation", invitation=made.id)
        with pytest.raises(InvalidRequestError, match="no role"):
            await call("fleet.invite", relay=True, role="admin")

    run(case)


@pytest.mark.parametrize("expires", ["", "soon", "24", "-1h", "0s", "31d", "99999w"])
def test_unfit_lives_of_invitations(expires: str) -> None:
    async def case(_frigg: Node, call: Surface) -> None:
        with pytest.raises(InvalidRequestError):
            await call("fleet.invite", expires=expires)

    run(case)


def test_names_fields_and_versions() -> None:
    async def case(frigg: Node, call: Surface) -> None:
        shown = await call("fleet.set-field", node="frigg", field="backup_path", value="/srv")
        assert shown.fields == {"backup_path": "/srv"}
        with pytest.raises(CoveyError, match="chang"):
            await call(
                "fleet.set-field", node="frigg", field="ip", value="1", if_version="00000000.1"
            )
        renamed = await call("fleet.rename", node="frigg", name="freya", if_version=shown.version)
        assert renamed.node.name == "freya"
        with pytest.raises(NotFoundError, match="frigg"):
            await call("fleet.rename", node="frigg", name="freya")
        after = await call("fleet.unset-field", node="freya", field="backup_path")
        assert after.fields == {}
        made = await call("fleet.set-field", node="nas", field="ip", value="10.0.0.9")
        assert made.node.standing == "recorded"
        with pytest.raises(NotFoundError, match="No machine"):
            await call("fleet.unset-field", node="nos", field="ip")
        assert frigg.fleet.core.name_of(frigg.id) == "freya"

    run(case)


def test_roles_keys_and_authorities() -> None:
    async def case(frigg: Node, call: Surface) -> None:
        odin, _ = await join(frigg, "odin")
        await tell(frigg, odin)
        assert (await call("fleet.set-role", node="odin", role="admin")).node.role == "admin"
        assert (await call("fleet.rotate-keys")).recipients == 2
        assert (await call("fleet.rotate-authority")).state == "overlap"
        assert [a.trusted for a in (await call("fleet.info")).authorities] == [True, True]
        assert (await call("fleet.rotate-authority", finish=True)).state == "finished"
        assert [a.trusted for a in (await call("fleet.info")).authorities] == [False, True]
        key = await call("fleet.renew-recovery-key")
        assert read_recovery_key(key.recovery_key).text == key.recovery_key
        await tell(frigg, odin)
        assert "left" in (await call("fleet.leave")).message
        assert not frigg.fleet.core.is_member

    run(case)


@pytest.mark.parametrize("node", ["", "-x", "a b", "../etc", "a" * 64])
def test_unfit_references(node: str) -> None:
    with pytest.raises(InvalidRequestError):
        convert({"node": node}, REGISTRY["fleet.show"].signature.arguments)
