"""One encrypted SQLite database: a writer thread with its connection, and one for reading."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from covey.engines.sqlite.checking import find_damage
from covey.engines.sqlite.faults import damaged, storage_error, translated
from covey.errors import LockedError

T = TypeVar("T")

KEY_BYTES = 32
_BUSY_MS = 5_000
_WRITER_CACHE_KIB = 8_192
_READER_CACHE_KIB = 2_048
_CHECKPOINT_PAGES = 4_000
_WAL_LIMIT_BYTES = 8 << 20
_IDLE_S = 5.0


def connect(
    path: Path, key: bytes, *, create: bool = True, read_only: bool = False
) -> apsw.Connection:
    """Open an encrypted database file; a new one is readable by its owner alone.

    The file is first read by the statements that follow, so a wrong key shows there.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"The database key has {len(key)} bytes, not {KEY_BYTES}.")
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    if create and not read_only:
        # SQLite gives its -wal and -shm files the mode of the database file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(_BUSY_MS)
    connection.pragma("cipher", "chacha20")
    connection.pragma("key", f"raw:{key.hex()}")
    return connection


def configure(connection: apsw.Connection, *, cache_kib: int = _READER_CACHE_KIB) -> None:
    """Set what a long-lived connection needs: write-ahead log, durable commits, a small cache."""
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
    connection.pragma("journal_size_limit", _WAL_LIMIT_BYTES)
    connection.pragma("secure_delete", "fast")
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("mmap_size", 0)


def fetch(connection: apsw.Connection, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
    """Run a statement and return all its rows, as tuples of the columns' types."""
    return connection.execute(sql, values).fetchall()


def fetch_one(connection: apsw.Connection, sql: str, values: tuple[object, ...] = ()) -> Any:
    """Run a statement and return its row, the value itself if it has one column, or None."""
    return connection.execute(sql, values).get


class Database:
    """An open database. All writes run, one after another, in one thread of its own.

    Its methods raise `StorageError` and `DamagedError`, or `LockedError` once it is closed.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._key = key
        self._closed = False
        self._read_lock = threading.Lock()
        self._writes = 0
        self._writes_at_timer = -1
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="covey-writer")
        try:
            with translated(path):
                self._writer = self._executor.submit(_opened, path, key, _WRITER_CACHE_KIB).result()
                self._reader = _opened(path, key, _READER_CACHE_KIB)
        except BaseException:
            self._executor.shutdown()
            raise
        self._writer_thread = self._executor.submit(threading.get_ident).result()

    @property
    def in_writer_thread(self) -> bool:
        """Whether the caller runs in the writer thread."""
        return threading.get_ident() == self._writer_thread

    def prepare(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in the writer thread and wait for it: before the event loop uses this."""
        return self._executor.submit(self._translating, work).result()

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in the writer thread, outside of any transaction."""
        loop = asyncio.get_running_loop()
        self._writes += 1
        if self._writes_at_timer < 0:
            self._writes_at_timer = self._writes
            loop.call_later(_IDLE_S, self._when_idle, loop)
        try:
            return await loop.run_in_executor(self._executor, self._translating, work)
        except RuntimeError:
            if self._closed:
                raise _closed_error() from None
            raise

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction in the writer thread; returns after the durable commit."""

        def in_transaction(_: apsw.Connection) -> T:
            with self.transaction() as connection:
                return work(connection)

        return await self.run(in_transaction)

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """Begin a transaction, in the writer thread only; rolls back when the block raises."""
        if not self.in_writer_thread:
            raise RuntimeError("A transaction belongs to the writer thread.")
        connection = self._writer
        with translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                # After a full disk SQLite may have rolled back already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Read all rows of a statement: in the writer thread those that it wrote, too."""
        try:
            if threading.get_ident() == self._writer_thread:
                return fetch(self._writer, sql, values)
            with self._read_lock:
                if self._closed:
                    raise _closed_error()
                return fetch(self._reader, sql, values)
        except apsw.Error as error:
            raise storage_error(error, self.path) from error

    async def verify(self) -> None:
        """Check every page, beside the node's work; raises `DamagedError`."""
        await asyncio.to_thread(self._verify)

    def close(self) -> None:
        """Finish the writes under way, empty the write-ahead log into the file, and close."""
        if self._closed:
            return
        with self._read_lock:
            self._closed = True
            self._reader.close()
        with contextlib.suppress(apsw.Error):
            self._executor.submit(_finish, self._writer).result()
        self._executor.shutdown()

    def _verify(self) -> None:
        with translated(self.path):
            connection = _opened(self.path, self._key, _READER_CACHE_KIB)
            try:
                reason = find_damage(connection)
            finally:
                connection.close()
        if reason is not None:
            raise damaged(self.path, reason)

    def _translating(self, work: Callable[[apsw.Connection], T]) -> T:
        with translated(self.path):
            return work(self._writer)

    def _when_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give memory back once no write came for a while."""
        if self._closed:
            return
        if self._writes != self._writes_at_timer:
            self._writes_at_timer = self._writes
            loop.call_later(_IDLE_S, self._when_idle, loop)
            return
        self._writes_at_timer = -1
        self._executor.submit(give_memory_back, self._writer)


def give_memory_back(connection: apsw.Connection) -> None:
    """Drop a connection's page cache, and return freed memory to the system where glibc can."""
    connection.pragma("shrink_memory")
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _opened(path: Path, key: bytes, cache_kib: int) -> apsw.Connection:
    connection = connect(path, key)
    try:
        configure(connection, cache_kib=cache_kib)
    except BaseException:
        connection.close()
        raise
    return connection


def _finish(connection: apsw.Connection) -> None:
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


def _closed_error() -> LockedError:
    return LockedError(
        "This node's database is closed: the node is locked or stopping.",
        hint="Run: covey unlock",
    )
