"""What a node needs to find its fleet again when its database is lost: statements and addresses."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from covey.fleet.private_file import replace_private_file
from covey.fleet.sealing import derive

_NONCE_BYTES = 12
_DOMAIN = b"covey fleet seed v1"


class Seed(msgspec.Struct, frozen=True, array_like=True):
    """The fleet's signed statements, and the addresses of its members."""

    statements: list[bytes] = []
    addresses: list[str] = []


class SeedFile:
    """Keeps the seed beside the database, sealed under a key that comes from the database's."""

    def __init__(self, path: Path, database_key: bytes) -> None:
        self._path = path
        self._cipher = AESGCM(derive(database_key, "fleet seed"))
        self._written: Seed | None = None

    def read(self) -> Seed:
        """Return the seed; an absent or damaged file is an empty one."""
        try:
            data = self._path.read_bytes()
            opened = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _DOMAIN)
            return msgspec.msgpack.decode(opened, type=Seed)
        except (OSError, InvalidTag, ValueError, msgspec.DecodeError):
            return Seed()

    def write(self, seed: Seed) -> None:
        """Replace the seed; raises `StorageError`. Writing the same again costs nothing."""
        if seed == self._written:
            return
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.msgpack.encode(seed), _DOMAIN)
        replace_private_file(self._path, nonce + sealed)
        self._written = seed
