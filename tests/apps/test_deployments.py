"""Deployments that follow, overtake and interrupt each other: what serves in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from covey.apps import deployment_operations
from covey.apps.model import DeploymentState, Trigger
from covey.apps.push_deployments import PushDeployments
from covey.apps.results import DeploymentView, view_deployment
from covey.apps.routing.model import Answer, Route
from covey.apps.service import Wanted
from covey.apps.sources import UploadSource
from covey.env.model import Kind
from covey.env.scope import Scope
from covey.errors import ConflictError, NotFoundError
from covey.jobs.model import Job, JobState
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.context import Context
from covey.remote.exec.model import ExecInput
from covey.testing.memory_containers import Behaviour
from tests.apps.laboratory import Laboratory, hold
from tests.waiting import until

SUCCEEDED = DeploymentState.SUCCEEDED


async def test_a_version_takes_the_place_of_another(lab: Laboratory):
    lab.version("v1")
    lab.version("v2")
    assert (await lab.deploy("shop", "v1")).state is SUCCEEDED
    assert await lab.get("shop") == "v1"
    assert (await lab.deploy("shop", "v2")).state is SUCCEEDED
    assert await lab.get("shop") == "v2"
    await lab.settled()
    assert await lab.names("shop") == ["2-web-0"]


async def test_a_change_of_settings_during_a_deployment_runs_the_new_version(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    code = await lab.ask("shop", "v2")
    await until(lambda: lab.versions.fetching == ["v1", "v2"])
    change = await lab.apps.configure(
        lab.app("shop"), lambda _: {"env": {"LEVEL": "debug"}}, "a test"
    )
    lab.versions.gate.set()
    assert (await lab.ended(code)).state is SUCCEEDED
    last = await lab.ended(change)
    assert (last.state, last.of, last.commit) == (SUCCEEDED, code.number, "v2")
    assert await lab.get("shop") == "v2"
    [container] = await lab.containers("shop") if await _is_tidy(lab) else [None]
    assert container is not None


async def test_a_queued_version_is_not_lost_to_a_change_of_settings(lab: Laboratory):
    for name in ("v1", "v2", "v3"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    queued = await lab.ask("shop", "v3")
    change = await lab.apps.again(lab.app("shop"), Trigger.RESTART, "a test")
    assert change.number == queued.number
    lab.versions.gate.set()
    assert (await lab.ended(change)).state is SUCCEEDED
    assert await lab.get("shop") == "v3"


async def test_of_many_asked_for_at_once_the_last_serves(lab: Laboratory):
    versions = [f"v{number}" for number in range(6)]
    for name in versions:
        lab.version(name)
    await lab.apps.create("shop")
    asked = await asyncio.gather(*(lab.ask("shop", name) for name in versions))
    assert sorted(item.number for item in asked) == [1, 2, 3, 4, 5, 6]
    last = max(asked, key=lambda item: item.number)
    assert isinstance(last.source, UploadSource)
    assert (await lab.ended(last)).state is SUCCEEDED
    assert await lab.get("shop") == last.source.id
    states = {item.number: item.state for item in lab.deployments.of("shop")}
    ended = {SUCCEEDED, DeploymentState.SUPERSEDED}
    assert states[last.number] is SUCCEEDED
    assert set(states.values()) <= ended
    for item in lab.deployments.of("shop"):
        superseded = lab.jobs.get(item.job).state is JobState.SUPERSEDED
        assert superseded == (item.state is DeploymentState.SUPERSEDED)


async def test_a_superseded_push_is_told_so_however_late_that_is_recorded(lab: Laboratory):
    for name in ("v1", "v2", "v3"):
        lab.version(name)
    lab.versions.gate.clear()
    await lab.ask("shop", "v1")
    await until(lambda: lab.versions.fetching)
    second = await lab.ask("shop", "v2")
    recording = hold(lab.apps, "_superseded")
    wait = lab.jobs.wait

    async def wait_and_let_it_be_recorded(job: str) -> Job:
        ended = await wait(job)
        asyncio.get_running_loop().call_soon(recording.set)
        return ended

    lab.jobs.wait = wait_and_let_it_be_recorded  # type: ignore[method-assign]

    async def follow() -> list[str]:
        return [line async for line in PushDeployments(lab.apps).follow("shop", second.number)]

    following = asyncio.create_task(follow())
    third = await lab.ask("shop", "v3")
    with pytest.raises(ConflictError, match="superseded by a newer one"):
        await following
    lab.versions.gate.set()
    assert (await lab.ended(third)).state is SUCCEEDED


async def test_one_whose_job_has_been_claimed_is_not_taken_for_superseded(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.apps.create("shop")
    lab.versions.gate.clear()
    first = await lab.ask("shop", "v1")
    # Its job runs, and has not noted so.
    await lab.deployments.put(first)
    await until(lambda: lab.jobs.get(first.job).state is JobState.RUNNING)
    second = await lab.ask("shop", "v2")
    latest = lab.deployments.get("shop", first.number)
    assert latest.state is not DeploymentState.SUPERSEDED
    lab.versions.gate.set()
    assert (await lab.ended(second)).state is SUCCEEDED


async def test_a_deployment_that_failed_does_not_succeed_by_repeating_its_job(lab: Laboratory):
    lab.version("v1")
    lab.broken("v2")
    await lab.deploy("shop", "v1")
    failed = await lab.deploy("shop", "v2")
    assert failed.state is DeploymentState.FAILED
    await lab.jobs.retry(failed.job)
    job = await lab.jobs.wait(failed.job)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.message == failed.reason
    assert await lab.get("shop") == "v1"


async def test_one_that_is_cancelled_while_it_waits_is_known_as_cancelled(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    lab.versions.gate.clear()
    first = await lab.ask("shop", "v1")
    await until(lambda: lab.versions.fetching)
    second = await lab.ask("shop", "v2")
    await lab.jobs.cancel(second.job)
    ended = await lab.apps.settle("shop", second.number)
    assert (ended.state, ended.reason) == (DeploymentState.CANCELLED, "It was cancelled.")
    await lab.jobs.cancel(first.job)
    assert (await lab.ended(first)).state is DeploymentState.CANCELLED
    assert await lab.containers() == []


async def test_a_deployment_does_not_wait_for_the_watch_of_the_one_before(lab: Laboratory):
    lab.version("v1")
    lab.version("v2", deploy={"watch": "1h"})
    await lab.deploy("shop", "v1")
    second = await lab.ask("shop", "v2")
    await until(lambda: "watch" in [step.name for step in lab.jobs.get(second.job).steps])
    back = await lab.apps.rollback(lab.app("shop"), 1, "a test")
    assert (await lab.ended(back)).state is SUCCEEDED
    assert (await lab.ended(second)).state is SUCCEEDED
    assert await lab.get("shop") == "v1"
    assert "another deployment waits" in lab.log(second.job)


async def test_all_that_is_being_deployed_can_be_cancelled(lab: Laboratory):
    for name in ("v1", "v2", "v3"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    second = await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    third = await lab.ask("shop", "v3")
    newest = await lab.apps.cancel(lab.app("shop"), None)
    assert (newest.number, newest.state) == (third.number, DeploymentState.CANCELLED)
    assert (await lab.ended(second)).state is DeploymentState.CANCELLED
    assert "v3" not in lab.versions.fetching
    assert await lab.get("shop") == "v1"
    with pytest.raises(ConflictError, match="Nothing of shop is being deployed"):
        await lab.apps.cancel(lab.app("shop"), None)
    with pytest.raises(ConflictError, match="Deployment 1 of shop has ended: succeeded"):
        await lab.apps.cancel(lab.app("shop"), 1)


async def test_viewers_see_how_deployments_end_and_not_what_they_print(lab: Laboratory):
    lab.version("v1", Behaviour(lines=("a customer's name",), exits=3))
    await lab.deploy("shop", "v1")
    full = view_deployment(lab.apps, lab.deployments.get("shop", 1))
    assert "a customer's name" in str(full.hint)
    seen = [await _asked(lab, role) for role in (Role.VIEWER, Role.DEVELOPER)]
    assert ["a customer's name" in str(view) for view in seen] == [False, True]
    assert "ended right after its start with status 3" in seen[0].reason


async def test_a_cancel_that_comes_too_late_does_not_cut_requests(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    gate = hold(lab.apps._retirements, "begin")
    second = await lab.ask("shop", "v2")
    await until(lambda: lab.deployments.get("shop", 2).state is SUCCEEDED)
    cancelling = asyncio.create_task(lab.jobs.cancel(second.job))
    await asyncio.sleep(0)
    gate.set()
    await cancelling
    assert (await lab.ended(second)).state is SUCCEEDED
    await lab.settled()
    assert await lab.names("shop") == ["2-web-0"]


async def test_maintenance_that_begins_during_a_build_goes_on(lab: Laboratory):
    for name in ("v1", "v2"):
        lab.version(name)
    await lab.deploy("shop", "v1")
    lab.versions.gate.clear()
    second = await lab.ask("shop", "v2")
    await until(lambda: "v2" in lab.versions.fetching)
    await lab.apps.set_maintenance(lab.app("shop"), on=True)
    lab.versions.gate.set()
    assert (await lab.ended(second)).state is SUCCEEDED
    [route] = lab.routes.of("app/shop")
    assert getattr(route.target, "status", None) == 503


async def test_changes_of_settings_at_one_time_are_all_kept(lab: Laboratory):
    await lab.apps.create("shop")
    names = [f"V{number}" for number in range(8)]

    async def change(name: str) -> None:
        def add(overrides: dict[str, object]) -> dict[str, object]:
            env = overrides.get("env") or {}
            assert isinstance(env, dict)
            return {"env": {**env, name: "x"}}

        await lab.apps.configure(lab.app("shop"), add, "a test")

    await asyncio.gather(*(change(name) for name in names))
    assert lab.app("shop").overrides == {"env": dict.fromkeys(names, "x")}


async def test_an_app_that_moves_to_another_project_gets_its_variables_and_network(lab: Laboratory):
    lab.version("v1")
    await lab.set(Scope.of_project("market"), "LEVEL", "debug", Kind.PLAIN)
    await lab.deploy("shop", "v1")
    before = lab.app("shop")
    after = await lab.apps.update(before, project="market")
    await lab.apps.follow_place(before, after, "a test")
    await lab.ended(lab.deployments.latest("shop"))
    await lab.settled()
    [spec] = lab.specs("shop")
    assert spec.env["LEVEL"] == "debug"
    await lab.hosting.sweep.run()
    assert await lab.engine.list_networks({}) == [spec.network]


async def test_old_deployments_are_forgotten(lab: Laboratory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covey.apps.sweep._KEEP_RECORDS", 3)
    lab.version("v1")
    for _ in range(6):
        await lab.deploy("shop", "v1")
    await lab.settled()
    assert [item.number for item in lab.deployments.of("shop")] == [6, 5, 4]


async def test_a_process_that_is_not_there_is_named(lab: Laboratory):
    lab.version("v1", processes={"worker": "work"})
    await lab.deploy("shop", "v1")
    lab.apps.check_process(lab.app("shop"), "worker")
    with pytest.raises(NotFoundError, match="no process wroker") as raised:
        lab.apps.check_process(lab.app("shop"), "wroker")
    assert raised.value.hint == "It has: web, worker."
    shell = deployment_operations.exec_(
        _context(lab, Role.DEVELOPER), "shop", ["true"], process="wroker", input=_nothing()
    )
    with pytest.raises(NotFoundError, match="no process wroker"):
        await anext(shell)


async def test_who_listens_to_deployments_cannot_fail_them(lab: Laboratory):
    def mistaken(_: object) -> None:
        raise RuntimeError("a mistake")

    lab.node.subscribe(mistaken)
    lab.version("v1")
    assert (await lab.deploy("shop", "v1")).state is SUCCEEDED


async def test_two_apps_of_one_name_are_not_made_at_one_time(lab: Laboratory):
    made = await asyncio.gather(
        lab.apps.create("shop"), lab.apps.create("shop"), return_exceptions=True
    )
    assert sorted(type(item).__name__ for item in made) == ["App", "ConflictError"]


@pytest.mark.parametrize("name", ["taken.localhost", "TAKEN.localhost", "taken.localhost."])
async def test_a_host_that_another_app_has_is_refused_before_it_is_kept(lab: Laboratory, name: str):
    lab.version("v1", domains=["taken.localhost"])
    lab.version("v2")
    await lab.deploy("first", "v1")
    await lab.deploy("second", "v2")
    with pytest.raises(ConflictError, match=r"taken\.localhost belongs to app/first"):
        await lab.apps.configure(
            lab.app("second"), lambda _: {"domains": [{"host": name}]}, "a test"
        )
    assert lab.app("second").overrides == {}


async def test_an_app_does_not_take_the_host_of_a_route(lab: Laboratory):
    held = Route(("held.localhost",), Answer(200, "somebody else's"))
    await lab.routes.put("somebody", [held])
    lab.version("v1", domains=["Held.localhost."])
    ended = await lab.deploy("shop", "v1")
    assert ended.state is DeploymentState.FAILED
    assert "held.localhost belongs to somebody" in ended.reason
    lab.version("v2", domains=["mine.localhost", "*.localhost"])
    assert (await lab.deploy("shop", "v2")).state is SUCCEEDED
    with pytest.raises(ConflictError, match=r"mine\.localhost belongs to app/shop"):
        await lab.routes.put("another", [Route(("mine.localhost",), held.target)])
    # The name of an app without domains of its own is nobody's beforehand.
    lab.version("v3", domains=["other.localhost"])
    assert (await lab.deploy("first", "v3")).state is SUCCEEDED
    lab.version("v4")
    ended = await lab.deploy("other", "v4")
    assert "other.localhost belongs to app/first" in ended.reason


async def test_of_two_apps_that_want_one_host_at_one_time_one_gets_it(lab: Laboratory):
    lab.version("v1", domains=["wanted.localhost"])
    for name in ("first", "second"):
        await lab.apps.create(name)
    asked = [await lab.ask(name, "v1") for name in ("first", "second")]
    ended = await asyncio.gather(*(lab.ended(item) for item in asked))
    assert sorted(item.state.value for item in ended) == ["failed", "succeeded"]
    owners = [name for name in ("first", "second") if lab.routes.of(f"app/{name}")]
    assert len(owners) == 1
    await until(lambda: _only(lab, owners[0]))


async def test_a_rollback_goes_to_what_is_kept_and_says_what_is_gone(lab: Laboratory):
    versions = [f"v{number}" for number in range(1, 9)]
    for name in versions:
        lab.version(name)
        await lab.deploy("shop", name)
    await lab.settled()
    kept = [item.number for item in lab.apps.releases(lab.app("shop"))]
    assert kept == [8, 7, 6, 5, 4]
    assert len(await lab.engine.list_images({"covey.app": "shop"})) == 5
    back = await lab.ended(await lab.apps.rollback(lab.app("shop"), None, "a test"))
    assert (back.state, back.of) == (SUCCEEDED, 7)
    assert await lab.get("shop") == "v7"
    with pytest.raises(NotFoundError, match="image of deployment 2 of shop is gone"):
        await lab.apps.rollback(lab.app("shop"), 2, "a test")


async def test_the_image_of_a_queued_rollback_is_kept(lab: Laboratory):
    for number in range(1, 7):
        lab.version(f"v{number}")
    for number in range(1, 6):
        await lab.deploy("shop", f"v{number}")
    lab.versions.gate.clear()
    await lab.ask("shop", "v6")
    await until(lambda: "v6" in lab.versions.fetching)
    back = await lab.apps.rollback(lab.app("shop"), 1, "a test")
    lab.versions.gate.set()
    assert (await lab.ended(back)).state is SUCCEEDED
    assert await lab.get("shop") == "v1"


async def test_a_deployment_asked_for_an_app_that_is_gone_is_refused(lab: Laboratory):
    lab.version("v1")
    await lab.deploy("shop", "v1")
    app = lab.app("shop")
    await lab.apps.destroy(app, volumes=False)
    with pytest.raises(NotFoundError):
        await lab.apps.deploy(app, Wanted(Trigger.DEPLOY, "a test", UploadSource("v1")))
    assert lab.deployments.of("shop") == []


def _context(lab: Laboratory, role: Role) -> Context:
    return Context(Caller(CallerKind.TOKEN, "ada", role, "test"), lab.services, "0" * 16)


async def _nothing() -> AsyncIterator[ExecInput]:
    return
    yield


async def _asked(lab: Laboratory, role: Role) -> DeploymentView:
    context = _context(lab, role)
    found: DeploymentView = await deployment_operations.deployment(context, "shop", 1)
    [listed] = await deployment_operations.deployments(context, "shop")
    assert listed == found
    return found


async def _is_tidy(lab: Laboratory) -> bool:
    await lab.settled()
    return True


async def _only(lab: Laboratory, app: str) -> bool:
    return {state.labels["covey.app"] for state in await lab.containers()} == {app}
