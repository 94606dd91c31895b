"""An app's own domain gets its certificate from an authority, and a new one before it ends."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from tests.engines.caddy.authority import pebble
from tests.engines.caddy.load import load
from tests.podman import Podman
from tests.system.harness import Fleet
from tests.system.hosting import Host, new_host

DOMAIN = "shop.example.org"


async def expiry(host: Host, after: str = "") -> str:
    """Return when the domain's certificate ends, once that is later than `after`."""
    async with asyncio.timeout(60):
        while True:
            found: list[dict[str, Any]] = await asyncio.to_thread(
                host.node.json, "routes", "certificates"
            )
            ends = [str(item["expires"]) for item in found if item["host"] == DOMAIN]
            if ends and ends[0] != "None" and ends[0] > after:
                return ends[0]
            await asyncio.sleep(0.1)


def test_an_apps_domain_is_certified_and_renewed_while_requests_never_fail(
    fleet: Fleet, session_podman: Podman
):
    async def run(host: Host) -> None:
        node = host.node
        async with pebble(host.http, host.https, validity_s=10) as authority:
            node.stop()
            node.settings |= {
                "COVEY_PROXY_ACME_DIRECTORY": authority.directory,
                "COVEY_PROXY_ACME_ROOTS": authority.trusted,
                "COVEY_PROXY_RENEWAL_CHECK": "1s",
            }
            node.start()
            version = host.app("shop", "v1", domains=[{"host": DOMAIN}])
            said = await asyncio.to_thread(host.deploy, version)
            assert f"https://{DOMAIN}:{host.https}" in said
            first = await expiry(host)
            trust: ssl.SSLContext = authority.context()
            async with load(host.https, DOMAIN, clients=2, tls=trust) as clients:
                assert await expiry(host, first) > first
                version = host.app("shop", "v2", domains=[{"host": DOMAIN}])
                await asyncio.to_thread(host.deploy, version)
                await clients.after(20)
            assert set(clients.answers) == {"v1", "v2"}
            host.settled("shop")
            host.remove("shop")

    with new_host(fleet, session_podman) as host:
        asyncio.run(run(host))
