"""Temporary files beside their targets: named so that they are resumed, and known as ours later.

A name is made with a key of this node. So a file that merely looks like one is never removed, and
the same target finds its part again after a lost connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from pathlib import Path

from covey.errors import StorageError
from covey.remote.files.flags import LOOK

_PREFIX = b".covey-"
_SUFFIX = b".part"
_NAME = re.compile(rb"\.covey-([0-9a-f]{16})([0-9a-f]{16})\.part")
_KEY_BYTES = 32
_ABANDONED_S = 7 * 86_400


class Partials:
    """The names of temporary files, and the directories where some may have been left.

    `home` is a private directory of this node.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._key: bytes | None = None
        self._preparing = threading.Lock()
        self._noted: set[str] = set()

    def prepare(self) -> None:
        """Read or make the key; raises `StorageError`."""
        with self._preparing:
            if self._key is None:
                self._key = self._read_key()

    def name(self, directory: os.stat_result, name: bytes) -> bytes:
        """Return the temporary name for a target: the same each time."""
        place = f"{directory.st_dev}:{directory.st_ino}:".encode()
        return self._signed(self._digest(place + name))

    def fresh(self) -> bytes:
        """Return a temporary name that nobody has."""
        return self._signed(secrets.token_hex(8).encode())

    def is_ours(self, name: bytes) -> bool:
        """Whether this node made up a name."""
        found = _NAME.fullmatch(name)
        return found is not None and hmac.compare_digest(self._signed(found[1]), name)

    def note(self, directory: str) -> None:
        """Remember that parts may be left in or below a directory."""
        if directory in self._noted:
            return
        digest = hashlib.blake2b(os.fsencode(directory), digest_size=16).hexdigest()
        path = self._home / f"{digest}.place"
        try:
            if not path.exists():
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(os.fsencode(directory))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise _failed(self._home, error) from error
        self._noted.add(directory)

    def remove_abandoned(self, older_than_s: float = _ABANDONED_S) -> int:
        """Remove our parts that nobody has written for long; returns how many."""
        removed = 0
        with contextlib.suppress(OSError):
            for place in self._home.glob("*.place"):
                removed += self._clean(place, older_than_s)
        return removed

    def _clean(self, place: Path, older_than_s: float) -> int:
        removed = left = 0
        before = time.time() - older_than_s
        top = place.read_bytes()
        for _, _, names, descriptor in os.fwalk(top, follow_symlinks=False):
            for name in names:
                if not self.is_ours(os.fsencode(name)):
                    continue
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if found.st_mtime < before and _is_free(descriptor, os.fsencode(name)):
                    os.unlink(name, dir_fd=descriptor)
                    removed += 1
                else:
                    left += 1
        if not left:
            place.unlink(missing_ok=True)
            self._noted.discard(os.fsdecode(top))
        return removed

    def _read_key(self) -> bytes:
        path = self._home / "key"
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                found = path.read_bytes()
                if len(found) == _KEY_BYTES:
                    return found
            temporary = self._home / f"key.{os.getpid()}"
            key = secrets.token_bytes(_KEY_BYTES)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise _failed(self._home, error) from error
        return key

    def _digest(self, data: bytes) -> bytes:
        assert self._key is not None  # noqa: S101 - `prepare` comes first
        return hashlib.blake2b(data, digest_size=8, key=self._key).hexdigest().encode()

    def _signed(self, token: bytes) -> bytes:
        return _PREFIX + token + self._digest(b"part:" + token) + _SUFFIX


def try_lock(descriptor: int) -> bool:
    """Take a part for oneself; False if someone else writes it."""
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_free(directory: int, name: bytes) -> bool:
    try:
        descriptor = os.open(name, LOOK, dir_fd=directory)
    except OSError:
        return False
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {error.strerror}.",
        hint="Check the free space and the permissions of its directory.",
    )
