"""The rules of the queue one by one, on each kind of storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from covey.jobs.failures import crash_loop
from covey.jobs.model import JobState, Priority, StepState
from covey.jobs.ports import (
    Claim,
    JobStorage,
    JobTemplate,
    Outcome,
    StoredJob,
    StoredSchedule,
    StoredStep,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)


def a_job(name: str, **more: Any) -> StoredJob:
    given = {
        "kind": "k",
        "payload": b"{}",
        "title": "a job",
        "subject": "",
        "caller": "freya",
        "priority": Priority.DEFAULT,
        "created": NOW,
    }
    return StoredJob(id=name, **(given | more))


async def claimed(storage: JobStorage, worker: str = "one", limit: int = 9) -> list[str]:
    return [claim.job.id for claim in await storage.claim(worker, limit, {}, NOW)]


async def settled(storage: JobStorage, name: str, state: JobState, **more: Any) -> None:
    assert await storage.settle("one", name, Outcome(state, NOW, **more))


@pytest.mark.parametrize(
    "state,stands",
    [(JobState.SUCCEEDED, True), (JobState.FAILED, True), (JobState.CANCELLED, False)],
)
async def test_work_that_is_done_stands_for_the_same_work_for_a_while(
    storage: JobStorage, state: JobState, stands: bool
):
    given = {"unique": "x", "unique_for_ms": 5_000}
    await storage.enqueue(a_job("aaaa", **given))
    assert await claimed(storage) == ["aaaa"]
    await settled(storage, "aaaa", state)
    soon = NOW + timedelta(seconds=4)
    found = await storage.enqueue(a_job("bbbb", created=soon, **given))
    assert (found.job.id, found.is_new) == (("aaaa", False) if stands else ("bbbb", True))
    await storage.cancel("bbbb", soon)
    found = await storage.enqueue(a_job("cccc", created=LATER, **given))
    assert (found.job.id, found.is_new) == ("cccc", True)


async def test_a_superseded_push_does_not_stand_for_the_same_push(storage: JobStorage):
    given = {"key": "app", "unique_for_ms": 60_000}
    await storage.enqueue(a_job("aaaa", unique="1", **given), supersede=True)
    found = await storage.enqueue(a_job("bbbb", unique="2", **given), supersede=True)
    assert found.superseded == ("aaaa",)
    found = await storage.enqueue(a_job("cccc", unique="1", **given), supersede=True)
    assert (found.is_new, found.superseded) == (True, ("bbbb",))


async def test_what_is_to_be_cancelled_gets_no_other_attempt(storage: JobStorage):
    await storage.enqueue(a_job("aaaa", max_attempts=3))
    await claimed(storage)
    marked = await storage.cancel("aaaa", NOW)
    assert marked is not None
    assert (marked.state, marked.cancelling) == (JobState.RUNNING, True)
    await settled(storage, "aaaa", JobState.SCHEDULED, due=LATER)
    (job,) = storage.get("aaaa")
    assert (job.state, job.ended, job.due) == (JobState.CANCELLED, NOW, None)
    assert storage.next_due() is None


async def test_a_job_that_got_on_is_not_given_up(storage: JobStorage):
    await storage.enqueue(a_job("aaaa"))
    for worker in ("one", "two", "three"):
        assert await claimed(storage, worker) == ["aaaa"]
        step = StoredStep(worker, StepState.SUCCEEDED, NOW, NOW, 1, b"\xc0")
        assert await storage.record(worker, "aaaa", [step])
        (job,) = await storage.recover("x", NOW, most_breaks=2, failure=crash_loop(2))
        assert (job.state, job.breaks) == (JobState.QUEUED, 1)
    await claimed(storage)
    (job,) = await storage.recover("x", NOW, most_breaks=2, failure=crash_loop(2))
    assert (job.state, job.failure) == (JobState.FAILED, crash_loop(2))


async def test_stopping_is_not_a_crash(storage: JobStorage):
    await storage.enqueue(a_job("aaaa"))
    for _ in range(3):
        (claim,) = await storage.claim("one", 1, {}, NOW)
        await storage.hand_back("one")
    (job,) = storage.get("aaaa")
    assert (job.state, job.breaks, job.attempt, job.begun) == (JobState.QUEUED, 0, 1, True)
    assert claim.resumed


async def test_a_job_that_was_broken_off_holds_its_key(storage: JobStorage):
    await storage.enqueue(a_job("aaaa", key="app", priority=Priority.LOW))
    await claimed(storage)
    await storage.hand_back("one")
    high = a_job("bbbb", key="app", priority=Priority.CRITICAL)
    assert (await storage.enqueue(high, supersede=True)).superseded == ()
    assert await claimed(storage) == ["aaaa"]
    assert await claimed(storage) == []
    await settled(storage, "aaaa", JobState.SUCCEEDED)
    assert await claimed(storage) == ["bbbb"]


async def test_a_claim_belongs_to_its_worker(storage: JobStorage):
    await storage.enqueue(a_job("aaaa"))
    await claimed(storage)
    done = Outcome(JobState.SUCCEEDED, NOW)
    assert not await storage.settle("two", "aaaa", done)
    assert not await storage.record("two", "aaaa", [])
    assert await storage.extend("two", NOW) == frozenset()
    assert await storage.extend("one", NOW) == {"aaaa"}
    await settled(storage, "aaaa", JobState.SUCCEEDED)
    assert not await storage.settle("one", "aaaa", done)
    assert not await storage.settle("one", "zzzz", done)
    assert storage.steps(["aaaa"]) == {}


async def test_room_and_limit_are_kept(storage: JobStorage):
    for name in ("aaaa", "bbbb", "cccc", "dddd"):
        await storage.enqueue(a_job(name, kind="k" if name < "cccc" else "other"))

    async def claim(limit: int, **room: int) -> list[Claim]:
        return await storage.claim("one", limit, room, NOW)

    assert await claim(0) == []
    assert await claim(4, k=0, other=-1) == []
    assert [found.job.id for found in await claim(3, k=1)] == ["aaaa", "cccc", "dddd"]
    assert [found.job.id for found in await claim(3, other=0)] == ["bbbb"]


async def test_the_same_schedule_put_again_keeps_its_times(storage: JobStorage):
    job = JobTemplate("k", b"{}", "a job", "", "freya", Priority.LOW)
    first = StoredSchedule("night", "0 3 * * *", "UTC", 0.0, job, NOW, NOW)
    await storage.put_schedule(first)
    again = StoredSchedule("night", "0 3 * * *", "UTC", 0.0, job, LATER, LATER)
    await storage.put_schedule(again)
    assert storage.schedules() == [first]
    other = StoredSchedule("night", "0 4 * * *", "UTC", 0.0, job, LATER, LATER)
    await storage.put_schedule(other)
    assert storage.schedules() == [other]


async def test_a_schedule_passes_over_while_its_last_job_goes_on(storage: JobStorage):
    job = JobTemplate("k", b"{}", "a job", "", "freya", Priority.LOW)
    schedule = StoredSchedule("night", "0 3 * * *", "UTC", 0.0, job, NOW, NOW)
    await storage.put_schedule(schedule)
    assert await storage.fire(schedule, a_job("aaaa")) is not None
    assert await storage.fire(schedule, a_job("bbbb")) is None
    await storage.cancel("aaaa", NOW)
    assert await storage.fire(schedule, a_job("cccc")) is not None
    assert await storage.fire(schedule, None) is None
    await storage.remove_schedule("night")
    assert await storage.fire(schedule, a_job("dddd")) is None
    assert [each.id for each in storage.find()] == ["cccc", "aaaa"]


async def test_pruning_forgets_the_oldest_with_their_steps(storage: JobStorage):
    for at, name in enumerate(("aaaa", "bbbb", "cccc", "dddd")):
        await storage.enqueue(a_job(name))
        if name != "dddd":
            await claimed(storage)
            step = StoredStep("s", StepState.FAILED, NOW)
            ended = NOW + timedelta(seconds=at)
            await storage.settle("one", name, Outcome(JobState.FAILED, ended, steps=[step]))
    assert await storage.prune(NOW, keep=9, limit=9) == []
    assert await storage.prune(NOW + timedelta(seconds=1), keep=9, limit=9) == ["aaaa"]
    assert await storage.prune(NOW, keep=0, limit=1) == ["bbbb"]
    assert await storage.prune(NOW, keep=1, limit=9) == []
    assert [each.id for each in storage.find()] == ["dddd", "cccc"]
    assert list(storage.steps(["aaaa", "bbbb", "cccc"])) == ["cccc"]


async def test_what_is_wanted_again_after_something_else_is_not_what_came_before(
    storage: JobStorage,
):
    """The branch was at one, at two, and is back at one: one must be deployed last."""
    given = {"key": "app", "unique_for_ms": 60_000}
    await storage.enqueue(a_job("aaaa", unique="one", **given), supersede=True)
    assert await claimed(storage) == ["aaaa"]
    await storage.enqueue(a_job("bbbb", unique="two", **given), supersede=True)
    back = await storage.enqueue(a_job("cccc", unique="one", **given), supersede=True)
    assert (back.is_new, back.superseded) == (True, ("bbbb",))
    again = await storage.enqueue(a_job("dddd", unique="one", **given), supersede=True)
    assert (again.is_new, again.job.id) == (False, "cccc")
    await settled(storage, "aaaa", JobState.SUCCEEDED)
    assert await claimed(storage) == ["cccc"]
    await settled(storage, "cccc", JobState.SUCCEEDED)
    assert not (await storage.enqueue(a_job("eeee", unique="one", **given))).is_new
    await storage.enqueue(a_job("ffff", unique="two", **given))
    assert await claimed(storage) == ["ffff"]
    await settled(storage, "ffff", JobState.SUCCEEDED)
    assert (await storage.enqueue(a_job("gggg", unique="one", **given))).is_new


async def test_what_is_being_cancelled_does_not_stand_for_the_same_work(storage: JobStorage):
    await storage.enqueue(a_job("aaaa", unique="x", key="a"))
    assert await claimed(storage) == ["aaaa"]
    await storage.cancel("aaaa", NOW)
    assert (await storage.enqueue(a_job("bbbb", unique="x", key="a"))).is_new


async def test_low_priority_never_means_never(storage: JobStorage):
    """While more important jobs come without end, one of eight that begin is the oldest."""
    old = NOW - timedelta(minutes=2)
    for name, priority in (("low2", Priority.LOW), ("low3", Priority.LOW)):
        await storage.enqueue(a_job(name, created=old, priority=priority, key="low"))
    await storage.enqueue(a_job("young", priority=Priority.LOW))
    for number in range(30):
        await storage.enqueue(a_job(f"a{number:03}", priority=Priority.CRITICAL, created=NOW))
    first = await claimed(storage, limit=16)
    assert [name for name in first if not name.startswith("a")] == ["low2"]
    assert first.index("low2") == 7
    await settled(storage, "low2", JobState.SUCCEEDED)
    assert "low3" in await claimed(storage, limit=8)
    assert "young" not in await claimed(storage, limit=8)


async def test_an_attempt_that_was_put_off_for_too_long_is_brought_forward(storage: JobStorage):
    far = NOW + timedelta(days=1000)
    for name, kind in (("aaaa", "k"), ("bbbb", "other")):
        await storage.enqueue(a_job(name, kind=kind, max_attempts=2))
    await storage.enqueue(a_job("cccc", state=JobState.SCHEDULED, due=far, not_before=far))
    assert await claimed(storage) == ["aaaa", "bbbb"]
    for name in ("aaaa", "bbbb"):
        await settled(storage, name, JobState.SCHEDULED, due=far)
    await storage.hasten({"k": LATER})
    assert storage.next_due() == LATER
    found = await storage.claim("one", 9, {}, LATER)
    assert [claim.job.id for claim in found] == ["aaaa"]
    assert storage.next_due() == far
