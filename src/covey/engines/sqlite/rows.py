"""Rows of the logs' tables from and to the store's types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from covey.engines.sqlite.labels import Labels
from covey.engines.sqlite.schema import SEQ_BITS
from covey.store.api import NodeId
from covey.store.entry import Entry

EntryRow: TypeAlias = tuple[int, int, int, bytes, int, bytes | None, bytes, bytes]
"""id, hlc, collection, key_hash, generation, payload, digest, signature"""

ENTRY_COLUMNS = "id, hlc, collection, key_hash, generation, payload, digest, signature"

_SEQ_MASK = (1 << SEQ_BITS) - 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[bytes, int]).decode
_NOTHING: Mapping[NodeId, int] = {}


class LogLabels:
    """The numbered labels of all logs."""

    def __init__(self) -> None:
        self.logs: Labels[str] = Labels("log", "origin")
        self.collections: Labels[str] = Labels("collection", "name")
        self.generations: Labels[bytes] = Labels("generation", "id")

    def entry(self, row: EntryRow) -> Entry:
        """Return the entry in a row."""
        number, hlc, collection, key_hash, generation, payload, digest, signature = row
        return Entry(
            NodeId(self.logs.label(number >> SEQ_BITS)),
            number & _SEQ_MASK,
            hlc,
            self.collections.label(collection),
            key_hash,
            self.generations.label(generation),
            payload,
            digest,
            signature,
        )

    def place(self, number: int) -> tuple[NodeId, int]:
        """Return the origin and sequence number in an entry's number."""
        return NodeId(self.logs.label(number >> SEQ_BITS)), number & _SEQ_MASK


def entry_id(log: int, seq: int) -> int:
    """Return the number of an entry."""
    if not 0 <= seq <= _SEQ_MASK:
        raise OverflowError(f"sequence number {seq} is out of range")
    return log << SEQ_BITS | seq


def encode_context(context: Mapping[NodeId, int]) -> bytes | None:
    """Return a version's context for its column; an empty one needs no room."""
    return _encode({bytes.fromhex(at): seq for at, seq in context.items()}) if context else None


def decode_context(data: bytes | None) -> Mapping[NodeId, int]:
    """Return the context in a column."""
    if data is None:
        return _NOTHING
    return {NodeId(at.hex()): seq for at, seq in _decode(data).items()}
