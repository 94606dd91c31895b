"""A build's context as a tar stream that is made while it is sent."""

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covey.errors import CoveyError, InvalidRequestError, NotFoundError
from covey.ignore_files.dockerignore import DockerIgnore

GENERATED = ".covey.containerfile"
"""Where a generated Containerfile stands in the context; it is not copied into images."""

_BLOCK = 512
_PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Context:
    """What is packed: a directory without what its ignore file names, and files of our own."""

    directory: Path
    dockerfile: str
    ignore_name: str
    ignore_text: str
    own: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    async def packed(self) -> AsyncIterator[bytes]:
        """Yield the tar stream; raises `CoveyError` naming what cannot be read."""
        pieces = _pieces(self._entries())
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def _entries(self) -> Iterator[bytes]:
        ignore = DockerIgnore(self.ignore_text)
        always = {self.dockerfile, self.ignore_name}
        for path in _walk(self.directory, "", ignore, always):
            if path not in self.own:
                yield from _entry(self.directory, path)
        for name, content in self.own.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o600
            yield _header(info)
            yield content + bytes(-len(content) % _BLOCK)
        yield bytes(2 * _BLOCK)


def read_context(
    directory: Path, dockerfile: str, generated: str | None, own: Mapping[str, bytes]
) -> Context:
    """Prepare a directory to be sent; raises `NotFoundError` if its Dockerfile is not there."""
    if not directory.is_dir():
        raise NotFoundError(f"There is no directory {directory} to build from.")
    path = os.path.normpath(dockerfile)
    name, text = _ignore_file(directory, path)
    if generated is not None:
        files = {
            **own,
            GENERATED: generated.encode(),
            name: f"{text.rstrip()}\n{GENERATED}\n".lstrip().encode(),
        }
        return Context(directory, GENERATED, name, text, files)
    if path.startswith(("..", "/")):
        raise InvalidRequestError(f"The Dockerfile {dockerfile} is outside of what is built.")
    if not (directory / path).is_file():
        raise NotFoundError(
            f"There is no {dockerfile} in {directory.name}.",
            hint="Name it as dockerfile under [build] of covey.app.toml.",
        )
    return Context(directory, path, name, text, own)


def _ignore_file(directory: Path, dockerfile: str) -> tuple[str, str]:
    for name in (f"{dockerfile}.dockerignore", ".containerignore", ".dockerignore"):
        path = directory / name
        # A link may lead to a file of this machine, which the image's author must not get.
        if path.is_file() and path.resolve().is_relative_to(directory.resolve()):
            return name, path.read_text(errors="replace")
    return ".dockerignore", ""


def _walk(directory: Path, below: str, ignore: DockerIgnore, always: set[str]) -> Iterator[str]:
    try:
        with os.scandir(directory / below) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(below, error) from error
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        inside = entry.is_dir(follow_symlinks=False)
        if path not in always and ignore.leaves_out(path):
            wanted = inside and (
                ignore.may_keep_below(path) or any(one.startswith(f"{path}/") for one in always)
            )
            if wanted:
                yield from _walk(directory, path, ignore, always)
            continue
        yield path
        if inside:
            yield from _walk(directory, path, ignore, always)


def _entry(directory: Path, path: str) -> Iterator[bytes]:
    full = directory / path
    try:
        status = full.lstat()
        info = tarfile.TarInfo(path)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = int(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            info.type = tarfile.SYMTYPE
            info.linkname = str(full.readlink())
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISREG(status.st_mode):
            info.size = status.st_size
        else:
            return  # sockets, pipes and devices have no content
        yield _header(info)
        if info.size:
            yield from _content(full, info.size)
    except OSError as error:
        raise _unreadable(path, error) from error


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise CoveyError(
                    f"The file {path.name} became shorter while it was sent to be built.",
                    hint="Build again once nothing writes to the directory.",
                )
            left -= len(piece)
            yield piece
    yield bytes(-size % _BLOCK)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _pieces(entries: Iterator[bytes]) -> Iterator[bytes]:
    """Gather small entries, so that a hop to the thread carries much."""
    gathered: list[bytes] = []
    size = 0
    for entry in entries:
        gathered.append(entry)
        size += len(entry)
        if size >= _PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _unreadable(path: str, error: OSError) -> CoveyError:
    return CoveyError(
        f"What is to be built cannot be read: {path or '.'}: {error.strerror}.",
        hint="Give Covey's user read access to it, or leave it out by a .dockerignore.",
    )
