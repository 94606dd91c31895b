"""The keys by which this fleet gets at repositories, kept in its sealed records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from covey.apps.key_model import Credential, SshKey, Token
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.operations.secret import Secret
from covey.store.api import Change, RecordStore

_COLLECTION = "app_keys"
_HOST = re.compile(
    r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?"
)

KeyName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="A key's name: lower-case letters, digits and dashes.",
    ),
]


class _Kept(msgspec.Struct, frozen=True):
    credential: Credential
    at: str
    by: str


class DeployKey(msgspec.Struct, frozen=True):
    """A key without its secret; `public` is the line for the forge, `site` a token's host."""

    name: str
    kind: str
    created_at: str
    created_by: str
    public: str = ""
    site: str = ""
    user: str = ""


class ServerKey(msgspec.Struct, frozen=True):
    """The SSH host key of a git server, as it was when this machine first met it."""

    host: str
    algorithm: str
    fingerprint: str
    since: str


class DeployKeys:
    """Makes, keeps and finds keys; implements `Credentials`."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def create(self, name: str, by: str) -> DeployKey:
        """Make an SSH key; raises `ConflictError` if the name is taken."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return await self._add(
            name, SshKey(private.decode(), f"{public.decode()} covey-{name}"), by
        )

    async def store(self, name: str, site: str, user: str, token: Secret, by: str) -> DeployKey:
        """Keep a token for one host; raises `ConflictError` if the name is taken."""
        site = site.lower().removesuffix(":443")
        if not _HOST.fullmatch(site):
            raise InvalidRequestError(
                f"{site[:100]!r} is no host.", hint="For example: --site github.com"
            )
        text = token.reveal()
        if not text or not text.isprintable() or " " in text:
            raise InvalidRequestError("The token is empty, or holds spaces or line ends.")
        return await self._add(name, Token(site, user, text), by)

    def all(self) -> Iterator[DeployKey]:
        """Yield the keys by name."""
        for record in self._records.scan(_COLLECTION):
            yield _shown(record.key, _decode(record.value))

    def show(self, name: str) -> DeployKey:
        """Return a key; raises `NotFoundError`."""
        return _shown(name, self._find(name))

    def credential(self, name: str) -> Credential:
        """Return a key with its secret; raises `NotFoundError`."""
        return self._find(name).credential

    async def remove(self, name: str) -> None:
        """Remove a key; raises `NotFoundError`."""
        self._find(name)
        await self._records.write([Change(_COLLECTION, name, None)])

    async def _add(self, name: str, credential: Credential, by: str) -> DeployKey:
        if self._records.get(_COLLECTION, name) is not None:
            raise ConflictError(
                f"There is a key {name} already.",
                hint=f"Choose another name, or remove it: covey apps keys remove {name}",
            )
        kept = _Kept(credential, datetime.now(UTC).isoformat(timespec="seconds"), by)
        await self._records.write([Change(_COLLECTION, name, msgspec.msgpack.encode(kept))])
        return _shown(name, kept)

    def _find(self, name: str) -> _Kept:
        record = self._records.get(_COLLECTION, name)
        if record is None:
            raise NotFoundError(
                f"There is no key {name[:63]!r}.", hint="Which there are: covey apps keys list"
            )
        return _decode(record.value)


def _decode(value: bytes) -> _Kept:
    return msgspec.msgpack.decode(value, type=_Kept)


def _shown(name: str, kept: _Kept) -> DeployKey:
    match kept.credential:
        case SshKey(public=public):
            return DeployKey(name, "ssh", kept.at, kept.by, public=public)
        case Token(host=host, user=user):
            return DeployKey(name, "token", kept.at, kept.by, site=host, user=user)
