"""The database's files: private from the start, replaced atomically, safe over a power loss."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

COMPANIONS = ("", "-wal", "-shm")
"""Endings of the files that make up one database."""

_CHUNK = 1 << 20


def write_private(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, readable by its owner alone."""
    fresh = path.with_name(f"{path.name}.new")
    _flush_into(fresh, [data])
    fresh.replace(path)
    sync_directory(path.parent)


def copy_private(source: Path, target: Path) -> None:
    """Copy a file to a new one, readable by its owner alone, and wait for the disk."""
    with source.open("rb") as reader:
        _flush_into(target, iter(lambda: reader.read(_CHUNK), b""))


def remove_database(path: Path) -> None:
    """Remove a database of which nothing is to be kept."""
    for ending in COMPANIONS:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def move_database(path: Path, target: Path) -> None:
    """Rename all files of a closed database and wait for the directory."""
    for ending in COMPANIONS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(target.with_name(target.name + ending))
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    if os.name == "nt":
        return
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def stamp() -> str:
    """Return the present time for a file's name, to the microsecond so that no two are equal."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def _flush_into(path: Path, parts: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600), "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
