"""What breaks a fetch off: cancellation, servers that stall, full disks, two at one time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from covey.apps.sources import GitSource
from covey.engines.git import library
from covey.engines.git.fetcher import GitLimits
from covey.engines.trees import TreeLimits
from covey.errors import TooLargeError, UnreachableError
from tests.engines.git.conftest import Fetching
from tests.engines.git.servers import HttpGit, Repository, make_repository


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Let clients connect, and never accept or say anything: the backlog holds them."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_a_cancelled_fetch_from_a_stalled_server_ends_soon(fetching: Fetching, scheme: str) -> None:
    async def cancelled(port: int) -> float:
        source = GitSource(f"{scheme}://127.0.0.1:{port}/shop")
        task = asyncio.ensure_future(
            fetching.fetcher.fetch(source, fetching.into, fetching.lines.append)
        )
        await asyncio.sleep(0.1)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    with silent_server() as port:
        assert asyncio.run(cancelled(port)) < 10
    assert not fetching.into.exists()


@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_a_server_that_stalls_is_given_up(fetching: Fetching, scheme: str) -> None:
    settings = library.pygit2.settings
    before = settings.server_timeout, settings.server_connect_timeout
    settings.server_timeout = settings.server_connect_timeout = 300
    try:
        with silent_server() as port, pytest.raises(UnreachableError):
            fetching.resolve(GitSource(f"{scheme}://127.0.0.1:{port}/shop"))
    finally:
        settings.server_timeout, settings.server_connect_timeout = before


def test_a_fetch_that_is_cancelled_while_it_receives_can_be_repeated(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    repository.commit({f"f{number}": os.urandom(50_000) for number in range(40)})
    pack = threading.Event()
    go_on = threading.Event()

    def slowly(request: BaseHTTPRequestHandler) -> bool:
        if request.command == "POST":
            pack.set()
            go_on.wait(20)
        return False

    https.extra = slowly

    async def cancelled() -> None:
        source = GitSource(f"{https.base}/shop")
        task = asyncio.ensure_future(
            fetching.fetcher.fetch(source, fetching.into, fetching.lines.append)
        )
        await asyncio.to_thread(pack.wait, 20)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not list(fetching.into.glob("*"))
    https.extra = None
    fetching.fetch(GitSource(f"{https.base}/shop"))
    assert len(list(fetching.into.iterdir())) == 40
    left = [
        path
        for path in (fetching.directory / "mirrors").rglob("objects/pack/*")
        if path.suffix not in {".pack", ".idx", ".rev"}
    ]
    assert left == []


def test_many_fetches_of_one_repository_at_a_time(
    fetching: Fetching, https: HttpGit, repository: Repository
) -> None:
    commit = repository.commit({"a": "1", "b/c": "2"})

    async def all_of_them() -> list[str]:
        source = GitSource(f"{https.base}/shop")
        fetches = [
            fetching.fetcher.fetch(source, fetching.directory / f"into{n}", fetching.lines.append)
            for n in range(6)
        ]
        return [fetched.commit for fetched in await asyncio.gather(*fetches)]

    assert asyncio.run(all_of_them()) == [commit] * 6
    for number in range(6):
        assert (fetching.directory / f"into{number}" / "b" / "c").read_text() == "2"


def test_limits_of_a_transfer_and_of_a_tree(
    https: HttpGit, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a": os.urandom(300_000)})
    source = GitSource(f"{https.base}/shop")
    small = Fetching(tmp_path / "small", limits=GitLimits(transfer_bytes=50_000))
    with pytest.raises(TooLargeError):
        small.fetch(source)
    flat = Fetching(tmp_path / "flat", limits=GitLimits(tree=TreeLimits(bytes=50_000)))
    with pytest.raises(TooLargeError):
        flat.fetch(source)
    few = Fetching(tmp_path / "few", limits=GitLimits(tree=TreeLimits(entries=2)))
    repository.commit({"b": "", "c": ""})
    with pytest.raises(TooLargeError):
        few.fetch(source)


def test_the_cache_is_bounded(tmp_path: Path, repository: Repository) -> None:
    node = Fetching(tmp_path / "node", limits=GitLimits(cache_bytes=600_000))
    for number in range(4):
        other = make_repository(tmp_path / f"repository{number}")
        other.commit({"a": os.urandom(250_000)})
        node.fetch(GitSource(f"file://{other.path}"))
    mirrors = list((node.directory / "mirrors").glob("*.git"))
    assert 1 <= len(mirrors) <= 3


_FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from covey.errors import StorageError
from covey.apps.sources import GitSource
from tests.engines.git.conftest import Fetching
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
node = Fetching(Path(sys.argv[1]))
if sys.argv[3] == "files":
    node.resolve(GitSource(sys.argv[2]))
    node.fetch(GitSource(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    node.fetch(GitSource(sys.argv[2]))
except StorageError as error:
    print("refused:", error.message)
"""


@pytest.mark.parametrize("where", ["files", "mirror"])
def test_a_full_disk_is_told_as_such(repository: Repository, tmp_path: Path, where: str) -> None:
    repository.commit({"a": os.urandom(100_000)})
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _FULL,
            str(tmp_path / "node"),
            f"file://{repository.path}",
            where,
            str(Path(__file__).parents[3]),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith("refused:"), done.stdout + done.stderr
