"""A member that is refused again and again does not push everything else out of the trail."""

from __future__ import annotations

from covey.operations.access import Role
from covey.operations.audit import AuditEntry
from covey.remote.refusals import MOST_A_MINUTE, RefusalTrails
from covey.store.api import NodeId
from tests.remote.members import Fleet, Play, Trail, failure, pair, set_word

FREYA, ODIN = NodeId("f" * 32), NodeId("0" * 32)


def entry(outcome: str) -> AuditEntry:
    return AuditEntry("", "x", "node", "viewer", "mesh", "word.set", "a", outcome, "0" * 16)


def test_so_many_refusals_of_a_member_are_kept_each_minute_and_all_else():
    now, trail = [0.0], Trail()
    trails = RefusalTrails(trail, 2, lambda: now[0])
    for outcome in ("refused", "locked", "refused", "ok", "conflict", "refused"):
        trails.of(FREYA).record(entry(outcome))
    trails.of(ODIN).record(entry("refused"))
    found = ["refused", "locked", "ok", "conflict", "refused"]
    assert [item.outcome for item in trail.entries] == found
    now[0] += 60
    trails.of(FREYA).record(entry("refused"))
    assert [item.outcome for item in trail.entries] == [*found, "refused"]


def test_calls_over_links_are_held_to_it(play: Play):
    async def scene(fleet: Fleet) -> None:
        freya, frigg = pair(fleet, Role.VIEWER)
        for _ in range(MOST_A_MINUTE + 20):
            await failure(freya.call(frigg, set_word, text="a"))
        assert len(frigg.trail.entries) == MOST_A_MINUTE

    play(scene)
