"""Files as the operations show them, and the messages by which trees of files are copied."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

DIGEST_BYTES = 32
"""Checksums of contents are BLAKE2b with this many bytes (RFC 7693)."""

MODE_BITS = 0o1777
"""The permission bits that are copied: set-user-id and set-group-id never are."""


class FileKind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


class FileInfo(Struct, frozen=True):
    r"""One file; `size` is in bytes, `mode` in octal, `modified` in ISO 8601 (UTC).

    Bytes of a name that are not UTF-8 are shown as `\xNN`.
    """

    path: str
    kind: FileKind
    size: int
    mode: str
    modified: str
    user: str
    group: str
    target: str | None = None


class FilePart(Struct, frozen=True):
    """Bytes of a file from `offset` on."""

    offset: int
    data: bytes


class FileHash(Struct, frozen=True):
    """A content's BLAKE2b-256 checksum, in hexadecimal, and its size in bytes."""

    path: str
    size: int
    blake2b: str


class Removed(Struct, frozen=True):
    """What was removed: how many files and directories."""

    path: str
    count: int


Number = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=0)]
Name = Annotated[bytes, Meta(max_length=4096)]


class Entry(Struct, frozen=True, array_like=True):
    """One file of a tree that is offered.

    `path` is relative, with `/`; empty for the top itself. `mtime_ns` is in nanoseconds since
    the epoch.
    """

    number: Number
    path: Name
    kind: FileKind
    size: Size
    mode: Number
    mtime_ns: int
    target: Name = b""


class SmallFile(Struct, frozen=True, array_like=True):
    """A whole content and its checksum."""

    number: Number
    data: bytes
    digest: bytes


class Entries(Struct, frozen=True, tag="entries"):
    """Some of the tree; a directory comes before what is in it."""

    entries: list[Entry]


class EntriesEnd(Struct, frozen=True, tag="entries_end"):
    """The tree is complete; `damaged` says that some of it could not be read."""

    damaged: bool = False


class Small(Struct, frozen=True, tag="small"):
    """Contents that are small, several in one message."""

    files: list[SmallFile]


class Begin(Struct, frozen=True, tag="begin"):
    """A content follows from `offset` on, in order and without gaps."""

    number: Number
    offset: Size


class Data(Struct, frozen=True, tag="data"):
    """The next bytes of the content that was begun."""

    data: bytes


class Hole(Struct, frozen=True, tag="hole"):
    """The next `length` bytes are a hole: zeros that take no room."""

    length: Size


class Same(Struct, frozen=True, tag="same"):
    """The next `length` bytes are those from `source` on of the file that is replaced."""

    source: Size
    length: Size


class ContentEnd(Struct, frozen=True, tag="content_end"):
    """The content that was begun is complete; `digest` is that of all of it."""

    digest: bytes


class Unreadable(Struct, frozen=True, tag="unreadable"):
    """A content will not come, or not whole: the file is gone, changed, or may not be read."""

    number: Number
    reason: str


class SendEnd(Struct, frozen=True, tag="send_end"):
    """Everything that was wanted has been sent."""


SendItem = (
    Entries | EntriesEnd | Small | Begin | Data | Hole | Same | ContentEnd | Unreadable | SendEnd
)


class Block(Struct, frozen=True, array_like=True):
    """One block of a file that is to be replaced: how it begins, and its checksum."""

    head: bytes
    digest: bytes


class Want(Struct, frozen=True, array_like=True):
    """A content that is wanted from `offset` on, if what is before has this checksum.

    `blocks` of `block_bytes` describe the file that is replaced: what is the same need not come.
    """

    number: Number
    offset: Size = 0
    digest: bytes = b""
    block_bytes: Size = 0
    blocks: list[Block] = []


class Plan(Struct, frozen=True, tag="plan"):
    """What will be done: files to copy, to leave and to delete; `size` is the most bytes to come.

    `paths` are the first of those that are copied.
    """

    copy: int
    skip: int
    delete: int
    size: int
    paths: list[bytes] = []


class Wants(Struct, frozen=True, tag="wants"):
    """Contents that are wanted; `last` says that there are no more to come."""

    wants: list[Want]
    last: bool = False


class Copied(Struct, frozen=True, tag="copied"):
    """Contents that are in place under their names, `count` of them, `size` bytes in all."""

    count: int
    size: int
    number: int | None = None
    digest: bytes = b""


class Failed(Struct, frozen=True, tag="failed"):
    """One file that could not be copied, and why."""

    path: bytes
    reason: str


class Finished(Struct, frozen=True, tag="finished"):
    """The end: files copied, left as they were, deleted and failed; `sent` bytes came."""

    copied: int
    skipped: int
    deleted: int
    failed: int
    sent: int


ReceiveItem = Plan | Wants | Copied | Failed | Finished
