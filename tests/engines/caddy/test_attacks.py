"""What a hostile client sends: nothing gets past the rules of a route, or is read in two ways."""

from __future__ import annotations

import asyncio
import json

import pytest

from covey.apps.routing.model import (
    Answer,
    Files,
    HealthCheck,
    Pool,
    Proxied,
    Redirect,
    Route,
    RouteRules,
    TlsMode,
)
from covey.engines.caddy.handlers import SPOOFABLE
from covey.errors import CoveyError
from tests.engines.caddy.backends import backends
from tests.engines.caddy.proxies import Answered, ask, proxy, read_answer

PLAIN = RouteRules(tls=TlsMode.OFF)
CLOSED = RouteRules(tls=TlsMode.OFF, allow_from=("192.0.2.0/24",))
WEB = Proxied((Pool("web"),))
ENTRANCE = Route(("web.test",), WEB, rules=PLAIN)
GUARDED = Route(("web.test",), WEB, "/admin", rules=CLOSED)


async def raw(port: int, *data: bytes) -> Answered:
    """Send these bytes and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in data:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return read_answer(await reader.read())
    finally:
        writer.close()


def test_no_spelling_of_a_path_gets_around_its_rules() -> None:
    spellings = (
        "/admin",
        "/admin/",
        "/ADMIN/x",
        "/%61dmin/x",
        "/%61%64%6d%69%6e",
        "//admin",
        "///admin//x",
        "/./admin",
        "/x/../admin",
        "/x/..%2fadmin",
        "/x/%2e%2e/admin",
        "/x%2f..%2fadmin/y",
        "/admin%2fx",
        "/admin?x",
        "/admin/..;/admin",
        "http://web.test/admin",
        "http://other.test/admin",
    )

    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/web", [ENTRANCE, GUARDED])
            assert (await ask(home.http, "web.test", "/administration")).status == 200
            before = one.requests
            for path in spellings:
                answer = await ask(home.http, "web.test", path)
                assert answer.status in {403, 404}, path
            assert one.requests == before

    asyncio.run(run())


def test_one_request_is_never_read_as_two() -> None:
    inner = b"GET /admin HTTP/1.1\r\nHost: web.test\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n"
    size = f"Content-Length: {len(inner)}\r\n".encode()
    chunked = b"Transfer-Encoding: chunked\r\n"
    attempts = {
        "both, chunked first": (head + chunked + size + b"\r\n0\r\n\r\n" + inner, 200),
        "both, chunked last": (head + size + chunked + b"\r\n0\r\n\r\n" + inner, 200),
        "two lengths": (head + b"Content-Length: 0\r\n" + size + b"\r\n" + inner, 400),
        "signed length": (head + b"Content-Length: +0\r\n\r\n" + inner, 400),
        "listed lengths": (head + b"Content-Length: 0, 38\r\n\r\n" + inner, 400),
        "space before the colon": (
            head + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
            400,
        ),
        "another coding": (head + b"Transfer-Encoding: xchunked\r\n" + size + b"\r\n" + inner, 501),
        "coding twice": (
            head + chunked + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
            501,
        ),
        "folded line": (
            head + b"X-A: b\r\n c\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            200,
        ),
        "bare line feed in chunk": (head + chunked + b"\r\n2;\nxx\r\n0\r\n\r\n" + inner, 400),
        "two hosts": (b"GET / HTTP/1.1\r\nHost: web.test\r\nHost: other.test\r\n\r\n", 400),
        "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        "zero byte": (b"GET / HTTP/1.1\r\nHost: web.test\r\nX-A: a\0b\r\n\r\n", 400),
    }

    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/web", [ENTRANCE])
            for name, (data, expected) in attempts.items():
                before = len(one.seen)
                answer = await raw(home.http, data)
                assert answer.status == expected, name
                for headers in one.seen[before:]:
                    assert headers["transfer-encoding"] == "chunked", name
                    assert "content-length" not in headers, name
                assert len(one.seen) - before <= 1, name

    asyncio.run(run())


def test_what_users_write_is_text_and_no_placeholder() -> None:
    texts = (
        "{env.HOME}{file./etc/hostname}{system.hostname}",
        "\\{env.HOME}",
        "\\\\{env.HOME}",
        "\\\\\\{env.HOME\\}}",
        "{{env.HOME}}",
        "{\\{env.HOME}\\}",
        "{" * 300,
        "}" * 300 + "\\",
        "\\",
        "$HOME ${env.HOME} %7Benv.HOME%7D",
    )

    async def run() -> None:
        async with proxy() as (routes, home):
            for text in texts:
                rules = RouteRules(tls=TlsMode.OFF, headers={"X-Text": text})
                await routes.put("app/a", [Route(("a.test",), Answer(200, text), rules=rules)])
                answer = await ask(home.http, "a.test")
                assert answer.body.decode() == text
                assert answer.headers["x-text"] == text
            for odd in (
                Route(("{env.HOME}.test",), Answer(200, ""), rules=PLAIN),
                Route(("a.test",), Answer(200, ""), "/{env.HOME}", rules=PLAIN),
                Route(("a.test",), Redirect("https://{env.HOME}.test"), rules=PLAIN),
                Route(("a.test",), Proxied((Pool("{env.HOME}"),)), rules=PLAIN),
                Route(
                    ("a.test",),
                    Proxied((Pool("web"),), health=HealthCheck("/{env.HOME}")),
                    rules=PLAIN,
                ),
                Route(("a.test",), Files("srv"), rules=PLAIN),
            ):
                with pytest.raises(CoveyError):
                    await routes.put("app/a", [odd])
            for address in ("{env.HOME}:80", "a:{env.PORT}", "unix//run/x.sock", "a:1-9", "a:0"):
                with pytest.raises(CoveyError):
                    await routes.switch("web", [address])

    asyncio.run(run())


def test_no_spelling_of_a_forwarding_header_comes_through() -> None:
    names = [*SPOOFABLE, "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP"]
    names += [name.replace("-", "_") for name in names]
    names += [name.replace("-", "_", 1).lower() for name in names]

    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            inner = Route(("web.test",), WEB, "/app", strip=True, rules=PLAIN)
            await routes.put("app/web", [ENTRANCE, inner])
            for path in ("/headers", "/app/headers"):
                for lies in (names, *([name] for name in names)):
                    lines = [f"GET {path} HTTP/1.1", "Host: web.test", "X-Own: kept"]
                    lines += [f"{name}: 6.6.6.6" for name in lies]
                    head = "\r\n".join([*lines, "Connection: close", "", ""])
                    seen = json.loads((await raw(home.http, head.encode())).body)
                    assert [name for name, value in seen.items() if "6.6.6.6" in value] == []
                    assert seen["x-own"] == "kept"

    asyncio.run(run())
