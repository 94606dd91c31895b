"""Each way to ask meets the same rules: HTTP/1.1, 2 and 3, IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from covey.apps.routing.model import Answer, BasicAuth, Route, RouteRules, TlsMode
from covey.engines.caddy.process import find_program
from covey.operations.secret import Secret
from tests.engines.caddy.load import load
from tests.engines.caddy.proxies import ask, proxy, read_answer
from tests.ports import free_port

HOST = "a.localhost"
PLAIN = RouteRules(tls=TlsMode.OFF)


@asynccontextmanager
async def speaking(version: str, port: int, directory: Path) -> AsyncIterator[int]:
    """Another Caddy is the client: it asks by one version of HTTP alone. Yields its port."""
    front = free_port()
    handler = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{port}"}],
        "headers": {"request": {"set": {"Host": ["{http.request.host}"]}}},
        "transport": {
            "protocol": "http",
            "versions": [version],
            "tls": {"insecure_skip_verify": True, "server_name": HOST},
        },
    }
    server = {
        "listen": [f"127.0.0.1:{front}"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [handler]}],
    }
    config = {"admin": {"disabled": True}, "apps": {"http": {"servers": {"front": server}}}}
    path = directory / "config.json"
    path.write_text(json.dumps(config))
    client = subprocess.Popen(
        [find_program(), "run", "--config", path],
        stderr=subprocess.DEVNULL,
        env={"HOME": str(directory)},
    )
    try:
        async with asyncio.timeout(20):
            while not await _answers(front):
                await asyncio.sleep(0.05)
        yield front
    finally:
        client.terminate()
        client.wait()


async def _answers(port: int) -> bool:
    try:
        return (await ask(port, HOST)).status == 200
    except (OSError, ValueError, IndexError):
        return False


@pytest.mark.parametrize("version, shown", [("2", "HTTP/2.0"), ("3", "HTTP/3.0")])
def test_newer_versions_of_http_meet_the_same_rules_and_survive_a_change(
    version: str, shown: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            hashed = await routes.hash_password(Secret("let me in"))
            private = RouteRules(basic_auth=(BasicAuth("ann", hashed),))
            closed = RouteRules(allow_from=("192.0.2.0/24",))
            await routes.put(
                "app/a",
                [
                    Route((HOST,), Answer(200, "in")),
                    Route((HOST,), Answer(200, "in"), "/private", rules=private),
                    Route((HOST,), Answer(200, "in"), "/closed", rules=closed),
                ],
            )
            async with speaking(version, home.https, tmp_path) as front:
                async with load(front, HOST, clients=2) as clients:
                    plain = Route(("b.test",), Answer(200, "b"), rules=PLAIN)
                    await routes.put("app/b", [plain])
                    await clients.after(20)
                for path in ("/private", "/%70rivate/x", "/x/../private", "//private"):
                    assert (await ask(front, HOST, path)).status == 401, path
                for path in ("/closed", "/%63losed/x", "/x/%2e%2e/closed", "//closed"):
                    assert (await ask(front, HOST, path)).status == 403, path
                token = base64.b64encode(b"ann:let me in").decode()
                answer = await ask(front, HOST, "/private", Authorization=f"Basic {token}")
                assert answer.status == 200
            log = (home.root / "log" / "access" / "app%2Fa.log").read_text().splitlines()
            assert {json.loads(line)["request"]["proto"] for line in log} == {shown}

    asyncio.run(run())


def test_an_address_is_the_same_one_however_it_is_written() -> None:
    """A socket for both families shows IPv4 clients as ::ffff:127.0.0.1."""
    port = free_port()

    def only(host: str, *networks: str) -> Route:
        return Route((host,), Answer(200, "in"), rules=RouteRules(TlsMode.OFF, (), networks))

    async def run() -> None:
        async with proxy(http=f"[::]:{port}") as (routes, _):
            await routes.put(
                "app/a",
                [
                    only("four.test", "127.0.0.0/8"),
                    only("six.test", "::1"),
                    only("mapped.test", "::ffff:127.0.0.0/104"),
                    only("other.test", "192.0.2.0/24", "2001:db8::/32"),
                ],
            )
            found = {
                (host, place): await _status(place, port, host)
                for host in ("four.test", "six.test", "mapped.test", "other.test")
                for place in ("127.0.0.1", "::1")
            }
            assert [key for key, status in found.items() if status == 200] == [
                ("four.test", "127.0.0.1"),
                ("six.test", "::1"),
                ("mapped.test", "127.0.0.1"),
            ]
            assert set(found.values()) == {200, 403}

    asyncio.run(run())


async def _status(place: str, port: int, host: str) -> int:
    reader, writer = await asyncio.open_connection(place, port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return read_answer(await reader.read()).status
    finally:
        writer.close()
