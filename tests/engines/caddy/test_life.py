"""The proxy's life: started by need, found again, brought back; and what was damaged, left out."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest

from covey.apps.routing.model import Answer, Pool, Proxied, Route, RouteRules, TlsMode
from covey.engines.caddy import process
from covey.engines.caddy.sockets import can_steer, open_port
from covey.errors import ConflictError, InvalidRequestError, RefusedError
from tests.engines.caddy.backends import backends
from tests.engines.caddy.proxies import Home, ask, proxy

PLAIN = RouteRules(tls=TlsMode.OFF)


def saying(text: str, host: str) -> Route:
    return Route((host,), Answer(200, text), rules=PLAIN)


async def answered(port: int, host: str) -> bytes:
    """The answer, once there is one."""
    async with asyncio.timeout(20):
        while True:
            try:
                return (await ask(port, host)).body
            except (OSError, ValueError, IndexError):
                await asyncio.sleep(0.02)


def test_it_runs_while_there_are_routes_and_leaves_nothing() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            assert home.pid() is None
            await routes.switch("p", ["127.0.0.1:1"])
            await routes.put("app/a", [Route(("a.test",), Proxied((Pool("p"),)), rules=PLAIN)])
            assert home.pid() is not None
            group = os.getpgid(home.pid() or 0)
            assert group != os.getpgid(0)
            await routes.remove("app/a")
            assert home.pid() is None
            assert routes.addresses("p") == ()
            assert home.local.values == {}
            kinds = [path for path in (home.root / "run").rglob("*") if not path.is_dir()]
            assert [path.name for path in kinds if not path.name.startswith("ready")] == []
            await routes.put("app/a", [saying("again", "a.test")])
            assert (await ask(home.http, "a.test")).body == b"again"
            await routes.end_proxy()
            assert home.pid() is None
            assert routes.all()
            await routes.put("app/b", [saying("b", "b.test")])
            assert (await ask(home.http, "a.test")).body == b"again"

    asyncio.run(run())


def _servings(home: Home) -> int:
    """How many times a configuration began to serve."""
    return (home.root / "log" / "caddy.log").read_text().count('"server running"')


def test_putting_what_is_there_reloads_nothing() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            before = _servings(home)
            await routes.put("app/a", [saying("a", "A.test.")])
            await routes.switch("unused", ["127.0.0.1:1", "127.0.0.1:2"])
            assert _servings(home) == before

    asyncio.run(run())


def test_what_is_damaged_is_told_and_left_out_and_the_rest_is_served() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("p", [one.address])
            await routes.put("app/a", [Route(("a.test",), Proxied((Pool("p"),)), rules=PLAIN)])
            await routes.put("app/b", [saying("b", "b.test")])
            await routes.put("app/c", [saying("c", "c.test")])
            await routes.stop()
            await home.end()
            values = home.local.values
            values["routes", "app/b"] = b"\xff not json"
            values["routes", "app/c"] = values["routes", "app/c"].replace(b"c.test", b"a.test")
            values["routes", "app/d"] = b'[{"hosts": ["d.test"], "target": {"to": "moon"}}]'
            values["pools", "q"] = b'{"addresses": ["nowhere"], "slots": 1}'
            kept = dict(values)
            later = home.service()
            await later.start()
            assert set(later.problems) == {"app/b", "app/c", "app/d", "q"}
            assert "belongs to app/a" in later.problems["app/c"]
            assert later.all().keys() == {"app/a"}
            assert (await ask(home.http, "a.test")).body == b"one"
            assert (await ask(home.http, "b.test")).status == 404
            assert values == kept
            await later.put("app/b", [saying("b", "b.test")])
            assert (await ask(home.http, "b.test")).body == b"b"
            assert "app/b" not in later.problems
            await later.remove("app/d")
            assert ("routes", "app/d") not in values
            await later.stop()

    asyncio.run(run())


def test_routes_that_the_settings_forbid_now_do_not_keep_the_others_back() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            await routes.put(
                "app/s",
                [Route(("s.test",), Answer(200, "s"), rules=RouteRules(tls=TlsMode.INTERNAL))],
            )
            await routes.stop()
            home.extra["https"] = ""
            later = home.service()
            await later.start()
            assert set(later.problems) == {"app/s"}
            assert (await ask(home.http, "a.test")).body == b"a"
            await later.stop()

    asyncio.run(run())


def test_a_port_of_someone_else_is_named_and_taken_once_it_is_free() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            with socket.create_server(("127.0.0.1", home.http), reuse_port=True):
                with pytest.raises(ConflictError, match=f"127.0.0.1:{home.http}: another program"):
                    await routes.put("app/a", [saying("a", "a.test")])
                assert routes.all() == {}
                assert home.pid() is None
            await routes.put("app/a", [saying("a", "a.test")])
            assert (await ask(home.http, "a.test")).body == b"a"

    asyncio.run(run())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who is not")
def test_a_reserved_port_says_what_to_do() -> None:
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            open_port("127.0.0.1:81", tls=False, datagrams=False)
        except RefusedError as error:
            os._exit(0 if "ip_unprivileged_port_start=81" in str(error.hint) else 2)
        os._exit(1)
    reserved = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 81
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (0 if reserved else 1)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cannot listen"):
        open_port("192.0.2.1:8080", tls=False, datagrams=False)


def test_an_emptied_runtime_directory_is_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covey.engines.caddy.engine._CHECK_EVERY_S", 0.1)

    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("p", [one.address])
            await routes.put("app/a", [Route(("a.test",), Proxied((Pool("p"),)), rules=PLAIN)])
            shutil.rmtree(home.root / "run")
            async with asyncio.timeout(20):
                while not home.options.admin_socket.exists():
                    await asyncio.sleep(0.05)
            assert await answered(home.http, "a.test") == b"one"
            await routes.put("app/b", [saying("b", "b.test")])
            assert (await ask(home.http, "b.test")).body == b"b"

    asyncio.run(run())


def test_another_program_replaces_the_proxy_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            first = home.pid()
            await routes.stop()
            monkeypatch.setattr(process, "identity", lambda _: "a newer caddy")
            later = home.service()
            await later.start()
            assert home.pid() not in {None, first}
            assert (await ask(home.http, "a.test")).body == b"a"
            with pytest.raises(ProcessLookupError):
                os.kill(first or 0, 0)
            await later.stop()

    asyncio.run(run())


def test_a_proxy_without_routes_is_ended_by_the_next_start() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            await routes.stop()
            home.local.values.clear()
            later = home.service()
            await later.start()
            assert home.pid() is None
            await later.stop()

    asyncio.run(run())


def test_a_proxy_that_died_while_the_daemon_was_away_is_started_again() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            first = home.pid()
            await routes.stop()
            os.kill(first or 0, signal.SIGKILL)
            os.waitpid(first or 0, 0)
            later = home.service()
            await later.start()
            assert (await ask(home.http, "a.test")).body == b"a"
            await later.stop()

    asyncio.run(run())


@pytest.mark.skipif(not can_steer(), reason="the kernel cannot be told")
def test_new_connections_go_to_the_socket_whose_turn_it_is() -> None:
    port = open_port("127.0.0.1:0", tls=False, datagrams=False)
    try:
        for turn in (0, 1, 0):
            port.steer(turn)
            for _ in range(20):
                with socket.create_connection(port.address) as client:
                    port.listeners[turn].settimeout(5)
                    accepted, peer = port.listeners[turn].accept()
                    accepted.close()
                    assert peer == client.getsockname()
    finally:
        port.close()


def test_every_address_is_that_of_ipv4_where_there_is_no_ipv6(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for everywhere in ("::", "0.0.0.0"):
        with closing(open_port("[::]:0", tls=False, datagrams=True)) as port:
            assert port.address[0] == everywhere
            socket.create_connection(("127.0.0.1", port.number), 5).close()
        monkeypatch.setattr("covey.engines.caddy.sockets._has_ipv6", lambda: False)
