"""What the sources tell is merged by node, and never believed further than it must be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from covey.fleet.discovery import Sighting, Source, Standing, Target, dial_plan, host_of, merge
from covey.store.api import NodeId

ME, FREYA, FRIGG = NodeId("0" * 32), NodeId("a" * 32), NodeId("b" * 32)
NAMES = {FREYA: "freya", FRIGG: "frigg"}

addresses = st.sampled_from([f"192.0.2.{n}:13500" for n in range(5)])
sightings = st.builds(
    Sighting,
    st.sampled_from(Source),
    st.text("xyz", min_size=1, max_size=2),
    st.just("name"),
    st.lists(addresses, min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, ME, FREYA, FRIGG]),
    dial=st.booleans(),
)


def seen(source: Source, address: str, node: NodeId | None = None) -> Sighting:
    return Sighting(source, address, f"by {source}", (address,), node)


def plan(*found: Sighting, own: frozenset[str] = frozenset()) -> list[Target]:
    return list(dial_plan(found, own=own, me=ME))


def around(*found: Sighting, answered: dict[str, NodeId] | None = None) -> list[tuple[str, str]]:
    neighbours = merge(
        found,
        name_of=NAMES.__getitem__,
        answered=(answered or {}).get,
        hosts_of={"100.64.0.7": FREYA}.get,
    )
    return [(item.name, item.standing.value) for item in neighbours]


def test_an_address_is_dialled_once_by_its_best_source() -> None:
    found = plan(seen(Source.RECORD, "a:1", FREYA), seen(Source.LAN, "a:1", FREYA))
    assert found == [Target("a:1", Source.LAN, FREYA)]


def test_the_cloud_is_urgent_and_whoever_is_there() -> None:
    assert plan(seen(Source.CLOUD, "a:1")) == [Target("a:1", Source.CLOUD, None, urgent=True)]


def test_a_false_claim_keeps_nobody_from_being_dialled() -> None:
    found = plan(seen(Source.LAN, "a:1", FRIGG), seen(Source.RECORD, "a:1", FREYA))
    assert found == [Target("a:1", Source.LAN, None)]


def test_further_addresses_of_one_member_wait_for_the_better_ones() -> None:
    several = Sighting(Source.RECORD, "x", "freya", ("a:1", "b:1"), FREYA)
    assert [target.rank for target in plan(several, seen(Source.LAN, "c:1", FREYA))] == [0, 1, 2]


@given(st.lists(sightings, max_size=12))
def test_every_address_to_dial_is_in_the_plan_once_and_no_other(found: list[Sighting]) -> None:
    own = frozenset({"192.0.2.0:13500"})
    planned = [target.address for target in plan(*found, own=own)]
    wanted = {
        address
        for item in found
        if item.dial and item.node_id != ME
        for address in item.addresses
        if address not in own
    }
    assert sorted(planned) == sorted(wanted)


@given(st.lists(sightings, max_size=12))
def test_merging_keeps_every_address_and_shows_each_member_once(found: list[Sighting]) -> None:
    neighbours = merge(
        found, name_of=lambda node: node[:8], answered=lambda _: None, hosts_of=lambda _: None
    )
    members = [item.node_id for item in neighbours if item.standing is Standing.MEMBER]
    assert len(members) == len(set(members))
    assert {a for item in found for a in item.addresses} == {
        a for item in neighbours for a in item.addresses
    }


def test_a_machine_is_one_whoever_sees_it() -> None:
    assert around(
        seen(Source.LAN, "10.0.0.5:13500", FREYA),
        seen(Source.RECORD, "freya.lan:13500", FREYA),
        seen(Source.MANUAL, "1.2.3.4:13500"),
        seen(Source.TAILSCALE, "100.64.0.7:13500"),
        answered={"1.2.3.4:13500": FREYA},
    ) == [("freya", "member")]


def test_strangers_and_machines_that_may_not_have_covey_are_shown() -> None:
    assert around(
        seen(Source.TAILSCALE, "100.64.0.9:13500"), seen(Source.LAN, "10.0.0.6:13500")
    ) == [("by lan", "stranger"), ("by tailscale", "unknown")]


def test_a_claim_on_the_lan_to_have_a_members_address_makes_nobody_a_member() -> None:
    assert around(seen(Source.LAN, "100.64.0.7:13500")) == [("by lan", "stranger")]


def test_hosts_of_addresses() -> None:
    assert host_of("[fd00::1]:13500") == "fd00::1"
    assert host_of("freya.lan:1") == "freya.lan"
