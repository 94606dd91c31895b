"""Callers at the HTTP surface: what this node's policy leaves to the holders of tokens."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from covey.errors import RefusedError
from covey.fleet.membership import FleetService
from covey.fleet.tokens import Tokens
from covey.operations.access import Caller, Role, authorize
from covey.operations.context import Services
from covey.settings import AccessSettings
from covey.settings_access import AccessRule
from covey.store.api import NodeId
from covey.wiring.callers import Callers
from tests.fleet.test_tokens import Bench
from tests.fleet.token_store import HERE

FRIGG = NodeId("f" * 32)


class Door:
    """A node's callers, with tokens made here or on frigg."""

    def __init__(self, access: AccessSettings) -> None:
        self.bench = Bench()
        self.bench.makers.roles[FRIGG] = Role.OPERATOR
        core = SimpleNamespace(
            keys=SimpleNamespace(node_id=HERE),
            name_of=lambda node_id: "frigg" if node_id == FRIGG else "here",
        )
        services = Services()
        services.provide(Tokens, self.bench.tokens)
        services.provide(FleetService, cast("Any", SimpleNamespace(core=core)))
        self.callers = Callers(services, lambda: None, access)

    def holder(self, made_on: NodeId) -> Caller:
        self.bench.records.origin = made_on
        _, text = self.bench.create(made_on[:4], role=Role.OPERATOR)

        async def enter() -> Caller | None:
            found = self.callers.by_token(text, "192.0.2.1")
            await self.bench.tokens.settle()
            return found

        found = asyncio.run(enter())
        assert found is not None
        return found


def may(caller: Caller, name: str) -> bool:
    try:
        authorize(caller, name, Role.VIEWER)
    except RefusedError:
        return False
    return True


def test_a_rule_for_a_member_holds_for_the_tokens_made_there():
    door = Door(AccessSettings(rule=(AccessRule(members=("frigg",), deny=("exec.*",)),)))
    holder = door.holder(FRIGG)
    assert not may(holder, "exec.run")
    assert may(holder, "env.get")
    assert may(door.holder(HERE), "exec.run")


def test_a_rule_for_all_holds_for_every_token():
    door = Door(AccessSettings(rule=(AccessRule(deny=("exec.*",)),)))
    assert not may(door.holder(FRIGG), "exec.run")
    assert not may(door.holder(HERE), "exec.run")


@pytest.mark.parametrize("made_on,fine", [(HERE, True), (FRIGG, False)])
def test_what_members_may_not_by_default_their_tokens_may_not(made_on: NodeId, fine: bool):
    door = Door(AccessSettings(default="deny"))
    assert may(door.holder(made_on), "exec.run") is fine
