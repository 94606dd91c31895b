"""Calls for other hosts: the headers, one host's own answer, and several hosts' results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from covey.errors import NotFoundError, UnreachableError
from covey.operations.context import Context
from covey.operations.dispatch import Place, Target
from covey.operations.registry import Operation
from tests.surfaces.http.sample_operations import Echo, Note, Tick
from tests.surfaces.http.serving import DEADLINE, Running, running
from tests.surfaces.http.test_streams import events, messages

ADMIN = {"Authorization": "Bearer admin"}


class SamplePlace:
    route = "direct"

    def __init__(self, host: str, working: list[str]) -> None:
        self._host = host
        self._working = working

    async def invoke(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> Any:
        if self._host == "down":
            raise UnreachableError("down does not answer.", hint="Start it.")
        self._working.append(self._host)
        await asyncio.sleep(0)
        return Note(self._host, f"{operation.name} {getattr(arguments, 'name', '')}", "7")

    async def stream(
        self,
        operation: Operation,
        arguments: msgspec.Struct,
        context: Context,
        items: AsyncIterator[Any] | None = None,
    ) -> AsyncGenerator[Any, None]:
        if items is not None:
            async for item in items:
                yield Echo(len(self._host), item.data)
            return
        for number in range(2):
            yield Tick(number)


class SampleDispatcher:
    def __init__(self) -> None:
        self.working: list[str] = []

    def names(self, target: Target) -> list[str]:
        known = ["frigg", "odin", "down"]
        for name in target.hosts:
            if name not in known:
                raise NotFoundError(f"No host is called {name}.", hint="Did you mean odin?")
        return list(target.hosts) or (["odin"] if target.tag == "web" else known)

    def place(self, host: str) -> Place:
        self.names(Target(hosts=(host,)))
        return SamplePlace(host, self.working)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Running]:
    with running(dispatcher=SampleDispatcher()) as found:
        yield found


def test_one_host_answers_as_itself(hosts: Running):
    reply = hosts.request("GET", "/api/v1/notes/a", headers={"Covey-Host": "frigg"})
    assert (reply.status, reply.headers["etag"]) == (200, '"7"')
    assert reply.json["name"] == "frigg"
    reply = hosts.request("GET", "/api/v1/notes/a", headers={"Covey-Host": "down"})
    assert (reply.status, reply.code) == (502, "unreachable")
    reply = hosts.request("GET", "/api/v1/ticks", headers={"Covey-Host": "frigg"})
    assert events(reply.body)[0] == ("item", {"number": 0})


def test_several_hosts_answer_one_by_one(hosts: Running):
    reply = hosts.request("GET", "/api/v1/notes/a", headers={"Covey-All": "1"})
    found = events(reply.body)
    assert [kind for kind, _ in found] == ["item", "item", "item", "end"]
    by_host = {item["host"]: item for kind, item in found if kind == "item"}
    assert by_host["odin"]["value"]["text"] == "note.get a"
    assert (by_host["odin"]["ok"], by_host["odin"]["route"]) == (True, "direct")
    assert by_host["down"]["ok"] is False
    assert by_host["down"]["error"]["code"] == "unreachable"
    assert by_host["down"]["error"]["exit_code"] == 6
    assert all(item["last"] and item["ms"] >= 0 for item in by_host.values())


def test_a_tag_is_several_even_with_one_host(hosts: Running):
    reply = hosts.request("GET", "/api/v1/ticks", headers={"Covey-Tag": "web"})
    items = [item for kind, item in events(reply.body) if kind == "item"]
    assert [(item["host"], item["value"], item["last"]) for item in items] == [
        ("odin", {"number": 0}, False),
        ("odin", {"number": 1}, False),
        ("odin", None, True),
    ]


def test_input_goes_to_every_host(hosts: Running):
    headers = {**ADMIN, "Covey-Host": "frigg,odin", "Covey-Parallel": "1"}
    url = f"ws://localhost:{hosts.port}/api/v1/talk/a"
    with connect(url, additional_headers=headers, open_timeout=DEADLINE) as web:
        web.send("{}")
        for _ in range(3):
            web.send('{"type": "say", "data": ""}')
        web.send('{"end": null}')
        found = list(messages(web))
    assert found.pop() == {"end": None}
    for host in ("frigg", "odin"):
        items = [item for item in found if item["host"] == host]
        assert [item["last"] for item in items] == [False, False, False, True]
        assert all(item["ok"] for item in items)


@pytest.mark.parametrize(
    "headers",
    [
        {"Covey-Host": "frigg", "Covey-All": "1"},
        {"Covey-All": "yes"},
        {"Covey-Host": "frigg,"},
        {"Covey-Tag": ""},
        {"Covey-All": "1", "Covey-Parallel": "0"},
        {"Covey-All": "1", "Covey-Parallel": "many"},
    ],
)
def test_a_target_that_is_none_is_refused(hosts: Running, headers: dict[str, str]):
    reply = hosts.request("GET", "/api/v1/notes/a", headers=headers)
    assert (reply.status, reply.code) == (400, "invalid_request")


def test_an_unknown_host_is_told_with_the_nearest(hosts: Running, server: Running):
    reply = hosts.request("GET", "/api/v1/notes/a", headers={"Covey-Host": "oddin"})
    assert (reply.status, reply.json["error"]["hint"]) == (404, "Did you mean odin?")
    assert server.request("GET", "/api/v1/notes/a", headers={"Covey-Host": "x"}).status == 404
    with pytest.raises(InvalidStatus) as refused:
        connect(
            f"ws://localhost:{hosts.port}/api/v1/ticks",
            additional_headers={**ADMIN, "Covey-Host": "oddin"},
        )
    assert refused.value.response.status_code == 404
