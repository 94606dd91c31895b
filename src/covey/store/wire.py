"""The messages of replication and their form on the wire: one MessagePack array for each frame.

Entries travel by columns: what repeats (collections, generations, near clocks) deflates to almost
nothing, while key hashes and sealed payloads are random and are sent as they are. The digest of an
entry with a payload is not sent: the receiver computes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec

from covey.errors import InvalidRequestError
from covey.store.api import NodeId
from covey.store.clock import MAX_HLC
from covey.store.entry import DIGEST_BYTES, Entry, digest_of, header

PROTOCOL = 1
MAX_FRAME_BYTES = 8 << 20
"""No honest peer sends a longer frame: a channel may refuse it unread."""

MAX_RUN = 4096
"""Most entries in one message."""

_MAX_COLUMNS_BYTES = 4 << 20
_MAX_NAME_BYTES = 255
_MAX_HASH_BYTES = 64

Origin = Annotated[NodeId, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
Seq = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class FrameError(InvalidRequestError):
    """A peer sent a frame that is no message of this protocol."""

    code = "bad_frame"


class EndCode(StrEnum):
    """Why a session ended."""

    LOST = "lost"
    STOPPING = "stopping"
    PROTOCOL = "protocol"
    VERSION = "version"
    OTHER_FLEET = "other_fleet"
    OTHER_NODE = "other_node"
    WRONG_KEY = "wrong_key"
    REMOVED = "removed"
    STRANGER = "stranger"
    STORAGE = "storage"


class Verdict(StrEnum):
    """What became of a batch."""

    OK = "ok"
    GAP = "gap"
    UNKNOWN = "unknown"
    REMOVED = "removed"
    REJECTED = "rejected"


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """The headers of a run of entries; clocks as differences, names as places in a list."""

    clocks: list[int]
    collections: list[str]
    collection_of: list[int]
    generations: list[bytes]
    generation_of: list[int]


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Entries of one origin by columns.

    `inflated` is the length of deflated `columns`, 0 if they are plain. `digests` and `absent` name
    entries by place: stubs, and those of them whose payload the sender itself would like to have.
    """

    columns: bytes
    inflated: Annotated[int, msgspec.Meta(ge=0, le=_MAX_COLUMNS_BYTES)]
    key_hashes: Annotated[list[bytes], msgspec.Meta(max_length=MAX_RUN)]
    payloads: Annotated[list[bytes | None], msgspec.Meta(max_length=MAX_RUN)]
    digests: dict[int, Digest] = {}
    absent: list[int] = []


class Head(msgspec.Struct, frozen=True, array_like=True):
    """How far a log is held, and its chain's value there."""

    seq: Seq
    chain: Digest


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first message in each direction. `tags` tell wrong data keys apart, by generation."""

    protocol: int
    fleet: str
    node: str
    wall_ms: int
    heads: dict[Origin, Head]
    roster: bytes
    tags: dict[bytes, bytes]


class Roster(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """All signed membership statements that the sender holds, and their digest."""

    digest: bytes
    statements: list[bytes]


class Vector(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """How far the sender holds some origins' logs, and that it takes more of them now."""

    heads: dict[Origin, Seq]


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The entries of one origin from `after` + 1; `signature` is that of the last one's head."""

    origin: Origin
    after: Seq
    run: Run
    signature: bytes

    @property
    def last(self) -> int:
        """The sequence number of the last entry."""
        return self.after + len(self.run.payloads)


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """One batch was dealt with, and `seq` is now held of its origin: returns one credit."""

    origin: Origin
    seq: Seq
    verdict: Verdict


class AskDigests(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Asks for the digests of a batch whose chain did not verify."""

    origin: Origin
    after: Seq
    last: Seq


class Digests(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The digests of a range, one after the other, and the signature of its last head."""

    origin: Origin
    after: Seq
    digests: bytes
    signature: bytes


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Asks for entries whose payload is missing here."""

    origin: Origin
    seqs: Annotated[list[Seq], msgspec.Meta(max_length=MAX_RUN)]


class Payloads(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Entries that were asked for; `absent` are those that the sender has not got either.

    Those in neither may be asked for again. `answer` is False for what comes later, unasked.
    """

    origin: Origin
    seqs: Annotated[list[Seq], msgspec.Meta(max_length=MAX_RUN)]
    run: Run
    absent: list[Seq]
    answer: bool


class Goodbye(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """The sender ends the session, and why."""

    code: str
    message: Annotated[str, msgspec.Meta(max_length=2000)]


Message = Hello | Roster | Vector | Batch | Ack | AskDigests | Digests | Fetch | Payloads | Goodbye

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_columns_decoder = msgspec.msgpack.Decoder(Columns)


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    return _encoder.encode(message)


def decode(frame: bytes | memoryview) -> Message:
    """Return the message in a frame; raises `FrameError`."""
    if len(frame) > MAX_FRAME_BYTES:
        raise FrameError(f"The peer sent a frame of {len(frame):,} bytes, which is too long.")
    try:
        return _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"The peer sent a frame that cannot be read: {error}.") from error


def protocol_of(frame: bytes | memoryview) -> int | None:
    """Return the version that a greeting states, though its form may be that of another."""
    try:
        fields = msgspec.msgpack.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    match fields:
        case [1, int(protocol), *_]:
            return protocol
        case _:
            return None


def pack(entries: Sequence[Entry], absent: Container[int] = ()) -> Run:
    """Return entries of one origin by columns; `absent` has the seqs of stubs to be filled."""
    collections: dict[str, int] = {}
    generations: dict[bytes, int] = {}
    clocks, before = [], 0
    for entry in entries:
        clocks.append(entry.hlc - before)
        before = entry.hlc
    plain = _encoder.encode(
        Columns(
            clocks,
            collection_of=[collections.setdefault(e.collection, len(collections)) for e in entries],
            generation_of=[generations.setdefault(e.generation, len(generations)) for e in entries],
            collections=list(collections),
            generations=list(generations),
        )
    )
    deflated = zlib.compress(plain, 1)
    helps = len(deflated) < len(plain)
    stubs = {place: e for place, e in enumerate(entries) if e.payload is None}
    return Run(
        columns=deflated if helps else plain,
        inflated=len(plain) if helps else 0,
        key_hashes=[entry.key_hash for entry in entries],
        payloads=[entry.payload for entry in entries],
        digests={place: stub.digest for place, stub in stubs.items()},
        absent=[place for place, stub in stubs.items() if stub.seq in absent],
    )


def unpack(origin: NodeId, seqs: Sequence[int], run: Run) -> list[Entry]:
    """Return the entries at `seqs`, unsigned, with digests computed; raises `FrameError`."""
    columns = _columns(run)
    count = len(seqs)
    lists = (columns.clocks, columns.collection_of, columns.generation_of, run.key_hashes)
    if any(len(column) != count for column in (*lists, run.payloads)):
        raise FrameError("The peer sent entries whose columns differ in length.")
    entries: list[Entry] = []
    hlc = 0
    try:
        for place, (seq, step, name_at, generation_at, key_hash, payload) in enumerate(
            zip(seqs, *lists, run.payloads, strict=True)
        ):
            hlc += step
            if not 0 <= hlc <= MAX_HLC or name_at < 0 or generation_at < 0:
                raise FrameError(f"The peer sent an entry ({seq}) with an impossible header.")
            name, generation = columns.collections[name_at], columns.generations[generation_at]
            if payload is None:
                digest = run.digests[place]
            else:
                head = header(origin, seq, hlc, name, key_hash, generation)
                digest = digest_of(head, payload)
            entries.append(Entry(origin, seq, hlc, name, key_hash, generation, payload, digest))
    except (LookupError, OverflowError) as error:
        raise FrameError("The peer sent entries with columns missing.") from error
    return entries


def _columns(run: Run) -> Columns:
    plain = run.columns
    try:
        if run.inflated:
            inflater = zlib.decompressobj()
            plain = inflater.decompress(run.columns, run.inflated)
            if not inflater.eof:
                raise FrameError("The peer sent columns that are longer than they say.")
        columns = _columns_decoder.decode(plain)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"The peer sent columns that cannot be read: {error}.") from error
    names = [len(name.encode()) > _MAX_NAME_BYTES for name in columns.collections]
    hashes = [len(each) > _MAX_HASH_BYTES for each in (*columns.generations, *run.key_hashes)]
    if any(names) or any(hashes):
        raise FrameError("The peer sent an entry with a name or hash that is too long.")
    return columns
