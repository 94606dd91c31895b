"""No request fails and no WebSocket is cut, whatever changes behind or beside a route."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from covey.apps.routing.model import Answer, Pool, Proxied, Route, RouteRules, TlsMode
from covey.apps.routing.persisted import KeptCertificate
from covey.errors import InvalidRequestError
from tests.engines.caddy.backends import backends
from tests.engines.caddy.load import Socket, load
from tests.engines.caddy.proxies import ask, proxy

PLAIN = RouteRules(tls=TlsMode.OFF)


def to_pool(host: str, *pools: str) -> Route:
    return Route((host,), Proxied(tuple(Pool(name) for name in pools)), rules=PLAIN)


def test_a_pool_is_switched_under_load_without_the_admin_api() -> None:
    async def run() -> None:
        async with backends("one", "two") as (one, two), proxy() as (routes, home):
            await routes.switch("shop", [one.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            home.options.admin_socket.rename(home.root / "run" / "away.sock")
            async with load(home.http, "shop.test") as clients:
                socket = await Socket.open(home.http, "shop.test")
                assert await socket.say("before") == "one:before"
                for turn in range(20):
                    await routes.switch("shop", [(two, one)[turn % 2].address])
                    await clients.after(40)
                assert await socket.say("after") == "one:after"
            assert set(clients.answers) == {"one", "two"}
            (home.root / "run" / "away.sock").rename(home.options.admin_socket)
            await routes.switch("shop", [two.address])
            assert (await ask(home.http, "shop.test")).body == b"two"
            socket.close()

    asyncio.run(run())


def test_routes_and_numbers_of_addresses_change_under_load() -> None:
    async def run() -> None:
        async with backends("one", "two") as (one, two), proxy() as (routes, home):
            await routes.switch("shop", [one.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            async with load(home.http, "shop.test") as clients:
                socket = await Socket.open(home.http, "shop.test")
                await routes.put(
                    "app/other", [Route(("other.test",), Answer(200, "o"), rules=PLAIN)]
                )
                assert (await ask(home.http, "other.test")).body == b"o"
                await routes.switch("shop", [one.address, two.address])
                await clients.after(40)
                assert clients.answers["two"] > 0
                await routes.switch("shop", [two.address])
                await routes.remove("app/other")
                assert (await ask(home.http, "other.test")).status == 404
                assert await socket.say("still") == "one:still"
                late = await Socket.open(home.http, "shop.test")
                assert await late.say("new") == "two:new"
            socket.close()
            late.close()

    asyncio.run(run())


def test_a_refused_plan_changes_nothing_and_fails_no_request() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("shop", [one.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            kept = dict(home.local.values)
            async with load(home.http, "shop.test") as clients:
                junk = KeptCertificate("no certificate", "no key", ("b.test",))
                routes._certificates["b.test"] = junk
                with pytest.raises(InvalidRequestError, match="refuses"):
                    await routes.put("app/b", [to_pool("b.test", "shop")])
                del routes._certificates["b.test"]
                home.local.failing = OSError("the disk is full")
                with pytest.raises(OSError, match="full"):
                    await routes.put("app/b", [to_pool("b.test", "shop")])
                home.local.failing = None
                await clients.after(20)
            assert (await ask(home.http, "b.test")).status == 404
            assert routes.of("app/b") == ()
            assert home.local.values == kept

    asyncio.run(run())


def test_a_killed_proxy_comes_back_with_its_connections_waiting() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("shop", [one.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            first = home.pid()
            assert first is not None
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert (await ask(home.http, "shop.test")).body == b"one"
                        break
                    except (OSError, IndexError, ValueError):
                        await asyncio.sleep(0.01)
            assert home.pid() not in {None, first}

    asyncio.run(run())


def test_the_proxy_serves_on_without_its_daemon_and_is_found_again() -> None:
    async def run() -> None:
        async with backends("one", "two") as (one, two), proxy() as (routes, home):
            await routes.switch("shop", [one.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            pid = home.pid()
            async with load(home.http, "shop.test") as clients:
                socket = await Socket.open(home.http, "shop.test")
                await routes.stop()
                await clients.after(40)
                later = home.service()
                await later.start()
                assert home.pid() == pid
                assert later.addresses("shop") == (one.address,)
                await later.switch("shop", [two.address])
                await later.put("app/b", [to_pool("b.test", "shop")])
                assert (await ask(home.http, "b.test")).body == b"two"
                await later.put("app/c", [to_pool("c.test", "shop")])
                assert await socket.say("still") == "one:still"
            socket.close()
            os.kill(pid or 0, signal.SIGKILL)
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert (await ask(home.http, "c.test")).body == b"two"
                        break
                    except (OSError, IndexError, ValueError):
                        await asyncio.sleep(0.01)
            await later.stop()

    asyncio.run(run())


def test_draining_waits_for_requests_and_websockets_of_the_old_address() -> None:
    async def run() -> None:
        async with backends("one", "two") as (one, two), proxy() as (routes, home):
            await routes.switch("shop", [one.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            socket = await Socket.open(home.http, "shop.test")
            slow = asyncio.create_task(ask(home.http, "shop.test", "/slow"))
            async with asyncio.timeout(10):
                while one.requests < 2:
                    await asyncio.sleep(0.01)
            await routes.switch("shop", [two.address])
            assert not await routes.drain([one.address], 0.2)
            assert await routes.drain([two.address], 0)
            one.release.set()
            assert (await slow).body == b"one"
            assert not await routes.drain([one.address], 0.2)
            socket.close()
            assert await routes.drain([one.address], 10)

    asyncio.run(run())


def test_requests_wait_for_a_pool_without_an_address() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            waiting = [
                asyncio.create_task(ask(home.http, "shop.test", method=method, body=body))
                for method, body in (("GET", b""), ("POST", b"12345"))
            ]
            await asyncio.wait(waiting, timeout=0.3)
            assert not any(task.done() for task in waiting)
            await routes.switch("shop", [one.address])
            got, posted = [await task for task in waiting]
            assert (got.body, posted.body) == (b"one", b"5")
            await routes.switch("shop", [])
            assert (await ask(home.http, "shop.test")).status == 502

    asyncio.run(run())


def test_a_dead_replica_is_passed_over() -> None:
    async def run() -> None:
        async with backends("one", "two") as (one, two), proxy() as (routes, home):
            await routes.switch("shop", [one.address, two.address])
            await routes.put("app/shop", [to_pool("shop.test", "shop")])
            await two.stop()
            async with load(home.http, "shop.test", clients=3) as clients:
                await clients.after(50)
            assert set(clients.answers) == {"one"}

    asyncio.run(run())
