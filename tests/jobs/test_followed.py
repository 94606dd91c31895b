"""Jobs over HTTP and WebSocket: followed as they run, by who may, and ended by who may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from covey.jobs import job_operations
from covey.jobs.api import JobRun
from covey.jobs.engine import JobEngine
from covey.operations.context import Services
from covey.operations.registry import Registry
from covey.testing.memory_jobs import MemoryJobStorage
from tests.jobs.jobs import Work, new
from tests.surfaces.http.serving import DEADLINE, Running, running

REGISTRY = Registry.from_modules([job_operations])


class Rig:
    """A server whose jobs say a line, and another one once they are let go on."""

    def __init__(self, directory: Path) -> None:
        self.work = Work(MemoryJobStorage(), directory)
        self.work.kind("k", self._run)
        self.released = asyncio.Event()
        self.jobs: JobEngine | None = None
        self.server: Running | None = None

    async def _run(self, run: JobRun) -> None:
        run.log("begun")
        await self.released.wait()
        run.log("done")

    def offer(self, services: Services) -> None:
        async def begin(jobs: JobEngine) -> None:
            await jobs.start()

        self.jobs = JobEngine(self.work.storage, self.work.logs)
        self.jobs.register(self.work.kinds["k"])
        services.provide(JobEngine, self.jobs)
        self._starting = asyncio.ensure_future(begin(self.jobs))

    def enqueue(self) -> str:
        assert self.jobs is not None
        assert self.server is not None
        return self.server.run(self.jobs.enqueue(new("k"))).id

    def let_go(self) -> None:
        assert self.server is not None
        self.server.loop.call_soon_threadsafe(self.released.set)

    @contextmanager
    def dial(
        self, path: str, token: str = "developer", **asked: object
    ) -> Iterator[ClientConnection]:
        assert self.server is not None
        with connect(
            f"ws://localhost:{self.server.port}/api/v1/jobs/{path}",
            open_timeout=DEADLINE,
            additional_headers={"Authorization": f"Bearer {token}"},
        ) as socket:
            socket.send(json.dumps(asked))
            yield socket


@contextmanager
def rigged(directory: Path) -> Iterator[Rig]:
    rig = Rig(directory)
    with running(registry=REGISTRY, offer=rig.offer) as server:
        rig.server = server
        try:
            yield rig
        finally:
            assert rig.jobs is not None
            server.run(rig.jobs.stop())


def texts(socket: ClientConnection) -> list[str]:
    found: list[str] = []
    try:
        while True:
            item: dict[str, Any] = json.loads(socket.recv(DEADLINE))
            found.append(item["text"])
    except ConnectionClosed:
        return found


def test_a_log_is_followed_over_a_websocket_to_the_end_of_its_job(tmp_path: Path) -> None:
    with rigged(tmp_path) as rig:
        job = rig.enqueue()
        with rig.dial(f"{job}/logs", follow=True) as socket:
            assert json.loads(socket.recv(DEADLINE))["text"] == "begun"
            rig.let_go()
            assert texts(socket) == ["done"]
            assert socket.close_code == 1000
        with rig.dial(f"{job}/logs", follow=True, after=1) as socket:
            assert texts(socket) == ["done"]
        with rig.dial(f"{job}/logs") as socket:
            assert texts(socket) == ["begun", "done"]


def test_who_may_not_read_follows_nothing_and_who_reads_ends_nothing(tmp_path: Path) -> None:
    with rigged(tmp_path) as rig:
        assert rig.server is not None
        job = rig.enqueue()
        with (
            pytest.raises(InvalidStatus) as refused,
            rig.dial(f"{job}/logs", "viewer", follow=True),
        ):
            pass
        assert refused.value.response.status_code == 403
        for token, status in (("viewer", 403), ("developer", 403), ("operator", 200)):
            reply = rig.server.request("POST", f"/api/v1/jobs/{job}/cancel", token=token)
            assert reply.status == status, reply.body
        assert reply.json["state"] == "cancelled"
        for path in ("", "/logs", "/watch"):
            reply = rig.server.request("GET", f"/api/v1/jobs/{job}{path}", token="viewer")
            assert reply.status == 403


def test_a_follower_is_told_when_the_node_stops(tmp_path: Path) -> None:
    with rigged(tmp_path) as rig:
        job = rig.enqueue()
        with rig.dial(f"{job}/logs", follow=True) as socket:
            assert json.loads(socket.recv(DEADLINE))["text"] == "begun"
            assert rig.server is not None
            assert rig.jobs is not None
            rig.server.run(rig.jobs.stop())
            assert json.loads(socket.recv(DEADLINE))["error"]["code"] == "locked"
