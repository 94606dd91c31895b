"""Unpacking archives that strangers made (tar, compressed by gzip), with nothing but plain trees.

Refused: absolute paths and those with dots, what is no file, directory or symbolic link, names
that come twice, links that lead out, and more than `TreeLimits` allows.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from covey.apps.containers import Log
from covey.engines.tar_stream import Kind, TarError, TarStream
from covey.engines.trees import TreeLimits, TreeWriter, empty_directory
from covey.engines.working import Work, run_thread
from covey.errors import InvalidRequestError, NotFoundError, StorageError

_BROKEN = (TarError, EOFError, zlib.error, gzip.BadGzipFile)


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
                with gzip.GzipFile(fileobj=file) as plain:
                    _copy(TarStream(plain), writer)
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


def _copy(tar: TarStream, writer: TreeWriter) -> None:
    for member in tar:
        name = member.name.removeprefix("./").rstrip("/")
        if name.startswith("/"):
            raise _unsafe(name, "is absolute")
        match member.kind:
            case Kind.DIRECTORY:
                if name not in {"", "."}:
                    writer.directory(name)
            case Kind.LINK:
                writer.link(name, member.target)
            case Kind.FILE:
                writer.file(name, tar.content(), executable=member.executable)
            case Kind.OTHER:
                raise _unsafe(name, "is neither file nor directory nor symbolic link")


def _unsafe(name: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The archive holds {name[:100]!a}, which {what}.",
        hint="Upload the directory by covey deploy, which packs what can be used",
    )
