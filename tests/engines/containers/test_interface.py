"""What Covey makes of answers that a real engine gives once in a while."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from pathlib import Path

import pytest

from covey.apps.containers import ContainerSpec
from covey.engines.containers import logs
from covey.engines.containers.engine import ApiContainerEngine
from covey.errors import CoveyError
from tests.engines.containers.engine_stand_in import Reply, stand_in, told
from tests.waiting import until

LOGS = "GET /containers/c/logs"
STATE = "GET /containers/c/json"
CANARY = "canary-9a03-password"


def frame(line: str) -> bytes:
    data = line.encode()
    return b"\x01\0\0\0" + len(data).to_bytes(4, "big") + data


def container(status: str) -> Reply:
    state = {"Status": status, "ExitCode": 0}
    config = {"Labels": {}}
    return told({"Id": "c", "Name": "c", "Image": "i", "State": state, "Config": config})


async def output(engine: ApiContainerEngine) -> bytes:
    return b"".join([chunk.data async for chunk in engine.logs("c", follow=True)])


async def test_a_followed_log_ends_with_its_container_though_podman_waits_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "_FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(logs, "_SILENCE_S", 0.05)
    first = frame("2026-01-01T00:00:00Z one\n")
    second = frame("2026-01-01T00:00:00Z two\n")
    async with stand_in(home) as (there, engine):
        there.answer(LOGS, Reply(first, holds=True), Reply(first + second))
        there.answer(STATE, container("running"), container("running"), container("exited"))
        assert await output(engine) == b"one\ntwo\n"
        there.answer(LOGS, Reply(holds=True), Reply(first))
        assert await output(engine) == b"one\n"


async def test_a_followed_log_goes_on_where_docker_ended_its_answer_early(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "_FIRST_PAUSE_S", 0.01)
    one, two, three = (frame(f"2026-01-01T00:00:0{n}Z {n}\n") for n in (1, 2, 3))
    async with stand_in(home) as (there, engine):
        there.answer(LOGS, Reply(one), Reply(one + two), Reply(two + three))
        there.answer(STATE, container("running"), container("exited"))
        assert await output(engine) == b"1\n2\n3\n"


async def test_a_followed_log_of_what_is_removed_meanwhile_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "_FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(logs, "_SILENCE_S", 0.05)
    missing = Reply(b'{"message": "no such container"}', 404)
    async with stand_in(home) as (there, engine):
        there.answer(LOGS, Reply(frame("2026-01-01T00:00:00Z one\n"), holds=True), missing)
        assert await output(engine) == b"one\n"


async def test_a_followed_log_of_what_runs_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "_FIRST_LOOK_S", 0.001)
    monkeypatch.setattr(logs, "_SILENCE_S", 0.001)
    async with stand_in(home) as (there, engine):
        there.answer(LOGS, Reply(frame("2026-01-01T00:00:00Z one\n"), holds=True))
        there.answer(STATE, container("running"))
        reading = asyncio.create_task(output(engine))
        while len([one for one in there.requests if one.path.endswith("/json")]) < 4:
            assert not reading.done()
            await asyncio.sleep(0.001)
        reading.cancel()
        assert len([one for one in there.requests if one.path.endswith("/logs")]) == 1


async def test_a_registrys_password_is_told_to_the_engine_alone(
    home: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    async with stand_in(home) as (there, engine):
        refused = b'{"error": "unauthorized: authentication required"}\n'
        there.answer("POST /images/create", Reply(refused))
        said: list[str] = []
        with pytest.raises(CoveyError) as failure:
            await engine.pull("registry.example/a:1", said.append, username="u", password=CANARY)
        [request] = [one for one in there.requests if one.method == "POST"]
        account = json.loads(base64.urlsafe_b64decode(request.headers["x-registry-auth"]))
        assert account["password"] == CANARY
        assert account["serveraddress"] == "registry.example"
        assert CANARY not in repr(request.query)
    whole = " ".join([str(failure.value), repr(failure.value.details), *said, caplog.text])
    assert CANARY not in whole
    assert "authentication required" in whole


async def test_podman_without_an_init_program_is_told_of_once_and_does_without(
    home: Path, caplog: pytest.LogCaptureFixture
):
    missing = Reply(b'{"message": "container-init binary not found on the host: stat"}', 500)
    made = told({"Id": "made"})
    spec = ContainerSpec("web", "image", {})
    async with stand_in(home) as (there, engine):
        there.answer("POST /containers/create", missing, made, missing, made, made)
        assert await engine.create(spec) == "made"
        assert await engine.create(spec) == "made"
        assert (await engine.describe()).init is False
        warnings = [one.message for one in caplog.records if "catatonit" in one.message]
        assert len(warnings) == 1
        assert await engine.create(spec) == "made"
        assert (await engine.describe()).init is True


async def test_a_terminals_size_is_told_again_once_it_is_there(home: Path):
    async with stand_in(home) as (there, engine):
        there.answer("POST /containers/c/exec", told({"Id": "x"}))
        there.answer("POST /exec/x/start", Reply(b"$ ", holds=True))
        there.answer("POST /exec/x/resize", Reply())
        session = await engine.exec("c", ("sh",), tty=True, stdin=True)
        await session.resize(33, 99)

        def sizes() -> list[str]:
            return [one.query["h"] for one in there.requests if one.path.endswith("/resize")]

        await until(lambda: sizes() == ["33", "33"])
        await session.close()
