"""Killed, hung, out of space: what is kept is served again, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from covey.apps.routing.model import Answer, Pool, Proxied, Route, RouteRules, TlsMode
from covey.engines.caddy import engine, process, upstreams
from covey.errors import StorageError
from tests.engines.caddy.backends import backends
from tests.engines.caddy.killed_change import MOMENTS, at_home, to
from tests.engines.caddy.load import load
from tests.engines.caddy.proxies import Home, ask, proxy
from tests.ports import free_port

PLAIN = RouteRules(tls=TlsMode.OFF)


def saying(text: str, host: str) -> Route:
    return Route((host,), Answer(200, text), rules=PLAIN)


async def until_answered(port: int, host: str) -> bytes:
    async with asyncio.timeout(20):
        while True:
            try:
                async with asyncio.timeout(1):
                    return (await ask(port, host)).body
            except (OSError, ValueError, IndexError):
                await asyncio.sleep(0.02)


def test_a_node_without_routes_has_no_proxy_and_no_files_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spawn(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(process, "spawn", spawn)

    async def run() -> None:
        async with proxy() as (routes, home):
            assert list(home.root.iterdir()) == []
            assert routes.all() == {}
            assert home.pid() is None

    asyncio.run(run())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_daemon_killed_in_the_middle_of_a_change_leaves_what_was_kept(
    moment: str, tmp_path: Path
) -> None:
    async def run() -> None:
        http, https = free_port(), free_port()
        async with backends("one", "two") as (one, two):
            words = [str(tmp_path), moment, str(http), str(https), one.address, two.address]
            daemon = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.engines.caddy.killed_change", *words
            )
            assert await daemon.wait() == -signal.SIGKILL
            home = at_home(tmp_path, http, https)
            routes = home.service()
            try:
                await routes.start()
                if moment.startswith("first start"):
                    await routes.put("app/a", [to("a", "a.test")])
                expected = routes.addresses("a")
                assert expected in {(one.address,), (two.address,)}
                names = {(one.address,): b"one", (two.address,): b"two"}
                async with load(http, "a.test", clients=2) as clients:
                    await clients.after(8)
                assert set(clients.answers) == {names[expected].decode()}
                there = (await ask(http, "b.test")).status == 200
                assert (
                    there == bool(routes.of("route/b")) == (moment == "routes, after they are kept")
                )
                kept = set(routes._pools)
                assert kept == ({"a", "route/b/0"} if there else {"a"})
                files = {path.name for path in (tmp_path / "run" / "upstreams").iterdir()}
                assert files == ({"a.0", "route%2Fb%2F0.0"} if there else {"a.0"})
                pid = home.pid()
                assert [item.pid for item in process.find_all(home.paths.home)] == [pid]
            finally:
                await routes.end_proxy()
                await routes.stop()
                for stray in process.find_all(home.paths.home):
                    os.kill(stray.pid, signal.SIGKILL)

    asyncio.run(run())


def test_a_proxy_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CHECK_EVERY_S", 0.3)
    monkeypatch.setattr(engine, "_REPLACE_S", 0.1)

    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            first = home.pid()
            assert first is not None
            await _hang(first)
            assert await until_answered(home.http, "a.test") == b"a"
            assert home.pid() != first

    asyncio.run(run())


def test_a_proxy_that_hangs_when_the_daemon_starts_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_ADOPT_S", 0.3)
    monkeypatch.setattr(engine, "_REPLACE_S", 0.1)

    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            first = home.pid()
            assert first is not None
            await routes.stop()
            await _hang(first)
            later = home.service()
            await later.start()
            assert await until_answered(home.http, "a.test") == b"a"
            assert home.pid() != first
            await later.stop()

    asyncio.run(run())


def test_a_proxy_whose_runtime_directory_was_removed_is_found() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            first = home.pid()
            await routes.stop()
            subprocess.run(["rm", "-r", home.root / "run"], check=True)
            later = home.service()
            await later.start()
            assert later.problems == {}
            assert (await ask(home.http, "a.test")).body == b"a"
            assert process.started_at(first or 0) is None
            await later.stop()

    asyncio.run(run())


def test_a_proxy_that_cannot_load_its_plan_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_LONGEST_BACKOFF_S", 0.1)

    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            storage = home.options.storage
            storage.rename(home.root / "away")
            storage.write_text("in the way")
            await _kill(home)
            await _logged(home, "cannot be started", monkeypatch)
            storage.unlink()
            (home.root / "away").rename(storage)
            assert await until_answered(home.http, "a.test") == b"a"

    asyncio.run(run())


async def _hang(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(10):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            while (thread / "stat").read_text().rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(0.01)


async def _kill(home: Home) -> None:
    pid = home.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def _logged(home: Home, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return when the engine has told of an error."""
    said = asyncio.Event()

    def error(form: str, *_: object) -> None:
        if text in form:
            said.set()

    monkeypatch.setattr(engine._log, "error", error)
    async with asyncio.timeout(20):
        await said.wait()
    assert home.root.exists()


def test_a_program_that_cannot_be_started_changes_nothing() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            home.paths.output.mkdir(parents=True)
            with pytest.raises(StorageError, match="cannot be started"):
                await routes.put("app/a", [saying("a", "a.test")])
            assert routes.all() == {}
            assert home.local.values == {}
            home.paths.output.rmdir()
            await routes.put("app/a", [saying("a", "a.test")])
            assert (await ask(home.http, "a.test")).body == b"a"

    asyncio.run(run())


def test_a_socket_that_cannot_be_removed_is_told_and_the_daemon_starts() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [saying("a", "a.test")])
            await routes.end_proxy()
            await routes.stop()
            home.options.admin_socket.unlink(missing_ok=True)
            (home.options.admin_socket / "in the way").mkdir(parents=True)
            later = home.service()
            await later.start()
            assert "cannot be changed" in later.problems["the proxy"]
            await later.stop()

    asyncio.run(run())


def test_a_supervisor_outlives_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CHECK_EVERY_S", 0.1)

    def full(path: Path, content: bytes) -> None:
        raise StorageError("No space.")

    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.switch("web", ["127.0.0.1:1"])
            await routes.put("app/a", [saying("a", "a.test")])
            with monkeypatch.context() as patch:
                patch.setattr(upstreams, "replace_private_file", full)
                shutil.rmtree(home.options.upstreams)
                await _logged(home, "cannot be looked after", patch)
            await _kill(home)
            assert await until_answered(home.http, "a.test") == b"a"
            async with asyncio.timeout(10):
                while not (home.options.upstreams / "web.0").exists():
                    await asyncio.sleep(0.02)

    asyncio.run(run())


def test_a_full_disk_keeps_the_old_address(monkeypatch: pytest.MonkeyPatch) -> None:
    real = upstreams.replace_private_file

    def full(path: Path, content: bytes) -> None:
        if content.endswith(two_port):
            raise StorageError("No space.") from OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    two_port = b""

    async def run() -> None:
        nonlocal two_port
        async with backends("one", "two") as (one, two), proxy() as (routes, home):
            await routes.switch("web", [one.address])
            await routes.put(
                "app/web", [Route(("web.test",), Proxied((Pool("web"),)), rules=PLAIN)]
            )
            kept = dict(home.local.values)
            two_port = two.address.encode()
            monkeypatch.setattr(upstreams, "replace_private_file", full)
            async with load(home.http, "web.test", clients=2) as clients:
                for addresses in ([two.address], [one.address, two.address]):
                    with pytest.raises(StorageError):
                        await routes.switch("web", addresses)
                monkeypatch.undo()
                home.local.failing = StorageError("The disk is full.")
                with pytest.raises(StorageError):
                    await routes.switch("web", [two.address, one.address])
                home.local.failing = None
            assert routes.addresses("web") == (one.address,)
            assert home.local.values == kept
            assert (await ask(home.http, "web.test")).body == b"one"
            assert [path.name for path in home.options.upstreams.iterdir()] == ["web.0"]
            assert next(iter(clients.answers)) == "one"

    asyncio.run(run())


def test_its_sockets_and_keys_are_private_and_its_files_do_not_grow_in_number() -> None:
    async def run() -> None:
        async with proxy() as (routes, home):
            await routes.put("app/a", [Route(("a.localhost",), Answer(200, "a"))])
            for number in range(3):
                await routes.put("app/b", [saying(str(number), "b.test")])
            run_dir = home.root / "run"
            names = sorted(path.name.partition("-")[0] for path in run_dir.iterdir())
            assert names == ["admin.sock", "process.json", "ready", "upstreams"]
            for path in [run_dir, *home.root.rglob("*")]:
                assert path.stat().st_mode & 0o077 == 0, path
            assert (home.options.storage / "pki").is_dir()
            assert (
                "installing root certificate" not in (home.root / "log" / "caddy.log").read_text()
            )

    asyncio.run(run())
