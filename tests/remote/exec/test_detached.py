"""Detached commands: they keep their output, outlive the daemon, and are followed by offset."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from covey.engines.accounts import SystemAccounts
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.operations.access import CallerKind, Limits
from covey.operations.context import Context, Services
from covey.remote import exec_operations
from covey.remote.exec.model import (
    CommandState,
    EndReason,
    Resize,
    Signal,
    Started,
    Stderr,
    StdinEnd,
    Stdout,
)
from covey.remote.exec.ports import Size
from covey.remote.exec.registry import Commands
from tests.remote.exec.machine import (
    CALLER,
    alive,
    commands,
    on_machine,
    pids_in,
    request,
    see,
    shell,
    silence,
    typed,
    until,
)


def test_it_is_started_followed_and_listed(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(shell("echo out; echo err >&2; exit 3"), CALLER)
        assert (command.state, command.detached) == (CommandState.RUNNING, True)
        seen = await see(service.attach(command.id, 0, typed()))
        assert sorted([seen.stdout, seen.stderr]) == [b"err\n", b"out\n"]
        assert seen.check_offsets() == 8
        assert seen.end is not None
        assert (seen.end.status, seen.end.reason) == (3, EndReason.EXITED)
        assert seen.end.duration_s > 0
        [listed] = service.list()
        assert (listed.state, listed.status, listed.output) == (CommandState.EXITED, 3, 8)
        assert listed.ended is not None
        with pytest.raises(ConflictError):
            await service.kill(command.id, None)
        await service.remove(command.id)
        assert service.list() == []
        assert list((tmp_path / "exec").iterdir()) == []

    on_machine(tmp_path, work)


def test_output_and_records_are_private_and_hold_no_variable(tmp_path: Path):
    async def work(service: Commands) -> None:
        wanted = request("true", env=("TOKEN", "OWN=value-of-own"))
        command = await service.start(wanted, CALLER)
        await see(service.attach(command.id, 0, typed()))
        directory = tmp_path / "exec" / command.id
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for file in directory.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert b"value-of-own" not in file.read_bytes()

    on_machine(tmp_path, work)


def test_one_comes_back_at_any_offset_and_nothing_is_lost_or_doubled(tmp_path: Path):
    data = random.Random(2).randbytes(5 << 20)
    source = tmp_path / "source"
    source.write_bytes(data)
    chance = random.Random(3)

    async def work(service: Commands) -> None:
        line = f"cat {source}; sleep 0.05; cat {source} >&2"
        command = await service.start(shell(line), CALLER)
        out, err, at, visits = b"", b"", 0, 0
        ended = False
        while not ended:
            visits += 1
            stream = service.attach(command.id, at, silence())
            leave_after = chance.randrange(1, 40)
            async for item in stream:
                match item:
                    case Stdout(offset, piece):
                        assert offset == at
                        out += piece
                    case Stderr(offset, piece):
                        assert offset == at
                        err += piece
                    case _:
                        ended = type(item).__name__ == "Exited"
                        continue
                at += len(piece)
                leave_after -= 1
                if not leave_after:
                    break
            await stream.aclose()
        assert visits > 3
        for found in (out, err):
            assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()

    on_machine(tmp_path, work)


def test_logs_end_where_the_output_ends_now(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(shell("echo one; sleep 1000"), CALLER)
        await until(lambda: service.list()[0].output == 4)
        seen = await see(service.logs(command.id, 0, follow=False))
        assert (seen.stdout, seen.end) == (b"one\n", None)
        assert (await see(service.logs(command.id, 2, follow=False))).stdout == b"e\n"
        with pytest.raises(InvalidRequestError):
            await see(service.logs(command.id, 5, follow=False))
        with pytest.raises(NotFoundError):
            await see(service.logs("0" * 12, 0, follow=False))
        await service.kill(command.id, None)
        seen = await see(service.logs(command.id, 0, follow=True))
        assert seen.end is not None
        assert (seen.end.signal, seen.end.reason) == ("SIGTERM", EndReason.KILLED)

    on_machine(tmp_path, work)


def test_input_signals_and_sizes_reach_it(tmp_path: Path):
    async def work(service: Commands) -> None:
        copy = await service.start(request("cat"), CALLER, keep_input_open=True)
        data = random.Random(4).randbytes(1 << 20)
        seen = await see(service.attach(copy.id, 0, typed(data, StdinEnd())))
        assert seen.stdout == data

        line = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done"
        screen = await service.start(shell(line, size=Size(30, 90)), CALLER)
        await until(lambda: service.list()[0].output >= 7)
        seen = await see(service.attach(screen.id, 0, typed(Resize(40, 120))))
        assert seen.stdout == b"ready\r\n40 120\r\n"

        sleeper = await service.start(request("sleep", "1000"), CALLER)
        seen = await see(service.attach(sleeper.id, 0, typed(Signal("USR1"))))
        assert seen.end is not None
        assert (seen.end.signal, seen.end.reason) == ("SIGUSR1", EndReason.EXITED)

    on_machine(tmp_path, work)


def test_without_input_it_reads_nothing(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(request("cat"), CALLER)
        seen = await see(service.attach(command.id, 0, typed(b"ignored", StdinEnd())))
        assert (seen.stdout, seen.end is not None) == (b"", True)

    on_machine(tmp_path, work)


def test_it_ends_at_its_time_with_its_whole_tree(tmp_path: Path):
    file = tmp_path / "pids"

    async def work(service: Commands) -> None:
        line = (
            f"trap '' TERM; echo $$ > {file}; (setsid env -i sh -c 'trap \"\" TERM; "
            f"echo $$ >> {file}; sleep 1000' &) ; sleep 1000"
        )
        command = await service.start(shell(line, timeout_s=0.5), CALLER)
        await until(lambda: len(pids_in(file, 2)) == 2)
        seen = await see(service.attach(command.id, 0, typed()))
        assert seen.end is not None
        assert (seen.end.signal, seen.end.reason) == ("SIGKILL", EndReason.TIMED_OUT)
        assert not any(alive(pid) for pid in pids_in(file, 2))

    on_machine(tmp_path, work)


def test_nobody_follows_and_it_runs_on_within_its_limit(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(shell("head -c 20000000 /dev/zero; echo end"), CALLER)
        await until(lambda: service.list()[0].state is CommandState.EXITED)
        directory = tmp_path / "exec" / command.id
        assert sum(item.stat().st_size for item in directory.iterdir()) < 2 << 20
        seen = await see(service.logs(command.id, 0, follow=False))
        assert seen.check_offsets() == 20_000_004
        assert seen.skipped > 15_000_000
        assert seen.stdout.endswith(b"\x00end\n")

    on_machine(tmp_path, work, spool_bytes=1 << 20)


def test_a_slow_follower_holds_it_up_and_loses_nothing(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(shell("sleep 0.3; head -c 6000000 /dev/zero"), CALLER)
        stream = service.attach(command.id, 0, silence())
        await anext(stream)
        first = await anext(stream)
        assert isinstance(first, Stdout)
        last = -1
        while last != service.list()[0].output:
            last = service.list()[0].output
            await asyncio.sleep(0.2)
        assert last < 2 << 20
        total = len(first.data)
        async for item in stream:
            if isinstance(item, Stdout):
                assert item.offset == total
                total += len(item.data)
        assert total == 6_000_000

    on_machine(tmp_path, work, spool_bytes=1 << 20)


def test_it_outlives_the_daemon_and_is_found_again(tmp_path: Path):
    flag = tmp_path / "flag"

    async def first() -> str:
        service = commands(tmp_path)
        await service.open()
        line = f"echo before; while [ ! -e {flag} ]; do sleep 0.02; done; echo after; exit 6"
        command = await service.start(shell(line), CALLER)
        await until(lambda: service.list()[0].output == 7)
        service.close()
        return command.id

    identifier = asyncio.run(first())

    async def second(service: Commands) -> None:
        [listed] = service.list()
        assert (listed.id, listed.state, listed.output) == (identifier, CommandState.RUNNING, 7)
        assert listed.pid is not None
        assert alive(listed.pid)
        stream = service.attach(identifier, 7, silence())
        await anext(stream)
        flag.touch()
        rest = [item async for item in stream]
        assert isinstance(rest[0], Stdout)
        assert (rest[0].offset, rest[0].data) == (7, b"after\n")
        assert getattr(rest[-1], "status", None) == 6

    on_machine(tmp_path, second)

    async def third(service: Commands) -> None:
        [listed] = service.list()
        assert (listed.state, listed.status, listed.output) == (CommandState.EXITED, 6, 13)
        seen = await see(service.logs(identifier, 0, follow=True))
        assert seen.stdout == b"before\nafter\n"

    on_machine(tmp_path, third)


def test_it_outlives_a_daemon_that_is_killed(tmp_path: Path):
    program = textwrap.dedent(f"""
        import asyncio, os, signal
        from pathlib import Path
        from tests.remote.exec.machine import CALLER, commands, shell
        async def main():
            service = commands(Path({str(tmp_path)!r}))
            await service.open()
            line = "echo alive; while [ ! -e {tmp_path}/flag ]; do sleep 0.02; done; exit 2"
            await service.start(shell(line), CALLER)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """)
    top = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", program], cwd=top, check=False).returncode == -9

    async def work(service: Commands) -> None:
        [listed] = service.list()
        assert listed.state is CommandState.RUNNING
        (tmp_path / "flag").touch()
        seen = await see(service.attach(listed.id, 0, typed()))
        assert seen.stdout == b"alive\n"
        assert seen.end is not None
        assert seen.end.status == 2

    on_machine(tmp_path, work)


def test_a_keeper_that_is_killed_leaves_an_honest_record(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(request("sleep", "1000"), CALLER)
        assert command.pid is not None
        os.kill(parent_of(command.pid), signal.SIGKILL)
        seen = await see(service.attach(command.id, 0, typed()))
        assert seen.end is not None
        assert (seen.end.status, seen.end.signal, seen.end.reason) == (None, None, EndReason.LOST)
        assert service.list()[0].state is CommandState.LOST
        os.kill(command.pid, signal.SIGKILL)

    on_machine(tmp_path, work)

    async def later(service: Commands) -> None:
        assert service.list()[0].state is CommandState.LOST

    on_machine(tmp_path, later)


def test_a_keeper_that_is_told_to_end_ends_the_command_and_says_so(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(shell("echo up; sleep 1000 & sleep 1000"), CALLER)
        await until(lambda: service.list()[0].output == 3)
        os.kill(parent_of(command.pid), signal.SIGTERM)
        seen = await see(service.attach(command.id, 0, typed()))
        assert seen.end is not None
        assert (seen.end.signal, seen.end.reason) == ("SIGTERM", EndReason.KILLED)

    on_machine(tmp_path, work)


def parent_of(pid: int | None) -> int:
    assert pid is not None
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_old_output_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def work(service: Commands) -> None:
        command = await service.start(request("true"), CALLER)
        await see(service.attach(command.id, 0, typed()))
        service.forget_old()
        assert len(service.list()) == 1
        monkeypatch.setattr(service._files, "is_old", lambda _ended: True)
        service.forget_old()
        assert service.list() == []
        assert list((tmp_path / "exec").iterdir()) == []

    on_machine(tmp_path, work)


def test_what_cannot_start_leaves_no_record(tmp_path: Path):
    async def work(service: Commands) -> None:
        with pytest.raises(NotFoundError):
            await service.start(request("no-such-program-anywhere"), CALLER)
        assert service.list() == []
        assert list((tmp_path / "exec").iterdir()) == []

    on_machine(tmp_path, work)


def test_a_command_of_a_caller_cannot_be_attached_to_but_killed(tmp_path: Path):
    async def work(service: Commands) -> None:
        stream = service.run(request("sleep", "1000"), CALLER, silence())
        started = await anext(stream)
        [listed] = service.list()
        assert (listed.detached, listed.state) == (False, CommandState.RUNNING)
        with pytest.raises(ConflictError):
            await see(service.attach(listed.id, 0, typed()))
        assert getattr(started, "id", None) == listed.id
        await service.kill(listed.id, "KILL")
        end = [item async for item in stream][-1]
        assert getattr(end, "signal", None) == "SIGKILL"

    on_machine(tmp_path, work)


def test_who_is_bound_to_a_user_finds_no_command_of_another(tmp_path: Path):
    async def work(service: Commands) -> None:
        own = SystemAccounts().own().name
        line = "read word; echo got $word"
        detached = await service.start(shell(line), CALLER, keep_input_open=True)
        attached = service.run(request("sleep", "60"), CALLER, silence())
        started = await anext(attached)
        assert isinstance(started, Started)
        assert {item.id for item in service.list(own)} == {detached.id, started.id}
        assert service.list("guest") == []
        for identifier in (detached.id, started.id):
            with pytest.raises(NotFoundError):
                await service.kill(identifier, "KILL", "guest")
            with pytest.raises(NotFoundError):
                await service.remove(identifier, "guest")
            with pytest.raises(NotFoundError):
                await see(service.attach(identifier, 0, typed(b"in\n"), "guest"))
            with pytest.raises(NotFoundError):
                await see(service.logs(identifier, 0, follow=True, as_user="guest"))
        assert (await service.kill(started.id, None, own)).id == started.id
        await attached.aclose()
        seen = await see(service.attach(detached.id, 0, typed(b"in\n"), own))
        assert seen.stdout == b"got in\n"

    on_machine(tmp_path, work)


def test_every_operation_on_commands_heeds_the_user_that_policy_binds_to(tmp_path: Path):
    async def work(service: Commands) -> None:
        command = await service.start(request("sleep", "60"), CALLER)
        services = Services()
        services.provide(Commands, service)
        guest = replace(CALLER, kind=CallerKind.NODE, limits=Limits(as_user="guest"))
        context = Context(guest, services, "0" * 16)
        assert await exec_operations.list_commands(context) == []
        calls = (
            lambda: exec_operations.kill(context, command.id),
            lambda: exec_operations.remove(context, command.id),
            lambda: see(exec_operations.attach(context, command.id, input=typed())),
            lambda: see(exec_operations.logs(context, command.id)),
        )
        for call in calls:
            with pytest.raises(NotFoundError):
                await call()

    on_machine(tmp_path, work)
