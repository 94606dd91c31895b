"""The variables of an app, and which of their values no log may show."""

from __future__ import annotations

from covey.apps.config.model import AppConfig
from covey.apps.containers import ContainerStatus
from covey.apps.masking import Masking
from covey.apps.model import Preview
from covey.env.model import Kind
from covey.env.scope import Scope
from covey.env.service import Assignment
from covey.testing.memory_containers import Behaviour
from tests.apps.laboratory import Laboratory
from tests.waiting import until

FLEET = Scope.parse("fleet")


async def test_an_apps_own_win_over_its_projects_and_those_over_the_file(lab: Laboratory):
    lab.version("v1", env={"A": "file", "B": "file", "C": "file", "D": "file"})
    for scope, names in (
        (FLEET, "ABCD"),
        (Scope.of_project("shop"), "ABC"),
        (Scope.of_environment("shop", "production"), "AB"),
        (Scope.of_app("shop"), "A"),
    ):
        for name in names:
            await lab.set(scope, name, str(scope), Kind.PLAIN)
    await lab.deploy("shop", "v1")
    [container] = lab.specs("shop")
    found = {name: container.env[name] for name in "ABCD"}
    assert found == {
        "A": "app:shop",
        "B": "environment:shop/production",
        "C": "project:shop",
        "D": "file",
    }


async def test_a_preview_has_variables_of_its_own_over_those_of_the_file(lab: Laboratory):
    lab.version("v1", env={"A": "file", "B": "file"}, preview={"env": {"B": "preview"}})
    await lab.apps.create("shop")
    await lab.apps.create("shop-pr-7", preview=Preview("shop", 7))
    for name, expected in (("shop", "file"), ("shop-pr-7", "preview")):
        await lab.deploy(name, "v1")
        [container] = lab.specs(name)
        assert (container.env["A"], container.env["B"]) == ("file", expected)


async def test_a_secret_is_masked_where_it_is_part_of_another_value(lab: Laboratory):
    secret = "hunter2-and-more"
    await lab.set(FLEET, "PW", secret)
    url = Assignment(Scope.of_app("shop"), "URL", "pg://shop:${PW}@db", Kind.PLAIN, expand=True)
    await lab.env.set(url, "a test")
    app = await lab.apps.create("shop")
    found = await lab.hosting.environment.resolve(app, AppConfig())
    assert found.values == {"URL": f"pg://shop:{secret}@db"}
    said: list[str] = []
    masking = Masking(said.append)
    masking.learn(found.secrets)
    masking(f"connecting to {found.values['URL']}")
    assert said == ["connecting to pg://shop:********@db"]


async def test_what_a_release_command_prints_of_a_secret_is_masked(lab: Laboratory):
    key = "-----BEGIN KEY-----\nbm90IGEga2V5IGF0IGFsbA\n-----END KEY-----"
    lines = ("token is s3cret-value!", *key.split("\n"), "done")
    lab.version("v1", Behaviour(serves=8080, lines=lines), release="migrate")
    for name, value in (("TOKEN", "s3cret-value"), ("KEY", key)):
        await lab.set(Scope.of_app("shop"), name, value)
    asked = await lab.ask("shop", "v1")
    await until(lambda: _prints(lab))
    [container] = await lab.containers("shop")
    await lab.engine.kill(container.id, "SIGTERM")
    ended = await lab.ended(asked)
    told = f"{lab.log(asked.job)}\n{ended.reason}\n{ended.hint}"
    assert "token is ********!" in told
    assert "done" in told
    for part in ("s3cret-value", *key.split("\n")):
        assert part not in told


async def test_what_a_version_printed_before_it_failed_is_masked(lab: Laboratory):
    await lab.set(Scope.of_app("shop"), "TOKEN", "s3cret-value")
    lab.version("v1", Behaviour(lines=("bad token s3cret-value",), exits=1))
    ended = await lab.deploy("shop", "v1")
    assert "bad token ********" in str(ended.hint)
    job = lab.jobs.get(ended.job)
    assert "s3cret-value" not in f"{lab.log(ended.job)}{ended}{job}"


async def test_what_an_app_prints_without_end_is_not_kept_whole(lab: Laboratory):
    lab.version("v1", Behaviour(lines=("x" * 300_000,), exits=1))
    ended = await lab.deploy("shop", "v1")
    assert str(ended.hint).endswith("x …")
    assert len(str(ended.hint)) < 2000


async def _prints(lab: Laboratory) -> bool:
    [*found] = await lab.containers("shop")
    return bool(found) and found[0].status is ContainerStatus.RUNNING
