"""The keyring file: the node's secrets under a random master key, which each slot wraps.

A slot is opened by the master password (Argon2id, RFC 9106) or by a key file. All encryption is
AES-256-GCM; what a slot says about itself is associated data, so that it cannot be exchanged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Meta

from covey.errors import (
    DamagedError,
    InvalidRequestError,
    NotFoundError,
    StorageError,
    UnauthenticatedError,
)
from covey.fleet.node_secrets import NodeSecrets
from covey.fleet.private_file import replace_private_file
from covey.fleet.sealing import derive
from covey.operations.secret import Secret

VERSION = 1
MIN_PASSWORD_LENGTH = 8
_KEY_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16
_MAX_FILE_BYTES = 4 << 20
_SECRETS_DOMAIN = b"covey keyring secrets v1"
_SLOT_DOMAIN = b"covey keyring slot v1\0"


class Argon2Cost(msgspec.Struct, frozen=True):
    """Parameters of Argon2id; the defaults are RFC 9106's second recommendation."""

    memory_kib: Annotated[int, Meta(ge=8, le=4 << 20)] = 64 << 10
    iterations: Annotated[int, Meta(ge=1, le=1000)] = 3
    lanes: Annotated[int, Meta(ge=1, le=64)] = 4


class PasswordSlot(msgspec.Struct, frozen=True, tag="password", tag_field="type"):
    """The master key, wrapped by the master password."""

    cost: Argon2Cost
    salt: bytes
    wrapped: bytes = b""


class KeyFileSlot(msgspec.Struct, frozen=True, tag="key-file", tag_field="type"):
    """The master key, wrapped by the content of a key file."""

    path: str
    salt: bytes
    wrapped: bytes = b""


Slot: TypeAlias = PasswordSlot | KeyFileSlot


class Keyring(msgspec.Struct, frozen=True):
    """The keyring as it is stored; `checksum` tells damage from a wrong password."""

    version: int
    node_id: str
    fleet_id: str
    slots: tuple[Slot, ...]
    secrets: bytes
    checksum: bytes = b""

    @property
    def key_file(self) -> Path | None:
        """The key file that opens it, if there is one."""
        found = (slot.path for slot in self.slots if isinstance(slot, KeyFileSlot))
        return next((Path(path) for path in found), None)

    @property
    def has_password(self) -> bool:
        """Whether a master password opens it."""
        return any(isinstance(slot, PasswordSlot) for slot in self.slots)


@dataclass(frozen=True, slots=True)
class OpenKeyring:
    """A keyring with its master key and secrets in memory."""

    keyring: Keyring = field(repr=False)
    master_key: bytes = field(repr=False)
    secrets: NodeSecrets = field(repr=False)

    def with_secrets(self, secrets: NodeSecrets) -> OpenKeyring:
        """Return the keyring with other secrets under the same slots."""
        return _assemble(self.keyring.slots, self.master_key, secrets)

    def with_password(self, password: Secret, cost: Argon2Cost | None = None) -> OpenKeyring:
        """Return the keyring with a new master password; other slots stay.

        The master key stays the same: an old copy of the file still opens by the old password.
        """
        others = tuple(slot for slot in self.keyring.slots if not isinstance(slot, PasswordSlot))
        slot = _password_slot(self.master_key, password, cost or Argon2Cost())
        return _assemble((slot, *others), self.master_key, self.secrets)

    def with_key_file(self, path: Path, key: bytes) -> OpenKeyring:
        """Return the keyring with another key file; other slots stay."""
        others = tuple(slot for slot in self.keyring.slots if not isinstance(slot, KeyFileSlot))
        slot = _key_file_slot(self.master_key, path, key)
        return _assemble((*others, slot), self.master_key, self.secrets)


def create_keyring(
    secrets: NodeSecrets,
    *,
    password: Secret | None = None,
    key_file: tuple[Path, bytes] | None = None,
    cost: Argon2Cost | None = None,
) -> OpenKeyring:
    """Make a keyring that a password, a key file (path and content) or both open.

    Raises `InvalidRequestError` for a password that is too short, or when neither is given.
    """
    if password is None and key_file is None:
        raise InvalidRequestError(
            "The node's keys need a master password or a key file.",
            hint="Give --password-stdin or --key-file PATH.",
        )
    master_key = os.urandom(_KEY_BYTES)
    slots: list[Slot] = []
    if password is not None:
        slots.append(_password_slot(master_key, password, cost or Argon2Cost()))
    if key_file is not None:
        slots.append(_key_file_slot(master_key, *key_file))
    return _assemble(tuple(slots), master_key, secrets)


def open_with_password(keyring: Keyring, password: Secret) -> OpenKeyring:
    """Open a keyring; takes about 0.1 s of computing.

    Raises `UnauthenticatedError` for a wrong password, `DamagedError`.
    """
    slot = next((item for item in keyring.slots if isinstance(item, PasswordSlot)), None)
    if slot is None:
        raise InvalidRequestError(
            "This node has no master password: its keys open with a key file.",
            hint=f"The key file is {keyring.key_file}.",
        )
    try:
        master_key = _unwrap(slot, _stretch(password, slot))
    except InvalidTag as error:
        raise UnauthenticatedError(
            "The master password is wrong.",
            hint="Try again; without it, the recovery key opens the fleet: covey recover",
        ) from error
    return _open(keyring, master_key)


def open_with_key(keyring: Keyring, key: bytes) -> OpenKeyring:
    """Open a keyring with a key file's content; raises `UnauthenticatedError`, `DamagedError`."""
    slot = next((item for item in keyring.slots if isinstance(item, KeyFileSlot)), None)
    if slot is None:
        raise InvalidRequestError(
            "No key file opens this node's keys: they have a master password.",
            hint="Run: covey unlock",
        )
    try:
        master_key = _unwrap(slot, derive(key, "key file", salt=slot.salt))
    except InvalidTag as error:
        raise UnauthenticatedError(
            f"The key file {slot.path} does not fit this node.",
            hint="Put back the key file that was there when the node was set up.",
        ) from error
    return _open(keyring, master_key)


def encode_keyring(keyring: Keyring) -> bytes:
    """Write a keyring as JSON."""
    return msgspec.json.format(msgspec.json.encode(keyring), indent=2) + b"\n"


def decode_keyring(data: bytes) -> Keyring:
    """Read a keyring from JSON and check that it is whole; raises `DamagedError`."""
    try:
        keyring = msgspec.json.decode(data, type=Keyring)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged("it is not a keyring") from error
    if keyring.version > VERSION:
        raise InvalidRequestError(
            f"The keyring has the format {keyring.version}; this Covey reads up to {VERSION}.",
            hint="Update Covey on this machine.",
        )
    if _checksum(keyring) != keyring.checksum:
        raise _damaged("its checksum does not fit")
    return keyring


def read_keyring(path: Path) -> Keyring:
    """Read the keyring file; raises `NotFoundError`, `StorageError` or `DamagedError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(
            "This machine is not in a fleet yet.",
            hint="Run `covey init` for a new fleet, or `covey join TOKEN`.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"The keyring {path} cannot be read: {error.strerror}.",
            hint="Make it readable by the user that runs Covey.",
        ) from error
    return decode_keyring(data)


def write_keyring(path: Path, keyring: Keyring) -> None:
    """Write the keyring file (mode 0600) atomically; raises `StorageError`."""
    replace_private_file(path, encode_keyring(keyring))


def _assemble(slots: tuple[Slot, ...], master_key: bytes, secrets: NodeSecrets) -> OpenKeyring:
    nonce = os.urandom(_NONCE_BYTES)
    plaintext = msgspec.msgpack.encode(secrets)
    sealed = nonce + AESGCM(_secrets_key(master_key)).encrypt(nonce, plaintext, _SECRETS_DOMAIN)
    bare = Keyring(VERSION, secrets.node_id, secrets.fleet_id, slots, sealed)
    keyring = msgspec.structs.replace(bare, checksum=_checksum(bare))
    return OpenKeyring(keyring, master_key, secrets)


def _open(keyring: Keyring, master_key: bytes) -> OpenKeyring:
    nonce, sealed = keyring.secrets[:_NONCE_BYTES], keyring.secrets[_NONCE_BYTES:]
    try:
        plaintext = AESGCM(_secrets_key(master_key)).decrypt(nonce, sealed, _SECRETS_DOMAIN)
        secrets = msgspec.msgpack.decode(plaintext, type=NodeSecrets)
    except (InvalidTag, ValueError, msgspec.DecodeError) as error:
        raise _damaged("the sealed keys were altered") from error
    return OpenKeyring(keyring, master_key, secrets)


def _password_slot(master_key: bytes, password: Secret, cost: Argon2Cost) -> PasswordSlot:
    if len(password.reveal()) < MIN_PASSWORD_LENGTH:
        raise InvalidRequestError(
            f"The master password is too short: it needs {MIN_PASSWORD_LENGTH} characters.",
            hint="A few random words are easy to remember and hard to guess.",
        )
    slot = PasswordSlot(cost, os.urandom(_SALT_BYTES))
    wrapped = _wrap(slot, _stretch(password, slot), master_key)
    return msgspec.structs.replace(slot, wrapped=wrapped)


def _key_file_slot(master_key: bytes, path: Path, key: bytes) -> KeyFileSlot:
    slot = KeyFileSlot(str(path.absolute()), os.urandom(_SALT_BYTES))
    wrapped = _wrap(slot, derive(key, "key file", salt=slot.salt), master_key)
    return msgspec.structs.replace(slot, wrapped=wrapped)


def _stretch(password: Secret, slot: PasswordSlot) -> bytes:
    cost = slot.cost
    try:
        stretch = Argon2id(
            salt=slot.salt,
            length=_KEY_BYTES,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )
    except ValueError as error:
        raise _damaged("its Argon2 parameters are out of range") from error
    return stretch.derive(password.reveal().encode("utf-8", "surrogatepass"))


def _wrap(slot: Slot, key: bytes, master_key: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, master_key, _slot_header(slot))


def _unwrap(slot: Slot, key: bytes) -> bytes:
    nonce, sealed = slot.wrapped[:_NONCE_BYTES], slot.wrapped[_NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, sealed, _slot_header(slot))
    except ValueError as error:
        raise _damaged("a slot is cut off") from error


def _slot_header(slot: Slot) -> bytes:
    return _SLOT_DOMAIN + msgspec.json.encode(msgspec.structs.replace(slot, wrapped=b""))


def _secrets_key(master_key: bytes) -> bytes:
    return derive(master_key, "keyring secrets")


def _checksum(keyring: Keyring) -> bytes:
    bare = msgspec.structs.replace(keyring, checksum=b"")
    return blake2b(msgspec.json.encode(bare), digest_size=16).digest()


def _damaged(reason: str) -> DamagedError:
    return DamagedError(
        f"The keyring of this node is damaged: {reason}.",
        hint="Restore keyring.json from a backup, or set the node up again with: covey recover",
    )
