from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from covey.engines.sqlite.database import Database, fetch
from covey.engines.sqlite.faults import file_error, storage_error
from covey.errors import DamagedError, LockedError, StorageError
from tests.engines.sqlite_home import SqliteHome
from tests.store.log_conformance import A, append, entry

REPOSITORY = Path(__file__).parents[2]


class SmallDisk:
    """A directory that can hold few megabytes, as a file system of its own where root may mount."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "covey-test", str(path)]
        self.mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0

    def limit(self, database: Database) -> None:
        """Stand in for the small file system where it could not be mounted."""
        if not self.mounted:
            database.prepare(lambda writer: writer.pragma("max_page_count", 300))

    def make_room(self, database: Database) -> None:
        if self.mounted:
            (self.path / "filler").unlink(missing_ok=True)
        else:
            database.prepare(lambda writer: writer.pragma("max_page_count", 1 << 30))

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()


def test_a_full_disk_fails_clearly_and_loses_nothing_acknowledged(disk: SmallDisk):
    if disk.mounted:
        (disk.path / "filler").write_bytes(bytes(400_000))
    home = SqliteHome(disk.path / "covey.db")
    disk.limit(home.database)
    acknowledged: list[int] = []

    def fill() -> None:
        for seq in range(1, 2000):
            append(home.log, entry(seq, payload=os.urandom(4000)))
            acknowledged.append(seq)

    with pytest.raises(StorageError, match="full") as caught:
        fill()
    assert "free some space" in (caught.value.hint or "")
    assert len(acknowledged) > 10
    assert [each.seq for each in home.log.read(A, 0, 9999)] == acknowledged
    with pytest.raises(StorageError, match="full"):
        append(home.log, entry(len(acknowledged) + 1, payload=os.urandom(400_000)))
    if disk.mounted:
        with pytest.raises(StorageError, match="full"):
            asyncio.run(home.backups.make(home.database))
        assert list((disk.path / "backups").iterdir()) == []
    disk.make_room(home.database)
    append(home.log, entry(len(acknowledged) + 1, payload=os.urandom(4000)))
    home.close()
    home.open()
    assert home.recovered is None
    assert [each.seq for each in home.log.read(A, 0, 9999)] == [
        *acknowledged,
        len(acknowledged) + 1,
    ]
    home.close()


WRITER = """
import asyncio, os, sys
from pathlib import Path
from tests.store.store_nodes import StoreNode

async def main():
    node = await StoreNode("a", Path(sys.argv[1])).start()
    async def keep_writing(worker):
        for number in range(1_000_000):
            version = await node.set(f"{worker}-{number}", os.urandom(300))
            os.write(1, f"{worker}-{number} {version.seq}\\n".encode())
    await asyncio.gather(*(keep_writing(worker) for worker in range(8)))

asyncio.run(main())
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path):
    from tests.store.store_nodes import StoreNode

    acknowledged: dict[str, int] = {}
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "home")],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            text=True,
        )
        assert writer.stdout is not None
        fresh = {}
        for line in writer.stdout:
            if line.endswith("\n"):
                key, seq = line.split()
                fresh[key] = int(seq)
            if len(fresh) == 200:
                writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        acknowledged |= fresh

        async def check(expected: dict[str, int]) -> None:
            node = await StoreNode("a", tmp_path / "home").start()
            assert node.sqlite is not None
            assert node.sqlite.recovered is None
            assert node.store.health().fence is None
            found = {record.key: record.version.seq for record in node.records.scan("env")}
            assert found | expected == found
            seqs = [each.seq for each in node.replica.read(node.id, 0, 1 << 30)]
            assert seqs == list(range(1, node.head(node.id) + 1))
            await node.set("after", b"1")
            await node.stop()

        asyncio.run(check(acknowledged))


def test_readers_see_whole_commits_while_a_writer_goes_on(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    stop = threading.Event()
    faults: list[object] = []

    def read() -> None:
        try:
            while not stop.is_set():
                seqs = [each.seq for each in home.log.read(A, 0, 100_000)]
                if seqs != list(range(1, len(seqs) + 1)) or len(seqs) % 7:
                    faults.append(seqs)
                list(home.log.scan_leaves("env", ""))
                home.log.heads()
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(1, 701, 7):
        append(home.log, *(entry(seq) for seq in range(start, start + 7)))
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(home.log.read(A, 0, 10_000)) == 700
    home.close()


def test_a_closed_database_says_that_the_node_is_locked(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    append(home.log, entry(1))
    home.close()
    home.close()
    with pytest.raises(LockedError):
        home.log.read(A, 0, 1)
    with pytest.raises(LockedError):
        append(home.log, entry(2))
    assert not list(tmp_path.glob("*-wal"))


def test_a_transaction_belongs_to_the_writer_thread(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    with pytest.raises(RuntimeError, match="writer thread"), home.log.transaction():
        pass
    home.close()


def test_a_page_damaged_in_use_is_told(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    append(home.log, *(entry(seq, payload=os.urandom(500)) for seq in range(1, 2000)))
    asyncio.run(home.database.verify())
    home.database.prepare(lambda writer: fetch(writer, "PRAGMA wal_checkpoint(TRUNCATE)"))
    with home.path.open("r+b") as file:
        file.seek(home.path.stat().st_size // 2)
        file.write(bytes(5000))
    with pytest.raises(DamagedError, match="damaged") as caught:
        home.log.read(A, 0, 10_000)
    assert "restart the node" in (caught.value.hint or "")
    with pytest.raises(DamagedError):
        asyncio.run(home.database.verify())
    home.close()


@pytest.mark.parametrize(
    "error, says",
    [
        (apsw.FullError("x"), "full"),
        (apsw.ReadOnlyError("x"), "read-only"),
        (apsw.PermissionsError("x"), "read-only"),
        (apsw.CantOpenError("x"), "cannot be opened"),
        (apsw.BusyError("x"), "in use"),
        (apsw.IOError("disk I/O error"), "failed"),
        (apsw.CorruptError("malformed"), "damaged"),
        (apsw.NotADBError("x"), "damaged"),
        (apsw.SQLError("x"), "refused"),
        (OSError(28, "No space left on device"), "full"),
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied"),
    ],
)
def test_each_fault_says_what_happened_and_what_to_do(error: Exception, says: str):
    path = Path("/data/covey.db")
    told = file_error(error, path) if isinstance(error, OSError) else storage_error(error, path)
    assert says in told.message
    assert told.hint
    assert isinstance(told, StorageError)


def test_a_read_only_directory_is_told(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    home.close()
    with pytest.raises(StorageError) as caught:
        SqliteHome(tmp_path / "absent" / "covey.db")
    assert caught.value.hint
