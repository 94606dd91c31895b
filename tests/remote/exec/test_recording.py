"""Recordings in asciicast v2: they play, they mask, and they never cost the command."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import DamagedError, NotFoundError
from covey.remote.exec.model import ExecInput, Resize, Stdin, StdinEnd, Stdout
from covey.remote.exec.ports import Size
from covey.remote.exec.recording import Recorder
from covey.remote.exec.recordings import RecordingEvent, RecordingHeader, Recordings
from covey.remote.exec.records import ExecFiles
from covey.remote.exec.registry import Commands, Recording
from covey.remote.exec.spool import STDERR, STDOUT
from tests.remote.exec.machine import (
    CALLER,
    SECRET,
    on_machine,
    request,
    run,
    see,
    shell,
    typed,
    until,
)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def output(events: list[Any]) -> str:
    return "".join(data for _, kind, data in events if kind == "o")


def test_a_terminal_is_recorded_by_policy_without_what_was_typed(tmp_path: Path):
    async def work(service: Commands) -> None:
        silent = asyncio.Event()

        async def items() -> AsyncIterator[ExecInput]:
            await silent.wait()
            yield Resize(21, 71)
            yield Stdin(b"typed-password\n")

        line = "stty -echo; echo silent; read x; echo $TOKEN; exit 3"
        wanted = shell(line, size=Size(20, 70), env=("TOKEN",))
        seen = b""
        async for item in service.run(wanted, CALLER, items()):
            if isinstance(item, Stdout):
                seen += item.data
                silent.set()
        assert SECRET.encode() in seen
        plain = await run(service, request("echo", "unrecorded"))
        assert plain.end is not None

    on_machine(tmp_path, work, record=Recording.TERMINALS)
    [path] = (tmp_path / "recordings").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    header, *events = lines(path)
    assert (header["version"], header["width"], header["height"]) == (2, 70, 20)
    assert "********" in output(events)
    assert SECRET not in path.read_text()
    assert "typed-password" not in path.read_text()
    assert [event[1:] for event in events if event[1] != "o"] == [["r", "71x21"], ["m", "exit 3"]]
    times = [event[0] for event in events]
    assert times == sorted(times)


def test_a_detached_command_is_recorded_by_its_keeper(tmp_path: Path):
    async def work(service: Commands) -> None:
        wanted = shell(f"echo {SECRET}; printf 'a\\nb'", record=True, env=("OWN=own-secret-value",))
        command = await service.start(wanted, CALLER)
        seen = await see(service.attach(command.id, 0, typed()))
        assert seen.stdout == f"{SECRET}\na\nb".encode()
        [listed] = service.list()
        assert listed.recorded

    on_machine(tmp_path, work)
    [path] = (tmp_path / "recordings").iterdir()
    header, *events = lines(path)
    assert SECRET not in path.read_text()
    assert header["title"] == "echo ********; printf 'a\\nb'"
    assert output(events) == "********\r\na\r\nb"


def test_recordings_are_listed_and_played(tmp_path: Path):
    async def work(service: Commands) -> None:
        await run(service, request("cat", record=True), typed("héllo".encode(), StdinEnd()))
        await run(service, request("false", record=True))

    on_machine(tmp_path, work)
    recordings = Recordings(ExecFiles(tmp_path / "exec", tmp_path / "recordings", 14))
    listed = recordings.list()
    assert {item.title for item in listed} == {"cat", "false"}
    wanted = next(item for item in listed if item.title == "cat")

    async def play(identifier: str) -> list[RecordingHeader | RecordingEvent]:
        return [item async for item in recordings.play(identifier)]

    header, first, *_, last = asyncio.run(play(wanted.id))
    assert isinstance(header, RecordingHeader)
    assert isinstance(first, RecordingEvent)
    assert (header.title, header.rows, header.columns) == ("cat", 24, 80)
    assert (first.kind, first.data) == ("o", "héllo")
    assert isinstance(last, RecordingEvent)
    assert (last.kind, last.data) == ("m", "exit 0")
    with pytest.raises(NotFoundError):
        asyncio.run(play("0" * 12))
    (tmp_path / "recordings" / ("1" * 12 + ".cast")).write_bytes(b"\xff\n")
    with pytest.raises(DamagedError):
        asyncio.run(play("1" * 12))
    assert len(recordings.list()) == 2


def test_old_recordings_go(tmp_path: Path):
    async def work(service: Commands) -> None:
        await run(service, request("true", record=True))
        [path] = (tmp_path / "recordings").iterdir()
        service.forget_old()
        assert path.exists()
        os.utime(path, (1, 1))
        service.forget_old()
        assert not path.exists()

    on_machine(tmp_path, work)


def test_without_a_program_there_is_no_recording(tmp_path: Path):
    async def work(service: Commands) -> None:
        with pytest.raises(NotFoundError):
            await run(service, request("no-such-program-anywhere", record=True))
        assert list((tmp_path / "recordings").iterdir()) == []

    on_machine(tmp_path, work)


def test_a_caller_who_leaves_ends_the_recording(tmp_path: Path):
    async def work(service: Commands) -> None:
        stream = service.run(shell("echo begun; sleep 1000", record=True), CALLER, typed())
        await anext(stream)
        await anext(stream)
        await stream.aclose()
        [path] = (tmp_path / "recordings").iterdir()
        await until(lambda: "the caller left" in path.read_text())

    on_machine(tmp_path, work)


def test_it_ends_at_its_limit(tmp_path: Path):
    path = tmp_path / "a.cast"
    recorder = Recorder(str(path), "t", (24, 80), [], limit=5000)
    for _ in range(100):
        recorder.output(STDOUT, b"x" * 200)
    recorder.finish("exit 0")
    assert path.stat().st_size < 5200
    assert lines(path)[-1][2] == "the recording ends here: it is too long"


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_any_bytes_in_any_chunks_make_one_text(data: bytes, cuts: list[int]):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.cast"
        recorder = Recorder(str(path), "t", (24, 80), [])
        edges = [0, *sorted(cuts), len(data)]
        for start, end in pairwise(edges):
            recorder.output(STDOUT, data[start:end])
            recorder.output(STDERR, b"")
        recorder.finish("exit 0")
        assert output(lines(path)[1:]) == data[: max(edges)].decode(errors="replace")
