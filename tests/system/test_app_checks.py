"""What the suites of other systems like this one check, and no other test of ours does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.engines.caddy.load import Socket
from tests.podman import WEB, Podman
from tests.system.harness import eventually, new_fleet
from tests.system.hosting import Host, new_host

VALUES = {
    "dollar": "$HOME ${PATH} $(id) `id` $$ %s",
    "quotes": 'it\'s "quoted" \\\'\\" \\n',
    "spaces": "  two  spaces, and a tab\t ",
    "lines": "one\ntwo\n\nfour=4 #five",
    "equals": "a=b==",
    "text": "Grüße, 世界 🚀",
    "braces": "{env.HOME} {{ .Value }}",
}


@pytest.fixture(scope="module")
def host(session_podman: Podman) -> Iterator[Host]:
    with new_fleet() as fleet, new_host(fleet, session_podman) as made:
        yield made


def plain(name: str) -> list[dict[str, str]]:
    return [{"host": f"{name}.localhost", "tls": "off"}]


def test_any_value_reaches_the_app_as_it_was_set(host: Host) -> None:
    """From the app's variables, from those of the fleet that its file names, and from its file."""
    host.node.run("apps", "create", "round")
    for name, value in VALUES.items():
        host.node.run("apps", "env", "set", "round", f"APP_{name.upper()}", stdin=value)
    given = {f"FILE_{name.upper()}": value.replace("${", "$${") for name, value in VALUES.items()}
    host.deploy(host.app("round", "v1", domains=plain("round"), env=given))
    for name, value in VALUES.items():
        for source in ("APP", "FILE"):
            script = f'printf %s "${source}_{name.upper()}"'
            words = ("apps", "exec", "round", "--", "sh", "-c", script)
            assert host.node.run(*words).stdout == value, (source, name)
    host.remove("round")


def test_a_bad_image_leaves_the_workers_as_they_were_too(host: Host) -> None:
    worker = {"worker": "while true; do sleep 1; done"}
    host.deploy(host.app("pair", "v1", domains=plain("pair"), processes=worker))
    host.settled("pair")
    before = host.containers("pair")
    assert [name.split("-")[-2] for name in before] == ["web", "worker"]
    bad = host.app("pair", "v2", domains=plain("pair"), processes=worker)
    (bad / "Containerfile").write_text(f'FROM {WEB}\nCMD ["false"]\n')
    host.deploy(bad, expect=1)
    host.settled("pair")
    assert host.containers("pair") == before
    ending = {"worker": "exit 3"}
    said = host.deploy(host.app("pair", "v3", domains=plain("pair"), processes=ending), expect=1)
    assert "worker" in said
    host.settled("pair")
    assert host.containers("pair") == before
    assert host.get("pair", tls=False) == "v1"
    host.remove("pair")


def test_what_outlasts_the_drain_time_ends_cleanly(host: Host) -> None:
    short = {"drain": "1s"}
    host.deploy(host.server("brief", "v1", domains=plain("brief"), deploy=short))

    async def talk() -> None:
        socket = await Socket.open(host.http, "brief.localhost")
        assert await socket.say("one") == "v1:one"
        version = host.server("brief", "v2", domains=plain("brief"), deploy=short)
        await asyncio.to_thread(host.deploy, version)
        async with asyncio.timeout(30):
            assert await socket.end() == b""
        socket.close()
        fresh = await Socket.open(host.http, "brief.localhost")
        assert await fresh.say("two") == "v2:two"
        fresh.close()

    asyncio.run(talk())
    host.settled("brief")
    host.remove("brief")


def test_a_host_moves_from_one_app_to_another(host: Host) -> None:
    host.deploy(host.app("giver", "giver", domains=plain("moved")))
    assert host.get("moved", tls=False) == "giver"
    said = host.deploy(host.app("taker", "taker", domains=plain("moved")), expect=1)
    assert "moved.localhost belongs to app/giver" in said
    host.deploy(host.app("giver", "giver", domains=plain("giver")))
    host.deploy(host.app("taker", "taker", domains=plain("moved")))
    eventually(lambda: host.get("moved", tls=False) == "taker")
    assert host.get("giver", tls=False) == "giver"
    for app in ("giver", "taker"):
        host.settled(app)
        host.remove(app)
