"""Host records of members and of machines that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import (
    ConflictError,
    DamagedError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
)
from covey.fleet.machine import Machine, check_name, suggest_name, this_machine
from covey.operations.access import Role
from covey.store.api import Change
from tests.fleet.fleet_nodes import Node, Wall, found, join, meet, redeem, tell
from tests.fleet.fleet_nodes import invite as make_invitation


def run(case: Callable[[Node], Awaitable[None]]) -> None:
    async def whole() -> None:
        admin, _ = await found(Wall())
        await case(admin)
        await admin.stop()

    asyncio.run(whole())


@given(st.text(max_size=200))
def test_every_host_name_gives_a_fit_name(hostname: str) -> None:
    name = suggest_name(hostname)
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "ü", "a" * 64, "a/b", ".", "a\n"])
def test_unfit_names(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="not a name for a machine"):
        check_name(name)


def test_this_machine_describes_itself() -> None:
    machine = this_machine("frigg")
    assert machine.name == "frigg"
    assert machine.hostname
    assert machine.os


def test_fields_are_set_and_removed() -> None:
    async def case(frigg: Node) -> None:
        made = await frigg.hosts.upsert("frigg", {"IP": "10.0.0.1", "backup_path": "/srv"})
        assert made.node_id == frigg.id
        assert made.fields == {"ip": "10.0.0.1", "backup_path": "/srv"}
        after = await frigg.hosts.upsert("FRIGG", {"ip": None, "none": None, "port": "22"})
        assert after.fields == {"backup_path": "/srv", "port": "22"}
        assert frigg.hosts.get(frigg.id[:8]) == after
        with pytest.raises(PreconditionFailedError):
            await frigg.hosts.upsert("frigg", {"port": "23"}, made.version)

    run(case)


@pytest.mark.parametrize(
    "field, value",
    [
        ("", "x"),
        ("1st", "x"),
        ("a-b", "x"),
        ("a" * 65, "x"),
        ("a\n", "x"),
        ("a", "x\0"),
        ("a", "x" * 8193),
    ],
)
def test_unfit_fields(field: str, value: str) -> None:
    async def case(frigg: Node) -> None:
        with pytest.raises(InvalidRequestError):
            await frigg.hosts.upsert("frigg", {field: value})

    run(case)


def test_too_many_fields() -> None:
    async def case(frigg: Node) -> None:
        with pytest.raises(InvalidRequestError, match="at most 256"):
            await frigg.hosts.upsert("frigg", {f"f{n}": "x" for n in range(257)})

    run(case)


def test_a_recorded_machine_becomes_the_member_of_its_name() -> None:
    async def case(frigg: Node) -> None:
        await frigg.hosts.upsert("home-server", {"ip": "10.0.0.5"})
        assert frigg.hosts.get("HOME_SERVER").node_id is None
        member, _ = await join(frigg, "home_server")
        host = frigg.hosts.get("home-server")
        assert (host.node_id, host.fields) == (member.id, {"ip": "10.0.0.5"})
        assert len(frigg.hosts.list()) == 2

    run(case)


def test_two_members_that_got_one_name_apart_part_again() -> None:
    async def case(frigg: Node) -> None:
        odin, _ = await join(frigg, "odin")
        await meet(frigg, odin)
        await frigg.fleet.set_role("odin", Role.ADMIN)
        await tell(frigg, odin)
        one, _ = await redeem(frigg, await make_invitation(frigg), "pi")
        other, _ = await redeem(odin, await make_invitation(odin), "pi")
        await meet(frigg, odin, one, other)
        with pytest.raises(ConflictError, match="name of 2 machines"):
            frigg.hosts.get("pi")
        names = [await node.fleet.announce(Machine("pi")) for node in (one, other)]
        await meet(frigg, odin, one, other)
        assert sorted(names) == ["pi", "pi-2"]
        assert frigg.hosts.get("pi").node_id == min(one.id, other.id)
        assert [await node.fleet.announce(Machine("pi")) for node in (one, other)] == names

    run(case)


def test_announcing_again_writes_nothing_new() -> None:
    async def case(frigg: Node) -> None:
        await frigg.fleet.announce(Machine("frigg", os="Linux"), ("frigg.lan:13500",))
        first = frigg.hosts.get("frigg")
        assert first.addresses == ("frigg.lan:13500",)
        await frigg.fleet.announce(Machine("frigg", os="Linux"), ("frigg.lan:13500",))
        assert frigg.hosts.get("frigg").version == first.version
        await frigg.hosts.upsert("frigg", {"ip": "10.0.0.1"})
        await frigg.fleet.announce(Machine("frigg", os="Linux 7"))
        after = frigg.hosts.get("frigg")
        assert (after.os, after.addresses, after.fields) == (
            "Linux 7",
            ("frigg.lan:13500",),
            {"ip": "10.0.0.1"},
        )

    run(case)


def test_renaming_a_recorded_machine() -> None:
    async def case(frigg: Node) -> None:
        await frigg.hosts.upsert("nas", {"ip": "1"})
        renamed = await frigg.hosts.rename(frigg.hosts.get("nas"), "store")
        assert renamed.fields == {"ip": "1"}
        with pytest.raises(NotFoundError, match="No machine is called nas"):
            frigg.hosts.get("nas")
        with pytest.raises(ConflictError):
            await frigg.hosts.rename(renamed, "frigg")
        again = await frigg.hosts.rename(renamed, "STORE")
        assert again.name == "STORE"

    run(case)


def test_a_damaged_record_is_named() -> None:
    async def case(frigg: Node) -> None:
        await frigg.store.records.write([Change("hosts", "name:x", b"damaged")])
        with pytest.raises(DamagedError, match="name:x"):
            frigg.hosts.list()

    run(case)
