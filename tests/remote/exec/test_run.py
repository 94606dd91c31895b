"""Commands whose caller stays: bytes, status, input, time limit, and the end of all they start."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from covey.engines import processes
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
)
from covey.operations.access import Caller, CallerKind, Limits, Role
from covey.remote.exec.model import (
    EndReason,
    ExecInput,
    Exited,
    Resize,
    Signal,
    Started,
    StdinEnd,
    Stdout,
)
from covey.remote.exec.ports import Size
from covey.remote.exec.registry import Commands
from covey.remote.exec.request import ExecRequest
from tests.remote.exec.machine import (
    CALLER,
    SECRET,
    alive,
    on_machine,
    pids_in,
    request,
    run,
    see,
    shell,
    silence,
    typed,
    until,
)

STUBBORN = "trap '' TERM HUP INT; echo $$ >> {file}; while :; do sleep 1000; done"


def test_outputs_come_apart_and_in_order_with_the_status(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, shell("echo out; echo err >&2; exit 3"))
        assert (seen.stdout, seen.stderr) == (b"out\n", b"err\n")
        assert seen.end == Exited(3, None, seen.end.duration_s)
        assert seen.check_offsets() == 8
        assert isinstance(seen.items[0], Started)
        assert service.list() == []

    on_machine(tmp_path, work)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", bytes(range(256)) * 17, b"\x1b[31mred\x1b[0m\x00\xff\xfe\r\n"]
)
def test_bytes_pass_unchanged_both_ways(tmp_path: Path, data: bytes):
    async def work(service: Commands) -> None:
        seen = await run(service, request("cat"), typed(data, StdinEnd()))
        assert seen.stdout == data

    on_machine(tmp_path, work)


def test_twenty_megabytes_through_cat_arrive_identical(tmp_path: Path):
    data = random.Random(1).randbytes(20 << 20)
    pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]

    async def work(service: Commands) -> None:
        seen = await run(service, request("cat"), typed(*pieces))
        assert hashlib.sha256(seen.stdout).digest() == hashlib.sha256(data).digest()
        assert seen.check_offsets() == len(data)
        assert seen.end is not None
        assert seen.end.status == 0

    on_machine(tmp_path, work)


def test_input_that_nobody_reads_is_dropped_when_the_command_ends(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, request("true"), typed(*[b"x" * 65_536] * 64))
        assert seen.end is not None
        assert seen.end.status == 0

    on_machine(tmp_path, work)


def test_a_signal_that_ends_it_is_named(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, shell("kill -SEGV $$"))
        assert seen.end is not None
        assert (seen.end.status, seen.end.signal) == (None, "SIGSEGV")

    on_machine(tmp_path, work)


def test_a_signal_reaches_the_whole_group(tmp_path: Path):
    async def work(service: Commands) -> None:
        async def items() -> AsyncIterator[ExecInput]:
            await until((tmp_path / "ready").exists)
            yield Signal("INT")
            await asyncio.Event().wait()

        line = f"trap 'echo caught; exit 7' INT; touch {tmp_path}/ready; sleep 1000 & wait"
        seen = await run(service, shell(line), items())
        assert seen.stdout == b"caught\n"
        assert seen.end is not None
        assert seen.end.status == 7

    on_machine(tmp_path, work)


def test_an_unknown_signal_is_refused_and_ends_it(tmp_path: Path):
    async def work(service: Commands) -> None:
        with pytest.raises(InvalidRequestError):
            await run(service, request("sleep", "1000"), typed(Signal("NOSUCH")))

    on_machine(tmp_path, work)


def test_more_words_than_the_line_to_the_keeper_holds(tmp_path: Path):
    async def work(service: Commands) -> None:
        words = ["word" * 20_000] * 12
        seen = await run(service, request("printf", "%s", *words))
        assert seen.stdout == "".join(words).encode()

    on_machine(tmp_path, work)


def test_words_are_passed_as_they_are(tmp_path: Path):
    words = ["a b", "$HOME", "*", "", "-n", "ü\n", "';--"]

    async def work(service: Commands) -> None:
        seen = await run(service, request("printf", "%s\\0", *words))
        assert seen.stdout.decode().split("\0")[:-1] == words

    on_machine(tmp_path, work)


@pytest.mark.parametrize(
    "wanted, kind",
    [
        (request("no-such-program-anywhere"), NotFoundError),
        (request("/etc/passwd"), RefusedError),
        (request("true", cwd="/no/such/directory"), NotFoundError),
        (request("true", user="nobody-of-that-name"), NotFoundError),
        (request(), InvalidRequestError),
        (request("a\0b"), InvalidRequestError),
        (request("true", env=("1A=x",)), InvalidRequestError),
        (request("true", env=("MISSING",)), NotFoundError),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, wanted: ExecRequest, kind: type[CoveyError]):
    async def work(service: Commands) -> None:
        with pytest.raises(kind):
            await run(service, wanted)
        assert service.list() == []

    on_machine(tmp_path, work)


def test_directory_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COVEY_PASSWORD", "must not be passed on")

    async def work(service: Commands) -> None:
        wanted = request("env", cwd=str(tmp_path), env=("A=1=2", "TOKEN", "EMPTY="))
        lines = (await run(service, wanted)).stdout.decode().splitlines()
        assert {"A=1=2", f"TOKEN={SECRET}", "EMPTY="} <= set(lines)
        assert not [line for line in lines if line.startswith("COVEY")]
        assert any(line.startswith("HOME=") for line in lines)
        where = await run(service, request("pwd", "-P", cwd=str(tmp_path)))
        assert where.stdout.decode().strip() == str(tmp_path.resolve())

    on_machine(tmp_path, work)


def test_no_descriptor_of_ours_is_passed_on(tmp_path: Path):
    async def work(service: Commands) -> None:
        plain = await run(service, request("ls", "/proc/self/fd"))
        assert plain.stdout.split() == [b"0", b"1", b"2", b"3"]
        terminal = await run(service, request("ls", "/proc/self/fd", size=Size(24, 80)))
        assert terminal.stdout.split() == [b"0", b"1", b"2", b"3"]

    on_machine(tmp_path, work)


def test_signals_are_as_a_program_expects_them(tmp_path: Path):
    async def work(service: Commands) -> None:
        for size in (None, Size(24, 80)):
            seen = await run(
                service, request("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", size=size)
            )
            values = [int(line.split()[1], 16) for line in seen.stdout.splitlines()]
            # The C library keeps signals 32 and 33 for itself.
            assert [value & ~(3 << 31) for value in values] == [0, 0]

    on_machine(tmp_path, work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_another_user_has_their_own_groups_and_home(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, shell("id -un; id -G; echo $HOME; umask", user="nobody", cwd="/"))
        if seen.end is not None and seen.end.status != 0:
            # Debian's nobody has nologin for a shell.
            seen = await run(service, request("id", "-un", user="nobody", cwd="/"))
            assert seen.stdout == b"nobody\n"
        groups = await run(service, request("id", "-G", user="nobody", cwd="/"))
        assert b"0" not in groups.stdout.split()
        home = await run(service, request("printenv", "HOME", user="nobody", cwd="/"))
        assert home.stdout == b"/nonexistent\n"

    on_machine(tmp_path, work)


def test_the_policy_decides_whose_commands_they_are(tmp_path: Path):
    bound = Caller(
        CallerKind.NODE, "frigg", Role.ADMIN, "x", limits=Limits(as_user="nobody"), via="frigg"
    )

    async def work(service: Commands) -> None:
        with pytest.raises(RefusedError):
            await see(service.run(request("id", user="root"), bound, typed()))
        if os.geteuid() == 0:
            seen = await see(service.run(request("id", "-un", cwd="/"), bound, typed()))
            assert seen.stdout == b"nobody\n"

    on_machine(tmp_path, work)


def test_a_terminal_with_its_size_and_changes_of_it(tmp_path: Path):
    program = tmp_path / "sizes.py"
    program.write_text(
        textwrap.dedent("""
            import os, signal, sys
            def show(*_):
                # Not print: the signal may come in the middle of one.
                seen = (*os.get_terminal_size(), os.isatty(0), os.ttyname(1) != "")
                os.write(1, (" ".join(map(str, seen)) + "\\n").encode())
            signal.signal(signal.SIGWINCH, lambda *_: (show(), sys.exit(5)))
            show()
            while True:
                signal.pause()
        """)
    )

    async def work(service: Commands) -> None:
        told = asyncio.Event()

        async def items() -> AsyncIterator[ExecInput]:
            await told.wait()
            yield Resize(50, 132)
            await asyncio.Event().wait()

        wanted = request(sys.executable, str(program), size=Size(30, 100))
        output = b""
        async for item in service.run(wanted, CALLER, items()):
            if isinstance(item, Stdout):
                output += item.data
                told.set()
            if isinstance(item, Exited):
                assert item.status == 5
        assert output.split(b"\r\n")[:2] == [b"100 30 True True", b"132 50 True True"]

    on_machine(tmp_path, work)


def test_the_end_of_input_on_a_terminal(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, request("cat", size=Size(24, 80)), typed(b"hello\n", StdinEnd()))
        assert seen.stdout == b"hello\r\nhello\r\n"
        assert seen.end is not None
        assert seen.end.status == 0

    on_machine(tmp_path, work)


def test_a_login_shell(tmp_path: Path):
    async def work(service: Commands) -> None:
        wanted = request(shell=True, size=Size(24, 80))
        seen = await run(service, wanted, typed(b"echo name=$0\n", b"exit 4\n"))
        assert b"name=-" in seen.stdout
        assert seen.end is not None
        assert seen.end.status == 4

    on_machine(tmp_path, work)


def test_endless_output_ends_at_its_time(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, request("yes", timeout_s=0.3), silence())
        assert seen.end is not None
        assert (seen.end.signal, seen.end.reason) == ("SIGTERM", EndReason.TIMED_OUT)
        assert seen.stdout[:6] == b"y\ny\ny\n"

    on_machine(tmp_path, work)


def test_who_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path):
    async def work(service: Commands) -> None:
        wanted = shell("trap '' TERM; sleep 1000 & sleep 1000", timeout_s=0.1)
        seen = await run(service, wanted, silence())
        assert seen.end is not None
        assert (seen.end.signal, seen.end.reason) == ("SIGKILL", EndReason.TIMED_OUT)

    on_machine(tmp_path, work)


def escapees(file: Path) -> str:
    """Start a stubborn child, one in a session of its own, and one that was forked twice."""
    stubborn = STUBBORN.format(file=file)
    return (
        f'sh -c "{stubborn}" & setsid sh -c "{stubborn}" & '
        f'(setsid env -i sh -c "{stubborn}" >/dev/null 2>&1 </dev/null &) ; '
        f"{stubborn}"
    ).replace("$$ >>", "\\$\\$ >>", 3)


@pytest.mark.parametrize("way", ["leave", "kill", "timeout"])
def test_nothing_of_the_tree_is_left(tmp_path: Path, way: str):
    file = tmp_path / "pids"
    wanted = shell(escapees(file), timeout_s=1.0 if way == "timeout" else None)

    async def work(service: Commands) -> None:
        output = service.run(wanted, CALLER, silence())
        started = await anext(output)
        assert isinstance(started, Started)
        await until(lambda: len(pids_in(file, 4)) == 4, "the tree")
        pids = pids_in(file, 4)
        assert started.pid in pids
        if way == "leave":
            await output.aclose()
        else:
            if way == "kill":
                await service.kill(started.id, None)
            end = [item async for item in output][-1]
            assert isinstance(end, Exited)
            assert end.reason is (EndReason.KILLED if way == "kill" else EndReason.TIMED_OUT)
        await until(lambda: not any(alive(pid) for pid in pids), "the end of the tree")

    on_machine(tmp_path, work)


def test_what_a_command_leaves_running_stays_and_does_not_hold_it_up(tmp_path: Path):
    file = tmp_path / "pid"

    async def work(service: Commands) -> None:
        begin = time.monotonic()
        line = f"(setsid sleep 1000 & echo $! > {file}); echo done"
        seen = await run(service, shell(line))
        assert seen.stdout == b"done\n"
        assert time.monotonic() - begin < 30
        [pid] = pids_in(file, 1)
        try:
            assert alive(pid)
        finally:
            os.kill(pid, 9)

    on_machine(tmp_path, work)


def test_late_output_of_a_child_still_comes(tmp_path: Path):
    async def work(service: Commands) -> None:
        seen = await run(service, shell("(sleep 0.2; echo late) & echo now"))
        assert seen.stdout == b"now\nlate\n"

    on_machine(tmp_path, work)


def test_all_that_a_command_wrote_comes_however_late_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processes, "_LINGER_S", 0.0)

    async def work(service: Commands) -> None:
        wanted = shell("sleep 1000 & head -c 60000 /dev/zero")
        output = service.run(wanted, CALLER, silence())
        started = await anext(output)
        assert isinstance(started, Started)
        await until(lambda: not alive(started.pid), "its end")
        total = 0
        async for item in output:
            if isinstance(item, Stdout):
                total += len(item.data)
        assert total == 60_000

    on_machine(tmp_path, work)


def test_a_slow_reader_costs_no_memory(tmp_path: Path):
    async def work(service: Commands) -> None:
        counter = tmp_path / "count"
        line = (
            "import sys\nn = 0\nwhile True:\n"
            "    sys.stdout.buffer.write(b'x' * 65536); n += 65536\n"
            f"    open({str(counter)!r}, 'w').write(str(n))\n"
        )
        output = service.run(request(sys.executable, "-c", line), CALLER, silence())
        await anext(output)
        await anext(output)
        before = ""
        while before == "" or before != counter.read_text():
            before = counter.read_text() if counter.exists() else ""
            await asyncio.sleep(0.3)
        assert int(before) < 4 << 20
        await output.aclose()

    on_machine(tmp_path, work)


def test_both_outputs_have_their_turn(tmp_path: Path):
    async def work(service: Commands) -> None:
        output = service.run(shell("yes & yes >&2"), CALLER, silence())
        kinds = set()
        async for item in output:
            kinds.add(type(item).__name__)
            if {"Stdout", "Stderr"} <= kinds:
                break
        await output.aclose()

    on_machine(tmp_path, work)


def test_no_zombie_and_no_keeper_is_left(tmp_path: Path):
    async def work(service: Commands) -> None:
        for _ in range(5):
            await run(service, shell("(true &) ; true & true"))

    on_machine(tmp_path, work)
    listing = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "stat=,args="],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "zygote" not in listing


def test_a_daemon_that_is_killed_takes_its_commands_with_it(tmp_path: Path):
    file = tmp_path / "pids"
    program = textwrap.dedent(f"""
        import asyncio, os, signal, sys
        from pathlib import Path
        from tests.remote.exec.machine import CALLER, commands, shell, silence, until, pids_in
        async def main():
            service = commands(Path({str(tmp_path)!r}))
            output = service.run(shell(sys.argv[1]), CALLER, silence())
            await anext(output)
            await until(lambda: len(pids_in(Path({str(file)!r}), 4)) == 4)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, escapees(file)], cwd=Path(__file__).parents[3], check=False
    )
    assert done.returncode == -9
    pids = pids_in(file, 4)
    assert len(pids) == 4

    async def gone() -> None:
        await until(lambda: not any(alive(pid) for pid in pids), "the end of the tree")

    asyncio.run(gone())


def test_keepers_that_are_killed_are_replaced(tmp_path: Path):
    async def work(service: Commands) -> None:
        await run(service, request("true"))
        parent = service._processes._keepers._parent
        parent.kill()
        parent.wait()
        seen = await run(service, request("echo", "again"))
        assert seen.stdout == b"again\n"

    on_machine(tmp_path, work)
