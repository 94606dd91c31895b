"""The node's keys while it is unlocked; `drop` forgets them and everything then says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from covey.errors import LockedError
from covey.fleet.identity import NodeIdentity
from covey.fleet.keyring import Keyring, OpenKeyring
from covey.fleet.node_secrets import KeyRing, NodeSecrets, join_rings
from covey.store.api import NodeId


class LiveKeys:
    """Satisfies the store's `DataKeys` and `Signer`; each method may raise `LockedError`.

    `save` writes the keyring file; it is called before a change is in force.
    """

    def __init__(self, opened: OpenKeyring, save: Callable[[Keyring], None]) -> None:
        self._opened: OpenKeyring | None = opened
        self._save = save
        self._node_id = opened.secrets.node_id
        self._by_id: dict[bytes, bytes] = {}
        self._signing_key: Ed25519PrivateKey | None = None
        self._index(opened.secrets)

    @property
    def unlocked(self) -> bool:
        """Whether the keys are in memory."""
        return self._opened is not None

    @property
    def opened(self) -> OpenKeyring:
        """The keyring itself, to change its slots."""
        if self._opened is None:
            raise LockedError(
                "This node is locked: its keys are not in memory.", hint="Run: covey unlock"
            )
        return self._opened

    @property
    def secrets(self) -> NodeSecrets:
        """Everything that the keyring holds."""
        return self.opened.secrets

    @property
    def identity(self) -> NodeIdentity:
        """The node's private keys."""
        return self.secrets.identity

    @property
    def node_id(self) -> NodeId:
        """This node's id; known while locked, too."""
        return self._node_id

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs the heads of this node's log."""
        if self._signing_key is None:
            self._signing_key = self.identity.signing_key
        return self._signing_key

    def current(self) -> tuple[bytes, bytes] | None:
        """Return `(generation id, 32-byte key)` that new entries are sealed with."""
        return next(iter(self._held().items()), None)

    def key(self, generation: bytes) -> bytes | None:
        """Return the key of a generation, or None if it was never given to this node."""
        return self._held().get(generation)

    def generations(self) -> Sequence[bytes]:
        """Return the ids of all generations held, newest first."""
        return tuple(self._held())

    def learn(
        self,
        ring: KeyRing = KeyRing(),  # noqa: B008 - frozen
        *,
        certificate: bytes | None = None,
        authorities: tuple[bytes, ...] | None = None,
        name: str | None = None,
    ) -> bool:
        """Add keys and replace what is given; saves and returns True if anything changed."""
        before = self.secrets
        joined = join_rings(before.ring, ring)
        after = msgspec.structs.replace(
            before,
            generations=joined.generations,
            authority_keys=joined.authorities,
            certificate=certificate or before.certificate,
            authorities=authorities or before.authorities,
            name=name or before.name,
        )
        return self._put(after)

    def forget_authorities(self, retired: set[bytes] | None) -> bool:
        """Drop the private keys of CAs with these certificates, or of all CAs for None."""
        before = self.secrets
        kept = tuple(
            item
            for item in before.authority_keys
            if retired is not None and item.certificate not in retired
        )
        return self._put(msgspec.structs.replace(before, authority_keys=kept))

    def replace_keyring(self, opened: OpenKeyring) -> None:
        """Take over a keyring with other slots (a new password) and save it."""
        self._save(opened.keyring)
        self._opened = opened

    def drop(self) -> None:
        """Forget all keys."""
        self._opened = None
        self._signing_key = None
        self._by_id = {}

    def _put(self, after: NodeSecrets) -> bool:
        opened = self.opened
        if after == opened.secrets:
            return False
        self.replace_keyring(opened.with_secrets(after))
        self._index(after)
        return True

    def _index(self, secrets: NodeSecrets) -> None:
        newest_first = sorted(secrets.generations, key=lambda item: item.rank, reverse=True)
        self._by_id = {item.id: item.key for item in newest_first}

    def _held(self) -> dict[bytes, bytes]:
        _ = self.opened
        return self._by_id
