"""The directory in memory from which shells read their variables."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from covey.errors import StorageError
from covey.shellkit.layout import LOCKED, STAMP

Files = Mapping[tuple[str, str], bytes]


class RenderedDirectory:
    """Implements `RenderedFiles` in `path`, which must be the user's own and on a memory disk.

    Files are 0600, replaced atomically, and written before the stamp.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._known: dict[tuple[str, str], bytes] = {}
        self._published = False

    def publish(self, files: Files) -> bool:
        """Make these the only files, then renew the stamp; False if they were so already."""
        # A logout may have emptied the directory.
        self._published = self._published and (self._path / STAMP).exists()
        if self._published and files == self._known:
            return False
        try:
            for shell in sorted({shell for shell, _ in files}):
                _own_directory(self._path / shell)
            for (shell, name), data in files.items():
                if not self._published or self._known.get((shell, name)) != data:
                    _replace(self._path / shell / name, data)
            self._remove_except(files)
            _replace(self._path / STAMP, secrets.token_hex(8).encode() + b"\n")
        except OSError as error:
            self._published = False
            raise _failed(error) from error
        self._known = dict(files)
        self._published = True
        return True

    def lock(self) -> None:
        """Remove the files; open shells drop their values at the next prompt."""
        self._clear(LOCKED.encode() + b"\n")

    def withdraw(self) -> None:
        """Remove the files and the stamp; open shells keep what they have."""
        self._clear(None)

    def _clear(self, stamp: bytes | None) -> None:
        self._known = {}
        self._published = False
        try:
            _own_directory(self._path)
            if stamp is None:
                (self._path / STAMP).unlink(missing_ok=True)
            self._remove_except({})
            if stamp is not None:
                _replace(self._path / STAMP, stamp)
        except OSError as error:
            raise _failed(error) from error
        with suppress(OSError):
            for folder in self._path.iterdir():
                if folder.is_dir():
                    folder.rmdir()
            if stamp is None:
                self._path.rmdir()

    def _remove_except(self, files: Files) -> None:
        for folder in self._path.iterdir():
            if not folder.is_dir() or folder.is_symlink():
                if folder.name != STAMP:
                    folder.unlink(missing_ok=True)
                continue
            for file in folder.iterdir():
                if (folder.name, file.name) not in files:
                    file.unlink(missing_ok=True)


def _own_directory(path: Path) -> None:
    """Make a 0700 directory and its parent; a foreign or shared one is refused."""
    for directory in (path.parent, path):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(13, "it belongs to another user", str(path))
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)


def _failed(error: OSError) -> StorageError:
    return StorageError(
        f"The variables for shells cannot be written: {error.strerror}: {error.filename}.",
        hint="Free memory, or see whose directory that is; then run: covey doctor",
    )
