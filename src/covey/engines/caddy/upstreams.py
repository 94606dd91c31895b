"""The files that say where requests go: one for each address of a pool, renamed into place.

Caddy reads them for each request, so that new addresses hold at once and without a reload, which
would close connections.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import quote

from covey.errors import StorageError
from covey.fleet.private_file import replace_private_file

_MODE = 0o700


def slot_file(directory: Path, pool: str, number: int) -> Path:
    """Return the file of one slot; nothing in its name means something to Caddy."""
    return directory / f"{quote(pool, safe='')}.{number}"


class UpstreamFiles:
    """The addresses of all pools, in one directory that this daemon alone writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        """Make the directory."""
        try:
            self.directory.mkdir(mode=_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise _failed(self.directory, error) from error

    def write(self, pool: str, addresses: Sequence[str], slots: int) -> None:
        """Give each slot an address, some twice if there are fewer; raises `StorageError`.

        Without any address the slots are empty.
        """
        self.prepare()
        for number in range(slots):
            path = slot_file(self.directory, pool, number)
            if not addresses:
                _remove(path)
                continue
            content = addresses[number % len(addresses)].encode()
            if _content(path) != content:
                replace_private_file(path, content)
        for path in self._of(pool):
            if int(path.name.rpartition(".")[2]) >= slots:
                _remove(path)

    def keep_only(self, pools: Collection[str]) -> None:
        """Remove the files of all pools but these."""
        names = {quote(pool, safe="") for pool in pools}
        with contextlib.suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                if path.name.rpartition(".")[0] not in names:
                    _remove(path)

    def is_missing(self) -> bool:
        """Whether the directory was removed, as a logout may do."""
        return not self.directory.exists()

    def _of(self, pool: str) -> list[Path]:
        prefix = quote(pool, safe="")
        return [
            path
            for path in self.directory.iterdir()
            if path.name.rpartition(".")[0] == prefix and path.name.rpartition(".")[2].isdigit()
        ]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be changed: {error.strerror}.",
        hint="Check the permissions of Covey's runtime directory.",
    )
