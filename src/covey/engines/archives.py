"""Unpacking archives that strangers made (tar, compressed by gzip), with nothing but plain trees.

Refused: absolute paths and those with dots, what is no file, directory or symbolic link, names
that come twice, links that lead out, and more than `TreeLimits` allows.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from covey.apps.containers import Log
from covey.engines.trees import TreeLimits, TreeWriter, empty_directory
from covey.engines.working import Work, run_thread
from covey.errors import InvalidRequestError, NotFoundError, StorageError

_CHUNK = 1 << 20
_LONGEST_HEADER = 1 << 20
_PLAIN = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE}
_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError)


class Archives:
    """Implements `Unpacker`."""

    def __init__(self, limits: TreeLimits) -> None:
        self._limits = limits

    async def unpack(self, archive: Path, into: Path, log: Log) -> None:
        """Write an archive's files into `into`, which is emptied; a cancellation ends it.

        Raises `InvalidRequestError`, `TooLargeError`, `StorageError` or `NotFoundError`.
        """
        await run_thread(lambda work: self._unpack(archive, into, work), log)

    def _unpack(self, archive: Path, into: Path, work: Work) -> None:
        try:
            file = archive.open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(
                "The uploaded directory is not there any more.", hint="Upload it again"
            ) from error
        empty_directory(into)
        writer = TreeWriter(into, self._limits, work.checkpoint)
        with file:
            try:
                with (
                    gzip.GzipFile(fileobj=file) as plain,
                    tarfile.open(fileobj=plain, mode="r|", tarinfo=_Member) as tar,
                ):
                    _copy(tar, writer)
            except _BROKEN as error:
                raise InvalidRequestError(
                    "The archive is damaged, or it is no tar archive compressed by gzip.",
                    hint="Upload the directory again",
                ) from error
            except OSError as error:
                raise StorageError(
                    f"The uploaded directory cannot be read: {error.strerror}.", hint="covey doctor"
                ) from error
        outside = writer.finish()
        if outside:
            raise InvalidRequestError(
                f"The symbolic link {outside[0][:100]!a} leads out of the directory.",
                hint="Remove it, or leave it out by .gitignore",
            )


class _Member(tarfile.TarInfo):
    """Refuses extended headers that would not fit into memory (tarfile reads them whole)."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type not in _PLAIN and self.size > _LONGEST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return super()._proc_member(archive)  # type: ignore[misc]


def _copy(tar: tarfile.TarFile, writer: TreeWriter) -> None:
    for member in tar:
        name = member.name
        if name.startswith("/"):
            raise _unsafe(name, "is absolute")
        name = name.rstrip("/")
        if member.type == tarfile.DIRTYPE:
            if name not in {"", "."}:
                writer.directory(name)
        elif member.type == tarfile.SYMTYPE:
            writer.link(name, member.linkname)
        elif member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and not member.issparse():
            content = tar.extractfile(member)
            if content is None:
                raise tarfile.ReadError("a file has no content")
            executable = bool(member.mode & 0o111)
            writer.file(name, _chunks(content, member.size), executable=executable)
        else:
            raise _unsafe(name, "is neither file nor directory nor symbolic link")


def _chunks(content: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = content.read(min(_CHUNK, left))
        if not chunk:
            raise EOFError("the archive ends within a file")
        left -= len(chunk)
        yield chunk


def _unsafe(name: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The archive holds {name[:100]!a}, which {what}.",
        hint="Upload the directory by covey deploy, which packs what can be used",
    )
