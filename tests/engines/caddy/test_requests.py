"""What the rules and targets of a route mean for a request."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from pathlib import Path

import pytest

from covey.apps.routing.model import (
    Answer,
    Balance,
    BasicAuth,
    Files,
    HealthCheck,
    Pool,
    Proxied,
    Redirect,
    Route,
    RouteRules,
    TlsMode,
)
from covey.operations.secret import Secret
from tests.engines.caddy.backends import backends
from tests.engines.caddy.load import load
from tests.engines.caddy.proxies import ask, proxy

OFF = TlsMode.OFF
PLAIN = RouteRules(tls=OFF)
WEB = Proxied((Pool("web"),))


def web(path: str = "/", *, strip: bool = False, rules: RouteRules = PLAIN) -> Route:
    return Route(("web.test",), WEB, path, strip, rules)


def test_events_are_not_held_back_and_a_client_that_leaves_is_noticed() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/web", [web()])
            reader, writer = await asyncio.open_connection("127.0.0.1", home.http)
            writer.write(
                b"GET /events HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: gzip, zstd\r\n\r\n"
            )
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                assert await reader.readuntil(b"first\n\n")
                assert b"Content-Encoding" not in head
                await routes.put("app/b", [Route(("b.test",), Answer(200, "b"), rules=PLAIN)])
                one.release.set()
                assert await reader.readuntil(b"second\n\n")
                writer.close()
                one.release.clear()
                reader, writer = await asyncio.open_connection("127.0.0.1", home.http)
                writer.write(b"GET /events HTTP/1.1\r\nHost: web.test\r\n\r\n")
                await reader.readuntil(b"first\n\n")
                writer.close()
                await one.gone.wait()

    asyncio.run(run())


def test_forwarding_headers_cannot_be_chosen_by_a_client() -> None:
    lies = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.test",
        "X_Real_IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "X_Forwarded_Port": "1",
        "X_Forwarded_Prefix": "/evil",
        "Connection": "close, X-Forwarded-For, X-Forwarded-Proto, X-Real-IP",
    }

    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/web", [web(), web("/app", strip=True)])
            seen = json.loads((await ask(home.http, "web.test", "/headers", **lies)).body)
            assert seen["x-forwarded-for"] == seen["x-real-ip"] == "127.0.0.1"
            assert seen["x-forwarded-proto"] == "http"
            assert seen["x-forwarded-host"] == seen["host"] == "web.test"
            assert not {"forwarded", "x-forwarded-port", "x-forwarded-prefix"} & set(seen)
            seen = json.loads((await ask(home.http, "web.test", "/app/headers", **lies)).body)
            assert seen["x-forwarded-prefix"] == "/app"
            assert "6.6.6.6" not in str(seen)
        async with (
            backends("one") as (one,),
            proxy(trusted_proxies=("127.0.0.0/8",)) as (routes, home),
        ):
            await routes.switch("web", [one.address])
            inside = RouteRules(tls=OFF, allow_from=("192.0.2.0/24",))
            await routes.put("app/web", [web(), web("/inside", rules=inside)])
            told = {"X_Forwarded_For": "6.6.6.6, 192.0.2.7", "X_Forwarded_Proto": "https"}
            seen = json.loads((await ask(home.http, "web.test", "/headers", **told)).body)
            assert seen["x-real-ip"] == "192.0.2.7"
            assert seen["x-forwarded-proto"] == "https"
            assert (await ask(home.http, "web.test", "/inside", **told)).status == 200
            told["X_Forwarded_For"] = "192.0.2.7, 6.6.6.6"
            assert (await ask(home.http, "web.test", "/inside", **told)).status == 403

    asyncio.run(run())


def test_bodies_are_limited_and_must_be_well_formed() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/web", [web(rules=RouteRules(tls=OFF, max_body_bytes=1000))])
            answer = await ask(home.http, "web.test", method="POST", body=b"x" * 1000)
            assert (answer.status, answer.body) == (200, b"1000")
            answer = await ask(home.http, "web.test", method="POST", body=b"x" * 1001)
            assert answer.status == 413
            chunked = b"POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            long = b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
            assert b" 413 " in await _raw(home.http, chunked + long)
            for broken in (b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n"):
                assert b" 400 " in await _raw(home.http, chunked + broken)
            twice = (
                b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n"
            )
            assert b" 400 " in await _raw(home.http, twice + b"\r\nhello")
            assert (await ask(home.http, "web.test")).status == 200

    asyncio.run(run())


async def _raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return (await reader.readline()).strip()
    finally:
        writer.close()


def test_users_and_networks_are_let_in() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            hashed = await routes.hash_password(Secret("let {me} in"))
            assert "let" not in hashed
            private = RouteRules(tls=OFF, basic_auth=(BasicAuth("ann", hashed),))
            outside = RouteRules(tls=OFF, allow_from=("192.0.2.0/24", "2001:db8::/32"))
            inside = RouteRules(tls=OFF, allow_from=("192.0.2.0/24", "127.0.0.1"))
            await routes.put(
                "app/web",
                [
                    Route(("private.test",), Answer(200, "in"), rules=private),
                    Route(("outside.test",), Answer(200, "in"), rules=outside),
                    Route(("inside.test",), Answer(200, "in"), rules=inside),
                ],
            )
            refused = await ask(home.http, "private.test")
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith("Basic")
            for password, status in (("let {me} in", 200), ("guess", 401)):
                token = base64.b64encode(f"ann:{password}".encode()).decode()
                answer = await ask(home.http, "private.test", Authorization=f"Basic {token}")
                assert answer.status == status
            assert (await ask(home.http, "outside.test")).status == 403
            assert (await ask(home.http, "inside.test")).status == 200
            logs = "".join(path.read_text() for path in (home.root / "log").rglob("*.log"))
            assert token not in logs

    asyncio.run(run())


def test_paths_hosts_and_wildcards_choose_the_most_specific_route() -> None:
    def answer(text: str, *hosts: str, path: str = "/") -> Route:
        return Route(hosts, Answer(200, text), path, rules=PLAIN)

    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/wild", [answer("wild", "*.test")])
            await routes.put(
                "app/web",
                [
                    answer("root", "a.test"),
                    answer("api", "a.test", path="/api"),
                    answer("v2", "a.test", path="/api/v2"),
                    answer("only api", "b.test", path="/api"),
                    Route(("s.test",), WEB, "/x/y", strip=True, rules=PLAIN),
                    Route(("s.test",), WEB, "/whole", rules=PLAIN),
                ],
            )
            expected = {
                ("a.test", "/"): b"root",
                ("a.test", "/apifoo"): b"root",
                ("a.test", "/api"): b"api",
                ("a.test", "/api/v1?q"): b"api",
                ("a.test", "/api/v2/x"): b"v2",
                ("A.TEST:80", "/"): b"root",
                ("b.test", "/api/"): b"only api",
                ("c.test", "/"): b"wild",
                ("s.test", "/x/y/target?a=%2F"): b"/target?a=%2F",
                ("s.test", "/whole"): b"one",
            }
            for (host, path), body in expected.items():
                assert (await ask(home.http, host, path)).body == body, (host, path)
            for host, path in (("b.test", "/"), ("a.b.test", "/"), ("test", "/"), ("s.test", "/")):
                missing = await ask(home.http, host, path)
                assert (missing.status, missing.body) == (404, b"There is nothing here.\n")

    asyncio.run(run())


def test_a_directory_is_served_with_its_own_pages_and_without_its_secrets() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            site = home.root / "site {file.x}"
            (site / "sub" / ".git").mkdir(parents=True)
            for name, text in {
                "index.html": "home",
                "404.html": "lost {http.request.host}",
                "sub/index.html": "sub",
                "page.html": "page " * 400,
                ".env": "canary",
                "sub/.git/config": "canary",
                ".well-known.txt": "known",
            }.items():
                (site / name).write_text(text)
            await routes.put(
                "app/site",
                [
                    Route(("lost.test",), Files(str(site), not_found="404.html"), rules=PLAIN),
                    Route(("spa.test",), Files(str(site), fallback="/index.html"), rules=PLAIN),
                    Route(("pre.test",), Files(str(site)), "/docs", strip=True, rules=PLAIN),
                ],
            )
            assert (await ask(home.http, "lost.test")).body == b"home"
            assert (await ask(home.http, "lost.test", "/sub/")).body == b"sub"
            lost = await ask(home.http, "lost.test", "/nowhere")
            assert (lost.status, lost.body) == (404, b"lost {http.request.host}")
            spa = await ask(home.http, "spa.test", "/some/view")
            assert (spa.status, spa.body) == (200, b"home")
            assert (await ask(home.http, "pre.test", "/docs/sub/")).body == b"sub"
            assert (await ask(home.http, "pre.test", "/docs")).body == b"home"
            for path in ("/.env", "/sub/.git/config", "/../log/caddy.log", "/%2e%2e/log/caddy.log"):
                answer = await ask(home.http, "lost.test", path)
                assert b"canary" not in answer.body
                assert answer.status == 404, path
            page = await ask(home.http, "lost.test", "/page.html", Accept_Encoding="gzip")
            assert page.headers["content-encoding"] == "gzip"
            assert (
                "content-encoding" not in (await ask(home.http, "lost.test", "/page.html")).headers
            )

    asyncio.run(run())


def test_a_site_is_exchanged_by_its_link_under_load() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            link = home.root / "current"
            for name in ("one", "two"):
                (home.root / name).mkdir()
                (home.root / name / "index.html").write_text(name)
            link.symlink_to("one")
            await routes.put("app/site", [Route(("site.test",), Files(str(link)), rules=PLAIN)])
            async with load(home.http, "site.test", clients=3) as clients:
                for turn in range(30):
                    fresh = home.root / "fresh"
                    fresh.symlink_to(("two", "one")[turn % 2])
                    fresh.rename(link)
                    await clients.after(20)
            assert set(clients.answers) == {"one", "two"}

    asyncio.run(run())


def test_redirections_answers_and_headers_are_taken_literally() -> None:
    async def run() -> None:
        page = "<style>p { color: red }</style>{http.request.host} {file./etc/hostname} \\{a\\}"
        rules = RouteRules(tls=OFF, headers={"X-Frame-Options": "DENY", "X-Odd": "{env.PATH} é"})
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put(
                "app/web",
                [
                    Route(("down.test",), Answer(503, page), rules=rules),
                    Route(("web.test",), WEB, rules=rules),
                    Route(("old.test",), Redirect("https://new.test"), rules=PLAIN),
                    Route(
                        ("old.test",),
                        Redirect("https://new.test"),
                        "/shop",
                        strip=True,
                        rules=PLAIN,
                    ),
                    Route(("old.test",), Redirect("/to?x=1"), "/from", rules=PLAIN),
                    Route(
                        ("moved.test",),
                        Redirect("https://new.test/at?x=1", permanent=False),
                        rules=PLAIN,
                    ),
                ],
            )
            down = await ask(home.http, "down.test")
            assert (down.status, down.body.decode()) == (503, page)
            for host in ("down.test", "web.test"):
                headers = (await ask(home.http, host)).headers
                assert headers["x-frame-options"] == "DENY"
                assert headers["x-odd"].startswith("{env.PATH} ")
            old = await ask(home.http, "old.test", "/a/b?c=d")
            assert (old.status, old.headers["location"]) == (308, "https://new.test/a/b?c=d")
            mounted = await ask(home.http, "old.test", "/shop/a?c=d")
            assert (mounted.status, mounted.headers["location"]) == (308, "https://new.test/a?c=d")
            within = await ask(home.http, "old.test", "/from/a?c=d")
            assert (within.status, within.headers["location"]) == (308, "/to?x=1")
            moved = await ask(home.http, "moved.test", "/a")
            assert (moved.status, moved.headers["location"]) == (307, "https://new.test/at?x=1")

    asyncio.run(run())


def test_a_canary_gets_its_share_and_least_connections_avoids_the_busy() -> None:
    async def run() -> None:
        async with backends("old", "older", "new") as (old, older, new), proxy() as (routes, home):
            await routes.switch("old", [old.address, older.address])
            await routes.switch("new", [new.address])
            canary = Proxied((Pool("old", 80), Pool("new", 20)))
            spread = Proxied((Pool("old"),), Balance.LEAST_CONNECTIONS)
            await routes.put(
                "app/web",
                [
                    Route(("web.test",), canary, rules=PLAIN),
                    Route(("least.test",), spread, rules=PLAIN),
                ],
            )
            answers = Counter([(await ask(home.http, "web.test")).body for _ in range(50)])
            assert answers == {b"old": 20, b"older": 20, b"new": 10}
            slow = []
            for count in (41, 42):  # Caddy counts a request a moment after it chose its address
                slow.append(asyncio.create_task(ask(home.http, "least.test", "/slow")))
                async with asyncio.timeout(10):
                    while old.requests + older.requests < count:
                        await asyncio.sleep(0.01)
            assert (old.requests, older.requests) == (21, 21)
            old.release.set()
            first, *rest = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
            assert len(first) == 1
            assert rest
            answers = Counter([(await ask(home.http, "least.test")).body for _ in range(10)])
            assert answers == {b"old": 10}
            older.release.set()
            await asyncio.gather(*slow)

    asyncio.run(run())


def test_a_sick_address_is_found_by_the_health_check() -> None:
    async def run() -> None:
        async with backends("sick", "well") as (sick, well), proxy() as (routes, home):
            await routes.switch("web", [sick.address, well.address])
            checked = Proxied((Pool("web"),), health=HealthCheck("/slow", 0.1, 0.2))
            well.release.set()
            await routes.put("app/web", [Route(("web.test",), checked, rules=PLAIN)])
            async with asyncio.timeout(10):
                while {(await ask(home.http, "web.test")).body for _ in range(4)} != {b"well"}:
                    await asyncio.sleep(0.05)
            sick.release.set()
            async with asyncio.timeout(10):
                while (await ask(home.http, "web.test")).body != b"sick":
                    await asyncio.sleep(0.05)

    asyncio.run(run())


def test_each_owner_has_a_log_of_its_own_which_ends_with_its_routes() -> None:
    async def run() -> None:
        async with proxy(access_log_bytes=1 << 20) as (routes, home):
            await routes.put("app/a", [Route(("a.test",), Answer(200, "a"), rules=PLAIN)])
            await routes.put("app/a-1", [Route(("*.w.test",), Answer(200, "w"), rules=PLAIN)])
            await ask(home.http, "b.w.test", "/three")
            await ask(home.http, "unknown.test", "/four")
            logs = home.root / "log" / "access"
            assert _names(logs) == ["app%2Fa-1.log", "app%2Fa.log"]
            wild = await _lines(logs / "app%2Fa-1.log")
            assert [json.loads(line)["request"]["uri"] for line in wild] == ["/three"]
            for _ in range(40):
                assert (await ask(home.http, "x.w.test", "/" + "y" * 60_000)).status == 200
                await ask(home.http, "a.test", "/" + "y" * 60_000)
            async with asyncio.timeout(10):
                while len(_names(logs)) < 4:
                    await asyncio.sleep(0.02)
            assert {path.stat().st_mode & 0o777 for path in logs.iterdir()} == {0o600}
            assert sum(path.stat().st_size for path in logs.iterdir()) < 6 << 20
            await routes.remove("app/a-1")
            rolled, _ = left = _names(logs)
            assert left[1] == "app%2Fa.log"
            assert rolled.startswith("app%2Fa-2")
            await routes.remove("app/a")
            assert _names(logs) == []

    asyncio.run(run())


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_log_tells_who_asked_for_what_and_no_secret() -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put("app/a", [Route(("web.test",), WEB, rules=PLAIN)])
            await ask(
                home.http,
                "web.test",
                "/a%20b?page=2&token=canary1&code=canary2&password=canary3",
                User_Agent="tests",
                Cookie="canary4",
                Authorization="canary5",
                X_Gitlab_Token="canary6",
                X_Api_Key="canary7",
                Referer="https://x.test/?token=canary8",
            )
            await one.stop()
            assert (await ask(home.http, "web.test", X_Gitlab_Token="canary9")).status == 502
            line, failed = await _lines(home.root / "log" / "access" / "app%2Fa.log", 2)
            entry = json.loads(line)
            hidden = "token=REDACTED&code=REDACTED&password=REDACTED"
            assert entry["request"]["uri"] == f"/a%20b?page=2&{hidden}"
            assert (entry["user_agent"], entry["status"]) == ("tests", 200)
            assert entry["request"]["client_ip"] == "127.0.0.1"
            own = (home.root / "log" / "caddy.log").read_text()
            assert "connection refused" in json.loads(failed)["error"]
            assert "canary" not in line + failed + own

    asyncio.run(run())


async def _lines(path: Path, count: int = 1) -> list[str]:
    async with asyncio.timeout(10):
        while len(lines := path.read_text().splitlines()) < count:
            await asyncio.sleep(0.02)
    return lines


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_what_the_application_answers_is_compressed(encoding: str) -> None:
    async def run() -> None:
        async with backends("one") as (one,), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put(
                "app/web", [web(), web("/raw", rules=RouteRules(tls=OFF, compress=False))]
            )
            packed = await ask(home.http, "web.test", "/text", Accept_Encoding=encoding)
            assert packed.headers["content-encoding"] == encoding
            assert len(packed.body) < 1000
            plain = await ask(home.http, "web.test", "/raw", Accept_Encoding=encoding)
            assert "content-encoding" not in plain.headers

    asyncio.run(run())
