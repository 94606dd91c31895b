"""Certificates from an ACME authority, from the proxy's own, and from users."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from covey.apps.routing.model import Answer, Route, RouteRules, TlsMode
from covey.apps.routing.service import RoutesService
from covey.engines.acme.account import AcmeAccount
from covey.engines.acme.certificates import DnsCertificates
from covey.errors import InvalidRequestError
from covey.operations.secret import Secret
from tests.engines.caddy.authority import make_certificate, pebble
from tests.engines.caddy.load import load
from tests.engines.caddy.proxies import ask, proxy
from tests.ports import free_port


def answering(host: str, mode: TlsMode = TlsMode.AUTO) -> Route:
    return Route((host,), Answer(200, "hello", "text/plain"), rules=RouteRules(tls=mode))


async def expiry(routes: RoutesService, host: str, after: datetime | None = None) -> datetime:
    """The end of the certificate that is shown, once it is another than before."""
    async with asyncio.timeout(60):
        while True:
            found = await routes.served(host)
            if found is not None and (after is None or found.expires > after):
                return found.expires
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_an_authority_issues_and_renews_while_requests_never_fail(challenge: str) -> None:
    async def run() -> None:
        http, https = free_port(), free_port()
        reachable = (http, 1) if challenge == "http-01" else (1, https)
        async with (
            pebble(*reachable, validity_s=5) as authority,
            proxy(
                acme_directory=authority.directory,
                acme_roots=authority.trusted,
                renewal_check_s=1,
                http=f"127.0.0.1:{http}",
                https=f"127.0.0.1:{https}",
            ) as (routes, _),
        ):
            await routes.put("app/shop", [answering("shop.example.org", TlsMode.ACME)])
            first = await expiry(routes, "shop.example.org")
            trust = authority.context()
            async with load(https, "shop.example.org", clients=2, tls=trust) as clients:
                assert await expiry(routes, "shop.example.org", first) > first
                await clients.after(20)
            answer = await ask(http, "shop.example.org", "/a?b=c")
            assert answer.status == 308
            assert answer.headers["location"] == f"https://shop.example.org:{https}/a?b=c"

    asyncio.run(run())


def test_a_wildcard_is_proved_by_dns_and_renewed() -> None:
    async def run() -> None:
        http, https = free_port(), free_port()
        async with pebble(http, https, validity_s=90) as authority:
            key = authority.root / "dns" / "account.key"
            account = AcmeAccount(
                authority.directory, "me@example.org", authority.trusted, key, authority.hook()
            )
            issued = DnsCertificates(account, authority.root / "dns", renew_after=0.02)
            async with proxy(issued, http=f"127.0.0.1:{http}", https=f"127.0.0.1:{https}") as (
                routes,
                home,
            ):
                await routes.put("app/shop", [answering("*.shop.example.org")])
                first = await expiry(routes, "a.shop.example.org")
                trust = authority.context()
                async with load(https, "b.shop.example.org", clients=1, tls=trust):
                    assert await expiry(routes, "b.shop.example.org", first) > first
                lines = authority.hook_log.read_text().splitlines()
                name = "_acme-challenge.shop.example.org"
                assert lines[:4] == [f"set {name}", f"clear {name}"] * 2
                modes = {path.stat().st_mode & 0o777 for path in key.parent.iterdir()}
                assert modes == {0o600}
                await routes.stop()
                home.issued = DnsCertificates(account, authority.root / "dns")
                again = home.service()
                await again.start()
                assert await expiry(again, "c.shop.example.org") > first
                await again.put("app/shop", [])
                await again.put("app/shop", [answering("*.shop.example.org")])
                assert await expiry(again, "d.shop.example.org") > first
                await again.stop()

    asyncio.run(run())


def test_private_names_are_signed_by_an_authority_that_can_be_trusted() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/shop", [answering("shop.localhost")])
            await expiry(routes, "shop.localhost")
            root = await routes.authority()
            trust = ssl.create_default_context(cadata=root)
            answer = await ask(home.https, "shop.localhost", trust=trust)
            assert (answer.status, answer.body) == (200, b"hello")
            assert f'h3=":{home.https}"' in answer.headers["alt-svc"]
            assert routes.url("shop.localhost") == f"https://shop.localhost:{home.https}"
            with pytest.raises(ssl.SSLError):
                await ask(home.https, "other.localhost", trust=trust)
            await routes.remove("app/shop")
            assert await routes.authority() == root
            assert (home.root / "data").stat().st_mode & 0o777 == 0o700

    asyncio.run(run())


def test_an_uploaded_certificate_is_served_and_kept_unless_it_is_wrong() -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            chain, key = Path(name) / "chain.pem", Path(name) / "key.pem"
            make_certificate(chain, key, "shop.example.org")
            async with proxy() as (routes, home):
                with pytest.raises(InvalidRequestError, match="no certificate for shop"):
                    await routes.put("app/shop", [answering("shop.example.org", TlsMode.CUSTOM)])
                with pytest.raises(InvalidRequestError, match="not for other"):
                    await routes.put_certificate(
                        "other.org", chain.read_text(), Secret(key.read_text())
                    )
                assert home.local.values == {}
                await routes.put_certificate(
                    "shop.example.org", chain.read_text(), Secret(key.read_text())
                )
                await routes.put("app/shop", [answering("shop.example.org")])
                trust = ssl.create_default_context(cafile=chain)
                assert (await ask(home.https, "shop.example.org", trust=trust)).body == b"hello"
                make_certificate(chain, key, "shop.example.org")
                await routes.put_certificate(
                    "shop.example.org", chain.read_text(), Secret(key.read_text())
                )
                later = ssl.create_default_context(cafile=chain)
                assert (await ask(home.https, "shop.example.org", trust=later)).body == b"hello"
                await routes.stop()
                restarted = home.service()
                await restarted.start()
                assert (await ask(home.https, "shop.example.org", trust=later)).body == b"hello"
                await restarted.stop()

    asyncio.run(run())


def test_a_certificate_that_would_not_work_is_refused() -> None:
    from covey.apps.routing.certificates import read_certificate

    with tempfile.TemporaryDirectory() as name:
        chain, key, other = (Path(name) / item for item in ("chain.pem", "key.pem", "other.pem"))
        make_certificate(chain, key, "*.example.org")
        good = chain.read_text()
        read_certificate("a.example.org", good, Secret(key.read_text()))
        for host in ("example.org", "a.b.example.org"):
            with pytest.raises(InvalidRequestError, match="not for"):
                read_certificate(host, good, Secret(key.read_text()))
        make_certificate(other, Path(name) / "second.pem", "*.example.org")
        with pytest.raises(InvalidRequestError, match="does not belong"):
            read_certificate("a.example.org", other.read_text(), Secret(key.read_text()))
        with pytest.raises(InvalidRequestError, match="cannot be read") as refused:
            read_certificate("a.example.org", good, Secret("canary-of-a-key"))
        assert "canary" not in str(refused.value)
        past = datetime.now(UTC) - timedelta(days=90)
        make_certificate(chain, key, "*.example.org", since=past)
        with pytest.raises(InvalidRequestError, match="expired"):
            read_certificate("a.example.org", chain.read_text(), Secret(key.read_text()))
