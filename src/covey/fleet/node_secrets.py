"""What a node must keep secret: its keys, the database's key, the fleet's data keys."""

from __future__ import annotations

import os

import msgspec

from covey.fleet.authority import AuthorityKey
from covey.fleet.identity import KEY_BYTES, NodeIdentity
from covey.fleet.sealing import derive
from covey.store.api import NodeId

GENERATION_ID_BYTES = 16


class _Hidden(msgspec.Struct, frozen=True):
    """A struct that does not show its contents."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class GenerationKey(_Hidden, frozen=True):
    """One data key; its id is derived from it, so that a wrong key is found at once."""

    number: int
    key: bytes

    @classmethod
    def generate(cls, number: int) -> GenerationKey:
        """Make a new random data key."""
        return cls(number, os.urandom(KEY_BYTES))

    @property
    def id(self) -> bytes:
        """The generation's public id; it tells nothing of the key."""
        return derive(self.key, "data key id", GENERATION_ID_BYTES)

    @property
    def rank(self) -> tuple[int, bytes]:
        """The order of generations; the highest seals new entries."""
        return self.number, self.id


class AuthoritySecret(_Hidden, frozen=True):
    """A CA with its private key, as it is kept and as it is sealed to admins."""

    seed: bytes
    certificate: bytes
    number: int

    @classmethod
    def of(cls, key: AuthorityKey) -> AuthoritySecret:
        """Take over a CA's key."""
        return cls(key.seed, key.certificate, key.number)

    @property
    def opened(self) -> AuthorityKey:
        """The CA, ready to sign."""
        return AuthorityKey(self.seed, self.certificate, self.number)


class KeyRing(_Hidden, frozen=True):
    """The plaintext of what is sealed to a member, or to the recovery key."""

    generations: tuple[GenerationKey, ...] = ()
    authorities: tuple[AuthoritySecret, ...] = ()


class NodeSecrets(_Hidden, frozen=True):
    """Everything that the keyring file protects.

    `authorities` holds the trusted CA certificates, `authority_keys` is empty except on admins,
    `generations` is empty on relays. `name` is the name asked for; the host record decides.
    """

    name: str
    fleet_id: str
    fleet_name: str
    sign_seed: bytes
    seal_seed: bytes
    database_key: bytes
    certificate: bytes
    authorities: tuple[bytes, ...]
    generations: tuple[GenerationKey, ...] = ()
    authority_keys: tuple[AuthoritySecret, ...] = ()

    @property
    def identity(self) -> NodeIdentity:
        """The node's private keys."""
        return NodeIdentity(self.sign_seed, self.seal_seed)

    @property
    def node_id(self) -> NodeId:
        """The node's id."""
        return self.identity.node_id

    @property
    def ring(self) -> KeyRing:
        """What this node can hand on to an admin."""
        return KeyRing(self.generations, self.authority_keys)


def join_rings(*rings: KeyRing) -> KeyRing:
    """Unite rings; each key once, in a fixed order."""
    generations = {item.id: item for ring in rings for item in ring.generations}
    authorities = {item.seed: item for ring in rings for item in ring.authorities}
    return KeyRing(
        tuple(sorted(generations.values(), key=lambda item: item.rank)),
        tuple(sorted(authorities.values(), key=lambda item: (item.number, item.seed))),
    )
