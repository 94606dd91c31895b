"""A stand-in for the forges' interfaces that takes exactly what they document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

TOKEN = "token-that-nobody-may-see"
COMMIT = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
_LONGEST = 140


@dataclass
class StandIn:
    """What was sent, and the answers to give in place of the usual ones."""

    forge: str
    base: str = ""
    statuses: list[dict[str, str]] = field(default_factory=list)
    pulls: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    next: list[Callable[[web.Request], web.StreamResponse]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; what is wrong with it is a fault."""
        self.requests.append(request)
        if self.next:
            await request.read()
            return self.next.pop(0)(request)
        if not self._is_let_in(request):
            return web.json_response({"message": "Unauthorized"}, status=401)
        path = request.raw_path.removeprefix("/base")
        if request.method == "GET":
            return self._pull(path)
        return self._status(path, request.content_type, await request.read())

    def _is_let_in(self, request: web.Request) -> bool:
        if request.headers.get("User-Agent") != "Covey":
            self.faults.append("another User-Agent")
        match self.forge:
            case "github":
                if request.headers.get("X-GitHub-Api-Version") != "2022-11-28":
                    self.faults.append("no X-GitHub-Api-Version")
                if request.headers.get("Accept") != "application/vnd.github+json":
                    self.faults.append("another Accept")
                return request.headers.get("Authorization") == f"Bearer {TOKEN}"
            case "gitlab":
                if "Authorization" in request.headers:
                    self.faults.append("a password of somebody else's")
                return request.headers.get("PRIVATE-TOKEN") == TOKEN
            case "gitea":
                return request.headers.get("Authorization") == f"token {TOKEN}"
            case _:
                return request.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _pull(self, path: str) -> web.StreamResponse:
        prefix = {
            "github": "/repos/acme/shop/pulls/",
            "gitea": "/repos/acme/shop/pulls/",
            "gitlab": "/projects/acme%2Fshop/merge_requests/",
            "bitbucket": "/repositories/acme/shop/pullrequests/",
        }[self.forge]
        number = path.removeprefix(prefix)
        if path == number or number not in self.pulls:
            return web.json_response({"message": "Not Found"}, status=404)
        return web.json_response({"number": int(number), "state": self.pulls[number]})

    def _status(self, path: str, media: str, body: bytes) -> web.StreamResponse:
        expected, required, optional, states = _STATUS[self.forge]
        if path != expected:
            return web.json_response({"message": "Not Found"}, status=404)
        found = json.loads(body)
        if media != "application/json":
            self.faults.append(f"media type {media}")
        if not required <= found.keys() <= required | optional:
            self.faults.append(f"fields {sorted(found)}")
        if found.get("state") not in states:
            self.faults.append(f"state {found.get('state')}")
        if not all(isinstance(value, str) and value for value in found.values()):
            self.faults.append("an empty field")
        if len(found.get("description", "")) > _LONGEST:
            self.faults.append("a long description")
        if self.forge == "bitbucket" and len(found["key"]) > 40:
            self.faults.append("a long key")
        self.statuses.append(found)
        return web.json_response({"id": 1}, status=201)


_SIMPLE = frozenset({"state"})
_GITHUB = (
    f"/repos/acme/shop/statuses/{COMMIT}",
    _SIMPLE,
    frozenset({"context", "description", "target_url"}),
    {"error", "failure", "pending", "success"},
)
_STATUS = {
    "github": _GITHUB,
    "gitea": _GITHUB,
    "gitlab": (
        f"/projects/acme%2Fshop/statuses/{COMMIT}",
        _SIMPLE,
        frozenset({"name", "description", "target_url"}),
        {"pending", "running", "success", "failed", "canceled", "skipped"},
    ),
    "bitbucket": (
        f"/repositories/acme/shop/commit/{COMMIT}/statuses/build",
        frozenset({"key", "state", "url"}),
        frozenset({"name", "description"}),
        {"INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"},
    ),
}


@asynccontextmanager
async def stand_in(forge: str) -> AsyncIterator[StandIn]:
    """Serve one on a free port of the loopback."""
    made = StandIn(forge)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        made.base = f"http://127.0.0.1:{port}/base"
        yield made
    finally:
        await runner.cleanup()
