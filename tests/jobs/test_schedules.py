from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import InvalidRequestError, NotFoundError
from covey.jobs.api import JobRun, RecordedPayload, Retry, Schedule
from covey.jobs.backoff import wait_before_next
from covey.jobs.cron import next_time
from covey.jobs.engine import JobEngine
from covey.jobs.model import JobState
from tests.jobs.jobs import Gate, Text, Work, new, until

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next times, in UTC."""
    found, now = [], at(after)
    for _ in range(count):
        now = next_time(cron, zone, now)
        found.append(f"{now:%m-%d %H:%M}")
    return found


def test_a_line_is_read_in_its_zone():
    assert times("30 3 * * *", "UTC", "2026-01-10T03:30", 2) == ["01-11 03:30", "01-12 03:30"]
    assert times("30 3 * * *", BERLIN, "2026-01-10T00:00", 1) == ["01-10 02:30"]
    assert times("30 3 * * MON", BERLIN, "2026-07-10T00:00", 1) == ["07-13 01:30"]
    assert times("0 0 29 2 *", "UTC", "2026-01-01T00:00", 1) == ["02-29 00:00"]


def test_when_the_clocks_go_forward_a_time_that_is_left_out_still_comes_once():
    # 2026-03-29: 02:00 CET is 03:00 CEST.
    assert times("30 2 * * *", BERLIN, "2026-03-28T00:00", 3) == [
        "03-28 01:30",
        "03-29 01:00",
        "03-30 00:30",
    ]


def test_when_the_clocks_go_back_a_time_that_comes_twice_counts_once():
    # 2026-10-25: 03:00 CEST is 02:00 CET.
    assert times("30 2 * * *", BERLIN, "2026-10-24T00:00", 3) == [
        "10-24 00:30",
        "10-25 00:30",
        "10-26 01:30",
    ]


def test_what_comes_every_so_often_keeps_its_pace_over_a_change_of_clocks():
    assert times("*/30 * * * *", BERLIN, "2026-10-25T00:10", 4) == [
        "10-25 00:30",
        "10-25 01:00",
        "10-25 01:30",
        "10-25 02:00",
    ]
    assert times("0 * * * *", BERLIN, "2026-03-29T00:10", 2) == ["03-29 01:00", "03-29 02:00"]


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "@daily"]
)
def test_a_line_that_is_none_is_refused(cron: str):
    with pytest.raises(InvalidRequestError, match="cron line"):
        next_time(cron, "UTC", at("2026-01-01T00:00"))


@pytest.mark.parametrize("zone", ["", "Mars/Base", "../../etc/passwd", "/etc/passwd"])
def test_a_zone_that_is_none_is_refused(zone: str):
    with pytest.raises(InvalidRequestError, match="time zone"):
        next_time("* * * * *", zone, at("2026-01-01T00:00"))


@given(
    st.sampled_from(["*/7 * * * *", "15 */2 * * *", "30 2 * * *", "0 0 1 * MON", "59 23 L * *"]),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_the_next_time_lies_ahead_and_none_is_left_out(cron: str, zone: str, now: datetime):
    found = next_time(cron, zone, now)
    assert found > now
    assert next_time(cron, zone, found - timedelta(seconds=1)) == found
    assert next_time(cron, zone, now + (found - now) / 2) == found


@given(st.integers(1, 10_000), st.floats(-1, 1))
def test_waits_grow_to_their_limit(attempt: int, spread: float):
    retry = Retry(9, first_wait_s=2, factor=3, longest_wait_s=100, jitter=0.5)
    wait = wait_before_next(retry, attempt, spread)
    plain = min(2 * 3 ** min(attempt - 1, 64), 100)
    assert plain * 0.5 <= wait <= plain * 1.5
    assert wait_before_next(retry, 1, 0) == 2
    assert wait_before_next(retry, 2, 0) == 6


class Clock:
    """A clock that a test moves."""

    def __init__(self, start: str) -> None:
        self.time = at(start)

    def __call__(self) -> datetime:
        return self.time


async def test_a_schedule_makes_its_job_again_and_again_but_never_beside_itself(work: Work):
    gate, clock = Gate(), Clock("2026-01-10T00:00")

    async def run(run: JobRun) -> None:
        work.noted.append(run.payload(Text).text)
        await gate.wait()

    work.kind("backup", run)
    async with work.engine(now=clock) as jobs:
        await jobs.put_schedule(Schedule("night", "30 3 * * *", new("backup", "all")))
        await settled(jobs)
        assert jobs.find() == []
        clock.time = at("2026-01-10T03:30")
        await nudged(jobs)
        await until(lambda: work.noted == ["all"])
        clock.time = at("2026-01-11T03:30")
        await nudged(jobs)
        await settled(jobs)
        assert len(jobs.find()) == 1
        gate.open()
        await jobs.wait(jobs.find()[0].id)
        clock.time = at("2026-01-12T03:29")
        await nudged(jobs)
        await settled(jobs)
        assert len(jobs.find()) == 1
        clock.time = at("2026-01-12T03:30")
        await nudged(jobs)
        await until(lambda: work.noted == ["all", "all"])


async def test_times_missed_while_the_daemon_was_down_are_made_up_once(work: Work):
    clock = Clock("2026-01-10T00:00")
    work.kind("backup", lambda run: work.note(run.id))
    async with work.engine(now=clock) as jobs:
        await jobs.put_schedule(Schedule("often", "*/5 * * * *", new("backup")))
    clock.time = at("2026-01-12T07:02")
    async with work.engine(now=clock) as jobs:
        # Its owner puts it again at each start.
        await jobs.put_schedule(Schedule("often", "*/5 * * * *", new("backup")))
        await until(lambda: len(work.noted) == 1)
        await settled(jobs)
        assert [stored.due for stored in jobs.stored_schedules()] == [at("2026-01-12T07:05")]
        assert len(jobs.find()) == 1


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_was_years_ahead_puts_nothing_off(
    work: Work, restarted: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("covey.jobs.engine._LONGEST_SLEEP_S", 0.01)
    clock, tries = Clock("2031-01-10T00:00"), list[str]()

    async def fails_once(run: JobRun) -> None:
        tries.append(run.id)
        if len(tries) == 1:
            raise NotFoundError("no")

    work.kind("backup", lambda run: work.note(run.id))
    work.kind("again", fails_once, retry=Retry(2, first_wait_s=60, longest_wait_s=60, jitter=0))
    async with AsyncExitStack() as stack:
        jobs = await stack.enter_async_context(work.engine(now=clock))
        await jobs.put_schedule(Schedule("often", "*/5 * * * *", new("backup")))
        clock.time = at("2031-01-10T00:05")
        await until(lambda: len(work.noted) == 1)
        job = await jobs.enqueue(new("again"))
        await until(lambda: jobs.get(job.id).state is JobState.SCHEDULED)
        if restarted:
            await jobs.stop()
        clock.time = at("2026-01-10T00:01")
        if restarted:
            jobs = await stack.enter_async_context(work.engine(now=clock))
        await settled(jobs)
        clock.time = at("2026-01-10T00:02")
        await until(lambda: len(tries) == 2)
        assert len(work.noted) == 1
        clock.time = at("2026-01-10T00:05")
        await until(lambda: len(work.noted) == 2)


async def test_a_clock_that_is_set_back_a_little_repeats_nothing(work: Work):
    clock = Clock("2026-01-10T03:30")
    work.kind("backup", lambda run: work.note(run.id))
    async with work.engine(now=clock) as jobs:
        await jobs.put_schedule(Schedule("night", "31 3 * * *", new("backup")))
        clock.time = at("2026-01-10T03:31")
        await nudged(jobs)
        await until(lambda: len(work.noted) == 1)
        clock.time = at("2026-01-10T03:29")
        await nudged(jobs)
        clock.time = at("2026-01-10T03:32")
        await nudged(jobs)
        assert [item.due for item in jobs.stored_schedules()] == [at("2026-01-11T03:31")]
        assert len(jobs.find()) == 1


async def test_a_schedule_that_cannot_be_read_holds_up_nothing_else(
    work: Work, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock("2026-01-10T00:00")
    work.kind("backup", lambda run: work.note(run.payload(Text).text))
    async with work.engine(now=clock) as jobs:
        for name, minute in (("a", 1), ("b", 2), ("c", 1)):
            cron = f"{minute} * * * *"
            await jobs.put_schedule(Schedule(name, cron, new("backup", name)))

        def mistaken(cron: str, zone: str, after: datetime) -> datetime:
            if cron.startswith("2"):
                raise LookupError
            return next_time(cron, zone, after)

        monkeypatch.setattr("covey.jobs.scheduler.next_time", mistaken)
        clock.time = at("2026-01-10T00:02")
        await nudged(jobs)
        await until(lambda: sorted(work.noted) == ["a", "c"])
        done = await jobs.wait((await jobs.enqueue(new("backup", "d"))).id)
        assert done.state is JobState.SUCCEEDED


async def test_a_replaced_schedule_begins_anew_and_a_removed_one_ends(work: Work):
    clock = Clock("2026-01-10T00:00")
    work.kind("backup", lambda run: work.note(run.payload(Text).text))
    async with work.engine(now=clock) as jobs:
        await jobs.put_schedule(Schedule("a/night", "0 3 * * *", new("backup", "old")))
        await jobs.put_schedule(Schedule("a/night", "0 4 * * *", new("backup", "new")))
        await jobs.put_schedule(Schedule("b/night", "0 4 * * *", new("backup", "gone")))
        await jobs.remove_schedule("b/night")
        await jobs.remove_schedule("b/night")
        clock.time = at("2026-01-10T03:00")
        await nudged(jobs)
        clock.time = at("2026-01-10T04:00")
        await nudged(jobs)
        await until(lambda: work.noted == ["new"])
        (schedule,) = jobs.schedules("a/")
        assert (schedule.name, schedule.cron) == ("a/night", "0 4 * * *")
        assert isinstance(schedule.job.payload, RecordedPayload)
        assert schedule.job.payload.decode(Text) == Text("new")
        assert jobs.schedules("b/") == []
        await jobs.put_schedule(schedule)
        assert jobs.schedules() == [schedule]


async def test_a_run_starts_within_its_jitter(work: Work):
    clock = Clock("2026-01-10T00:00")
    work.kind("backup", lambda run: work.note(run.id))
    async with work.engine(now=clock) as jobs:
        for name in range(20):
            schedule = Schedule(f"{name}", "0 3 * * *", new("backup"), jitter_s=600)
            await jobs.put_schedule(schedule)
        due = [stored.due for stored in jobs.stored_schedules()]
        assert len(set(due)) > 10
        assert min(due) >= at("2026-01-10T03:00")
        assert max(due) <= at("2026-01-10T03:10")


async def test_a_schedule_that_cannot_be_is_refused(work: Work):
    work.kind("backup", lambda run: work.note(run.id))
    async with work.engine() as jobs:
        with pytest.raises(InvalidRequestError):
            await jobs.put_schedule(Schedule("x", "no", new("backup")))
        with pytest.raises(InvalidRequestError):
            await jobs.put_schedule(Schedule("x", "* * * * *", new("backup"), zone="Mars"))
        with pytest.raises(NotFoundError):
            await jobs.put_schedule(Schedule("x", "* * * * *", new("nothing")))
        assert jobs.schedules() == []


async def test_old_jobs_go_once_a_day_with_their_logs(work: Work):
    clock = Clock("2026-01-10T00:00")

    async def run(run: JobRun) -> None:
        run.log("said")

    work.kind("k", run)
    async with work.engine(now=clock, keep=timedelta(days=2)) as jobs:
        old = await jobs.enqueue(new("k"))
        await jobs.wait(old.id)
        clock.time = at("2026-01-11T00:00")
        young = await jobs.enqueue(new("k"))
        await jobs.wait(young.id)
        assert sorted(work.logs.jobs()) == sorted([old.id, young.id])
        await until(lambda: jobs._pruning._task is None)
        clock.time = at("2026-01-12T01:00")
        await nudged(jobs)
        await until(lambda: work.logs.jobs() == [young.id])
        assert [job.id for job in jobs.find()] == [young.id]
        assert await jobs.prune(clock.time) == 1
        assert work.logs.jobs() == []


async def test_an_idle_engine_wakes_for_what_is_due_alone(work: Work):
    work.kind("k", lambda _run: work.note(1))
    async with work.engine() as jobs:
        await jobs.wait((await jobs.enqueue(new("k"))).id)
        await settled(jobs)
        claims = SimpleNamespace(count=0)
        claim = type(work.storage).claim

        async def counted(self: object, *given: object) -> object:
            claims.count += 1
            return await claim(self, *given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(work.storage), "claim", counted)
            await asyncio.sleep(0.2)
            assert claims.count == 0
            assert jobs._timer is not None
            assert jobs._timer.when() - asyncio.get_running_loop().time() > 50
            job = await jobs.enqueue(new("k"))
            assert (await jobs.wait(job.id)).state is JobState.SUCCEEDED
            await settled(jobs)
            assert claims.count <= 3


async def nudged(jobs: JobEngine) -> None:
    """Let the engine look at its clock, as its timer does."""
    jobs._wake.set()
    await settled(jobs)


async def settled(jobs: JobEngine) -> None:
    """Wait until the engine sleeps."""
    await until(lambda: not jobs._wake.is_set())
    await asyncio.sleep(0.02)
