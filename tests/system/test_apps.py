"""Apps from a directory to HTTPS: versions that take over, fail, go back, and leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.caddy.load import Socket, load
from tests.podman import WEB, Podman
from tests.system.harness import Fleet, eventually, new_fleet
from tests.system.hosting import Host, new_host


@pytest.fixture(scope="module")
def host(session_podman: Podman) -> Iterator[Host]:
    """One node for the tests that do not kill it."""
    with new_fleet() as fleet, new_host(fleet, session_podman) as made:
        yield made


def plain(name: str) -> list[dict[str, str]]:
    """The domain of an app without TLS, for many clients."""
    return [{"host": f"{name}.localhost", "tls": "off"}]


async def in_thread(host: Host, *words: str) -> None:
    await asyncio.to_thread(host.node.run, *words)


def test_an_app_comes_into_service_is_replaced_fails_and_goes_back(host: Host):
    host.node.run("env", "set", "GREETING=hello, world")
    config = {"env": {"GREETING": "${GREETING}"}, "deploy": {"healthcheck": "/"}}

    said = host.deploy(host.app("tour", "v1", **config))
    assert f"tour is served: https://tour.localhost:{host.https}" in said
    assert host.get("tour") == "v1"
    assert host.get("tour", "/cgi-bin/env") == "hello, world"
    checks = {check["name"]: check["message"] for check in host.sound_checks()}
    assert checks["containers"].startswith("podman ")
    assert checks["apps"] == "1 app; all that should run does."
    assert checks["proxy"] == "1 host name served."

    async def second_under_load() -> set[str]:
        async with load(host.https, "tour.localhost", tls=host.tls, clients=3) as clients:
            await asyncio.to_thread(host.deploy, host.app("tour", "v2", **config))
        return set(clients.answers)

    assert asyncio.run(second_under_load()) == {"v1", "v2"}

    broken = host.app("tour", "v3", **config)
    (broken / "Containerfile").write_text(
        f'FROM {WEB}\nCMD ["sh", "-c", "echo no database; false"]'
    )
    said = host.deploy(broken, expect=1)
    assert "ended right after its start with status 1" in said
    assert "no database" in said
    assert host.get("tour") == "v2"

    host.node.run("apps", "rollback", "tour")
    assert host.get("tour") == "v1"
    assert [item["state"] for item in host.deployments("tour")] == [
        "succeeded",
        "failed",
        "succeeded",
        "succeeded",
    ]
    host.settled("tour")
    host.remove("tour")


def test_no_request_fails_while_an_app_is_restarted_scaled_and_joined_by_another(host: Host):
    host.deploy(host.server("busy", "v1", domains=plain("busy")))

    async def change() -> None:
        async with load(host.http, "busy.localhost", clients=4) as clients:
            await in_thread(host, "apps", "restart", "busy")
            await in_thread(host, "apps", "scale", "busy", "web=3")
            await asyncio.to_thread(host.deploy, host.app("other", "v1", domains=plain("other")))
            await in_thread(host, "apps", "scale", "busy", "web=1")
            await asyncio.to_thread(host.deploy, host.server("busy", "v2", domains=plain("busy")))
            await in_thread(host, "apps", "rollback", "busy")
            await in_thread(host, "apps", "destroy", "other", "--yes")
        assert set(clients.answers) == {"v1", "v2"}

    asyncio.run(change())
    host.settled("busy")
    host.remove("busy")


def test_a_websocket_lives_on_for_the_drain_time_and_through_others_changes(host: Host):
    slow = {"drain": "20s"}
    host.deploy(host.server("socket", "v1", domains=plain("socket"), deploy=slow))

    async def talk() -> None:
        socket = await Socket.open(host.http, "socket.localhost")
        assert await socket.say("one") == "v1:one"
        await asyncio.to_thread(host.deploy, host.app("beside", "v1", domains=plain("beside")))
        assert await socket.say("two") == "v1:two"
        version = host.server("socket", "v2", domains=plain("socket"), deploy=slow)
        await asyncio.to_thread(host.deploy, version)
        assert await socket.say("three") == "v1:three"
        fresh = await Socket.open(host.http, "socket.localhost")
        assert await fresh.say("four") == "v2:four"
        socket.close()
        fresh.close()

    asyncio.run(talk())
    host.settled("socket")
    host.remove("socket")
    host.remove("beside")


def test_a_version_that_turns_bad_after_the_switch_is_rolled_back(host: Host):
    host.deploy(host.server("sick", "v1", domains=plain("sick")))
    watched = {"watch": "20s", "healthcheck": {"path": "/health", "interval": "200ms"}}
    bad = host.server("sick", "v2", domains=plain("sick"), deploy=watched)
    server = (bad / "server.py").read_text()
    trap = 'asyncio.get_running_loop().call_later(1.5, lambda: open("/tmp/sick", "w").close())'
    (bad / "server.py").write_text(
        server.replace("async with server:", f"{trap}\n    async with server:")
    )
    said = host.deploy(bad, expect=1)
    assert "turned unhealthy after the switch: GET /health was answered with 503" in said
    assert host.get("sick", tls=False) == "v1"
    assert host.deployments("sick")[0]["state"] == "rolled-back"
    host.settled("sick")
    host.remove("sick")


@pytest.mark.parametrize(
    "case, reason",
    [
        ("file", "covey.app.toml"),
        ("build", "exit"),
        ("release", "release command ended with status 3"),
        ("port", "no connection"),
        ("health", "was answered with 404"),
        ("host", "held.localhost belongs to app/holder"),
    ],
)
def test_a_failure_at_any_step_leaves_the_old_version_and_nothing_else(
    host: Host, case: str, reason: str
):
    short = {"healthcheck_timeout": "1500ms"}
    host.deploy(host.app("holder", "v1", domains=plain("held")))
    host.deploy(host.app("fails", "v1", domains=plain("fails")))
    host.settled("fails")
    before = (host.containers("fails"), host.images("fails"), host.node.json("routes", "list"))
    match case:
        case "file":
            directory = host.app("fails", "v2")
            (directory / "covey.app.toml").write_text('app = "fails"\nprot = 1\n')
        case "build":
            directory = host.app("fails", "v2")
            (directory / "Containerfile").write_text(f"FROM {WEB}\nRUN exit 9\n")
        case "release":
            directory = host.app("fails", "v2", release="exit 3")
        case "port":
            directory = host.app("fails", "v2", port=9999, deploy=short)
        case "health":
            directory = host.app("fails", "v2", deploy={**short, "healthcheck": "/nothing"})
        case _:
            directory = host.app("fails", "v2", domains=plain("held"))
    said = host.deploy(directory, expect=None)
    assert reason in said
    assert "Traceback" not in said
    newest = host.settled("fails")
    assert newest["state"] == "failed"
    assert host.get("fails", tls=False) == "v1"
    after = (host.containers("fails"), host.images("fails"), host.node.json("routes", "list"))
    assert after == before
    host.remove("fails")
    host.remove("holder")


def test_the_first_deployment_that_fails_leaves_nothing_at_all(host: Host):
    before = host.podman.leftovers()
    directory = host.app("never", "v1", port=9999, deploy={"healthcheck_timeout": "1s"})
    host.deploy(directory, expect=1)
    eventually(lambda: host.containers("never") == [])
    host.node.run("apps", "destroy", "never", "--yes")
    assert host.podman.leftovers() == before


def test_of_two_pushes_the_later_one_serves_and_the_one_between_is_left_out(host: Host):
    host.deploy(host.app("race", "v1"))
    for version in ("v2", "v3", "v4"):
        host.deploy(host.app("race", version), "--detach")
    newest = host.settled("race")
    ending = (newest["number"], newest["state"], newest["serving"], newest["reason"])
    assert ending == (4, "succeeded", True, ""), host.log("race", 4)
    assert host.get("race") == "v4"
    states = [item["state"] for item in host.deployments("race")]
    assert set(states[1:3]) <= {"superseded", "succeeded"}
    host.remove("race")


def test_a_container_that_dies_is_started_again(host: Host):
    host.deploy(host.server("phoenix", "v1", domains=plain("phoenix")))
    host.ask("phoenix", "/die", tls=False)
    eventually(lambda: host.ask("phoenix", tls=False) == (200, "v1"))
    [warning] = [check for check in host.node.json("doctor") if check["name"] == "apps"]
    assert warning["state"] == "warning"
    assert "phoenix" in warning["message"]
    host.remove("phoenix")


def test_what_is_not_covey_s_is_never_touched(host: Host):
    name = "somebody-elses"
    host.podman.run("run", "-d", "--name", name, "--label", "covey.app=foreign", WEB)
    host.podman.run("volume", "create", name)
    host.podman.run("tag", WEB, "localhost/foreign:1")
    host.deploy(host.app("foreign", "v1"))
    host.node.run("apps", "destroy", "foreign", "--volumes", "--yes")
    assert host.podman.containers(f"name={name}") == [name]
    assert name in host.podman.run("volume", "ls", "--format", "{{.Name}}").split()
    assert "localhost/foreign" in host.podman.run("images", "--format", "{{.Repository}}")
    host.podman.run("rm", "-f", "-t", "0", name)
    host.podman.run("volume", "rm", name)
    host.podman.run("rmi", "localhost/foreign:1")


def test_an_app_rests_is_maintained_and_returns(host: Host):
    host.deploy(host.app("rest", "v1"))
    host.node.run("apps", "stop", "rest")
    assert host.containers("rest") == []
    status, body = host.ask("rest")
    assert (status, "This app is stopped" in body) == (503, True)
    host.node.run("apps", "start", "rest")
    assert host.get("rest") == "v1"
    host.node.run("apps", "maintenance", "rest")
    assert host.ask("rest")[0] == 503
    host.node.run("apps", "maintenance", "rest", "--off")
    assert host.get("rest") == "v1"
    host.settled("rest")
    host.remove("rest")


def test_a_volume_outlasts_versions_and_goes_when_it_is_told(host: Host):
    config = {
        "volumes": [{"name": "data", "path": "/data"}],
        "deploy": {"strategy": "recreate"},
        "release": "echo once >> /data/releases",
    }
    host.deploy(host.app("keeper", "v1", **config))
    host.deploy(host.app("keeper", "v2", **config))
    host.settled("keeper")
    read = host.node.out("apps", "exec", "keeper", "--", "cat", "/data/releases")
    assert read.split() == ["once", "once"]
    host.remove("keeper")
    assert "keeper" not in host.podman.run("volume", "ls", "--format", "{{.Name}}")


def test_commands_run_in_an_app_and_beside_it(host: Host):
    host.deploy(host.app("tools", "v1", processes={"worker": "while true; do sleep 1; done"}))
    host.node.run("apps", "env", "set", "tools", "TOKEN", stdin="s3cret-value")
    assert host.node.out("apps", "exec", "tools", "--", "sh", "-c", "echo $TOKEN") == "s3cret-value"
    assert host.node.out("apps", "run", "tools", "--", "cat", "/www/index.html") == "v1"
    assert host.node.run("apps", "run", "tools", "--", "sh", "-c", "exit 9", expect=9)
    done = host.node.run(
        "apps", "exec", "tools", "--process", "worker", "--", "sh", "-c", "cat", stdin="through\n"
    )
    assert done.stdout == "through\n"
    host.settled("tools")
    host.remove("tools")


def test_a_static_site_is_served_and_switched_without_a_container(host: Host, tmp_path: Path):
    def site(version: str) -> Path:
        directory = host.directories / "pages"
        (directory / "public").mkdir(parents=True, exist_ok=True)
        (directory / "public/index.html").write_text(version)
        (directory / "covey.app.toml").write_text(
            'app = "pages"\n[build]\nstatic = "public"\n[[domains]]\nhost = "pages.localhost"\n'
            'tls = "off"\n'
        )
        return directory

    host.deploy(site("one"))

    async def second() -> None:
        async with load(host.http, "pages.localhost", clients=3) as clients:
            await asyncio.to_thread(host.deploy, site("two"))
        assert set(clients.answers) == {"one", "two"}

    asyncio.run(second())
    assert host.containers("pages") == []
    host.node.run("apps", "rollback", "pages")
    assert host.get("pages", tls=False) == "one"
    host.remove("pages")


def test_a_scheduled_command_runs_when_it_is_asked_for(host: Host):
    config = {"cron": {"report": {"schedule": "0 4 * * *", "command": "echo done for today"}}}
    host.deploy(host.app("clock", "v1", **config))
    job = host.node.json("apps", "run-job", "clock", "report")
    eventually(lambda: host.node.json("jobs", "show", job)["state"] == "succeeded")
    assert "done for today" in host.node.out("jobs", "logs", job)
    assert len(host.containers("clock")) == 1
    host.remove("clock")


def test_secrets_reach_the_app_and_nothing_else(host: Host):
    canary = "canary-7f3d9a1c-do-not-tell"
    directory = host.app("vault", "v1", build={"secrets": ["TOKEN"]}, release='echo "$TOKEN"')
    (directory / "Containerfile").write_text(
        f"FROM {WEB}\nCOPY www /www\n"
        'RUN --mount=type=secret,id=TOKEN echo "seen $(cat /run/secrets/TOKEN)"\n'
    )
    host.node.run("apps", "create", "vault")
    host.node.run("apps", "env", "set", "vault", "TOKEN", stdin=canary)
    said = host.deploy(directory)
    assert host.node.out("apps", "exec", "vault", "--", "sh", "-c", "echo $TOKEN") == canary
    assert "seen " in said
    log = host.log("vault", 1)
    assert canary not in said + log
    [image] = host.images("vault")
    assert canary not in host.podman.run("history", "--no-trunc", image)
    assert canary not in host.podman.run("inspect", image)
    for file in (host.node.home / "state").rglob("*"):
        if file.is_file():
            assert canary.encode() not in file.read_bytes(), file
    host.remove("vault")


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize(
    "step", ["fetch", "configure", "build", "release", "start", "switch", "watch"]
)
def test_the_daemon_may_be_killed_at_any_step(
    fleet: Fleet, session_podman: Podman, when: str, step: str
):
    killed = fleet.directory / "killed"
    killed.touch()
    trap = {"KILL_AT": f"{when} {step}", "KILLED": str(killed)}
    with new_host(fleet, session_podman, **trap) as host:
        config = {
            "domains": plain("killed"),
            "release": "sleep 0.4",
            "deploy": {"watch": "1s", "strategy": "blue-green", "drain": "1s"},
        }
        host.deploy(host.app("killed", "v1", **config))
        killed.unlink()
        node = host.node

        async def under_load() -> set[str]:
            async with load(host.http, "killed.localhost", clients=1) as clients:
                version = host.app("killed", "v2", **config)
                await asyncio.to_thread(node.run, "deploy", str(version), "--detach", expect=None)
                assert node.process is not None
                await asyncio.to_thread(node.process.wait, 30)
                assert killed.exists()
                await asyncio.to_thread(node.start)
                newest = await asyncio.to_thread(host.settled, "killed")
                assert newest["state"] in {"succeeded", "failed"}
            return set(clients.answers)

        answers = asyncio.run(under_load())
        newest = host.deployments("killed")[0]
        serving = "v2" if newest["state"] == "succeeded" else "v1"
        assert host.get("killed", tls=False) == serving
        assert "v1" in answers
        assert len(host.containers("killed")) == 1
        assert len(host.images("killed")) == (2 if serving == "v2" else 1)
        host.remove("killed")
