"""A daemon that is killed at one moment of a change of routes: python killed_change.py HOME MOMENT.

It serves a.test, then says so, and dies while it adds b.test and exchanges the address of a.test.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covey.apps.routing.model import Pool, Proxied, Route, RouteRules, TlsMode
from covey.apps.routing.persisted import RouteRecords
from covey.apps.routing.service import RoutesService
from covey.engines.caddy import process
from covey.engines.caddy.engine import CaddyProxy
from covey.engines.caddy.upstreams import UpstreamFiles
from tests.engines.caddy.proxies import Home, LocalDict

MOMENTS = {
    "first start, before the record": (process, "write_record", 1, False),
    "first start, after the record": (process, "write_record", 1, True),
    "switch, before the file": (UpstreamFiles, "write", 2, False),
    "switch, after the file": (UpstreamFiles, "write", 2, True),
    "switch, before it is kept": (RouteRecords, "write_pool", 2, False),
    "switch, after it is kept": (RouteRecords, "write_pool", 2, True),
    "routes, before they are served": (CaddyProxy, "apply", 2, False),
    "routes, after they are served": (CaddyProxy, "apply", 2, True),
    "routes, before they are kept": (RouteRecords, "write_routes", 2, False),
    "routes, after they are kept": (RouteRecords, "write_routes", 2, True),
    "a new route's pool is kept": (RouteRecords, "write_pool", 3, True),
}


class LocalFile(LocalDict):
    """`LocalState` that is in a file after each write."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            for space, key, value in json.loads(path.read_text()):
                self.values[space, key] = value.encode()

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        await super().put_local(namespace, key, value)
        rows = [(space, name, item.decode()) for (space, name), item in self.values.items()]
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(rows))
        fresh.replace(self._path)


def at_home(root: Path, http: int, https: int) -> Home:
    return Home(root, http, https, LocalFile(root / "local.json"))


def to(pool: str, host: str) -> Route:
    return Route((host,), Proxied((Pool(pool),)), rules=RouteRules(tls=TlsMode.OFF))


def die_at(owner: Any, name: str, call: int, *, after: bool) -> None:
    """Kill this process at the n-th call of a function, before or after it."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted() -> bool:
        nonlocal calls
        calls += 1
        return calls == call

    async def later(*args: Any, **named: Any) -> Any:
        mine = counted()
        if mine and not after:
            die()
        result = await original(*args, **named)
        if mine:
            die()
        return result

    def now(*args: Any, **named: Any) -> Any:
        mine = counted()
        if mine and not after:
            die()
        result = original(*args, **named)
        if mine:
            die()
        return result

    setattr(owner, name, later if asyncio.iscoroutinefunction(original) else now)


async def change(routes: RoutesService, one: str, two: str) -> None:
    await routes.start()
    await routes.switch("a", [one])
    await routes.put("app/a", [to("a", "a.test")])
    await routes.switch("a", [two])
    pool = "route/b/0"
    await routes.put_with_pools("route/b", [to(pool, "b.test")], {pool: [two]})


def main() -> None:
    root, moment, http, https, one, two = sys.argv[1:]
    owner, name, call, after = MOMENTS[moment]
    die_at(owner, name, call, after=after)
    home = at_home(Path(root), int(http), int(https))
    asyncio.run(change(home.service(), one, two))


if __name__ == "__main__":
    main()
