"""A directory of an image, copied to the machine."""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.failures import doing, is_missing
from covey.engines.trees import TreeLimits, TreeWriter, empty_directory
from covey.errors import CoveyError, NotFoundError, StorageError

_CHUNK = 1 << 20
_IN_MEMORY = 8 << 20


async def copy_directory(api: Api, image: str, path: str, into: Path) -> None:
    """Copy a directory of an image into `into`; links that lead out of it are left out."""
    with doing(f"copy {path} out of the image"):
        # The container has the image's labels; it never runs.
        made = await api.call("POST", "/containers/create", None, {"Image": image, "Cmd": ["-"]})
        container = str(made["Id"])
        try:
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as archive:
                try:
                    async with api.open(
                        "GET", f"/containers/{container}/archive", {"path": path}
                    ) as answer:
                        async for piece in answer.body():
                            await asyncio.to_thread(_keep, archive, piece)
                except RefusalError as error:
                    if not is_missing(error):
                        raise
                    raise NotFoundError(
                        f"The build left no directory {path}.",
                        hint="Check build.static: it is where build.command puts the files.",
                    ) from error
                await asyncio.to_thread(_unpack, archive, PurePosixPath(path).name, into)
        finally:
            await api.call("DELETE", f"/containers/{container}", {"force": True, "v": True})


def _keep(archive: IO[bytes], piece: bytes) -> None:
    try:
        archive.write(piece)
    except OSError as error:
        raise StorageError(
            f"The files that were built could not be kept: {error.strerror or error}.",
            hint=f"Free some space in {tempfile.gettempdir()}.",
        ) from error


def _unpack(archive: IO[bytes], top: str, into: Path) -> None:
    archive.seek(0)
    try:
        into.mkdir(parents=True, exist_ok=True)
        empty_directory(into)
        writer = TreeWriter(into, TreeLimits())
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for member in tar:
                name = member.name.strip("/").removeprefix("./").removeprefix(top).strip("/")
                if member.isdir():
                    if name:
                        writer.directory(name)
                elif member.issym():
                    writer.link(name, member.linkname)
                elif member.isreg() or member.islnk():
                    content = tar.extractfile(member)
                    if content is not None:
                        writer.file(name, _chunks(content), executable=bool(member.mode & 0o111))
        writer.finish()
    except tarfile.TarError as error:
        raise CoveyError("The container engine sent a damaged archive.") from error
    except OSError as error:
        raise StorageError(
            f"The files that were built could not be kept: {error.strerror or error}.",
            hint=f"Look after {into.parent}.",
        ) from error


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(_CHUNK):
        yield chunk
