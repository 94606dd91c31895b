"""Sealing of records into entries, and opening them again.

A payload is `nonce (12) ‖ AES-256-GCM(generation key, plaintext)` with the entry's `header` as
associated data. The plaintext is a byte that tells the form (plain or deflated), then the record
in MessagePack: key, value, and the context of versions that it supersedes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from hashlib import blake2b

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from covey.errors import DamagedError, LockedError, TooLargeError
from covey.store.api import NodeId
from covey.store.entry import MAX_PAYLOAD_BYTES, Entry, digest_of, header
from covey.store.ports import DataKeys

KEY_HASH_BYTES = 16
MAX_RECORD_BYTES = MAX_PAYLOAD_BYTES - 64
"""The greatest encoded record, before it is deflated."""

_NONCE_BYTES = 12
_DEFLATE_OVER = 256
_PLAIN = b"\0"
_DEFLATED = b"\1"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, bytes | None, dict[bytes, int]]).decode


class UnknownGenerationError(LockedError):
    """This node was never given the data key that an entry is sealed with."""

    code = "unknown_generation"


class UnreadableEntryError(DamagedError):
    """An entry's payload does not open under its key: it was altered or sealed wrongly."""

    code = "unreadable_entry"


class Opened(msgspec.Struct, frozen=True):
    """The record in an entry; a `value` of None is a deletion."""

    key: str
    value: bytes | None
    context: Mapping[NodeId, int]


class _Generation:
    """One data key and what is derived from it."""

    __slots__ = ("cipher", "hash_key", "tag")

    def __init__(self, generation: bytes, key: bytes) -> None:
        self.cipher = AESGCM(key)
        self.hash_key = _derive(key, b"covey key hash")
        check_key = _derive(key, b"covey key check")
        self.tag = blake2b(generation, key=check_key, digest_size=16).digest()


class Sealer:
    """Seals and opens records with the fleet's data keys; safe to use from several threads."""

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys
        self._cache: dict[bytes, _Generation] = {}

    def seal(
        self,
        origin: NodeId,
        seq: int,
        hlc: int,
        collection: str,
        key: str,
        value: bytes | None,
        context: Mapping[NodeId, int],
    ) -> Entry:
        """Return an entry, not yet signed, under the current generation.

        Raises `TooLargeError`, or `LockedError` on a node without data keys.
        """
        current = self._keys.current()
        if current is None:
            raise LockedError(
                "This node holds no data key, so it cannot write records.",
                hint="unlock it with `covey unlock`; a relay stores and forwards only",
            )
        generation = current[0]
        keyed = self._generation(generation)
        record = _encode((key, value, {bytes.fromhex(o): s for o, s in context.items()}))
        if len(record) > MAX_RECORD_BYTES:
            raise TooLargeError(
                f"A record of {len(record):,} bytes is too large: at most "
                f"{MAX_RECORD_BYTES:,} bytes can be stored.",
                hint="store large content as a file and keep its path here",
            )
        form = _PLAIN
        if len(record) > _DEFLATE_OVER:
            deflated = zlib.compress(record, 1)
            if len(deflated) < len(record):
                form, record = _DEFLATED, deflated
        key_hash = _key_hash(keyed.hash_key, collection, key)
        head = header(origin, seq, hlc, collection, key_hash, generation)
        nonce = os.urandom(_NONCE_BYTES)
        payload = nonce + keyed.cipher.encrypt(nonce, form + record, head)
        digest = digest_of(head, payload)
        return Entry(origin, seq, hlc, collection, key_hash, generation, payload, digest)

    def open(self, entry: Entry) -> Opened:
        """Return the record in an entry that has its payload.

        Raises `UnknownGenerationError` while its key is missing, `UnreadableEntryError` for good.
        """
        payload = entry.payload
        if payload is None:
            raise UnreadableEntryError(_about(entry, "has no payload here"))
        keyed = self._generation(entry.generation)
        head = header(
            entry.origin, entry.seq, entry.hlc, entry.collection, entry.key_hash, entry.generation
        )
        try:
            plain = keyed.cipher.decrypt(payload[:_NONCE_BYTES], payload[_NONCE_BYTES:], head)
            record = _inflate(plain[1:]) if plain[:1] == _DEFLATED else plain[1:]
            key, value, raw = _decode(record)
        except (InvalidTag, ValueError, zlib.error, msgspec.DecodeError) as error:
            raise UnreadableEntryError(_about(entry, "does not open under its key")) from error
        if _key_hash(keyed.hash_key, entry.collection, key) != entry.key_hash:
            raise UnreadableEntryError(_about(entry, "holds another key than it names"))
        return Opened(key, value, {NodeId(origin.hex()): seq for origin, seq in raw.items()})

    def key_hash(self, collection: str, key: str, generation: bytes) -> bytes:
        """Return what stands for a key in entries of a generation.

        Raises `UnknownGenerationError`.
        """
        return _key_hash(self._generation(generation).hash_key, collection, key)

    def tags(self) -> dict[bytes, bytes]:
        """Return a tag for each generation held; equal tags mean equal keys and tell nothing."""
        return {each: self._generation(each).tag for each in self._keys.generations()}

    def forget(self) -> None:
        """Drop the keys from memory (locking)."""
        self._cache.clear()

    def _generation(self, generation: bytes) -> _Generation:
        held = self._cache.get(generation)
        if held is None:
            key = self._keys.key(generation)
            if key is None:
                raise UnknownGenerationError(
                    f"The data key of generation {generation.hex()[:8]} is not on this node.",
                    hint="it comes from another member when both are connected: `covey peers`",
                )
            held = self._cache[generation] = _Generation(generation, key)
        return held


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)


def _key_hash(hash_key: bytes, collection: str, key: str) -> bytes:
    name = collection.encode() + b"\0" + key.encode()
    return blake2b(name, key=hash_key, digest_size=KEY_HASH_BYTES).digest()


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    record = inflater.decompress(data, MAX_RECORD_BYTES)
    if not inflater.eof:
        raise ValueError("the record is cut off or over its size limit")
    return record


def _about(entry: Entry, fault: str) -> str:
    return f"Entry {entry.seq} of node {entry.origin[:8]} {fault}."
