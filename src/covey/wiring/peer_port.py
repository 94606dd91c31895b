"""The node behind the peer port, and its calls to other peer ports."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from covey.errors import CoveyError, RefusedError, UnauthenticatedError
from covey.fleet.authority import fingerprint
from covey.fleet.links import Links
from covey.fleet.membership import FleetService
from covey.fleet.pulse import LinkChannel
from covey.store.api import NodeId
from covey.surfaces.peer.dial import DialledChannel, PeerClient
from covey.surfaces.peer.requests import fetch_authority, post
from covey.surfaces.peer.service import RENEW_PATH, REPLICATE_PATH, Gate, PeerChannel

_log = logging.getLogger("covey.peers")


class TypedChannel:
    """A peer surface's channel as the store knows it: its peer is a node id."""

    def __init__(self, channel: PeerChannel) -> None:
        self._channel = channel
        self.send = channel.send
        self.receive = channel.receive
        self.close = channel.close
        self.ping = channel.ping
        self.abort = channel.abort

    @property
    def peer(self) -> NodeId:
        """The peer's node id, as its certificate proves."""
        return NodeId(self._channel.peer)


class PeerPort:
    """Implements the peer surface's `PeerService` on whatever node is open now."""

    def __init__(
        self,
        fleet: Callable[[], FleetService],
        links: Callable[[], Links],
        call_links: Callable[[], Links],
        gate: Callable[[], Gate],
    ) -> None:
        self._fleet = fleet
        self._links = links
        self._call_links = call_links
        self._gate = gate

    def gate(self) -> Gate:
        """Return what a member must prove besides its certificate."""
        return self._gate()

    def authority(self) -> bytes:
        """Return the trusted CA certificates as PEM; public."""
        return self._fleet().authority()

    async def join(self, request: bytes, address: str) -> bytes:
        """Answer a holder of an invitation."""
        return await self._fleet().admit(request, address)

    async def challenge(self, address: str) -> bytes:
        """Return a fresh challenge for a recovery."""
        return await self._fleet().challenge(address)

    async def recover(self, request: bytes, address: str) -> bytes:
        """Answer a holder of the recovery key."""
        return await self._fleet().recover(request, address)

    async def renew(self, request: bytes, address: str) -> bytes:
        """Issue a certificate to a member whose own has expired."""
        return await self._fleet().renew(request, address)

    def member(self, certificate: bytes) -> str:
        """Return the node id of an active member; raises `RefusedError` for all others."""
        return self._fleet().member(certificate)

    async def replicate(self, channel: PeerChannel, address: str) -> None:
        """Run a replication session that a member opened."""
        await self._links().accept(TypedChannel(channel), address)

    async def calls(self, channel: PeerChannel, address: str) -> None:
        """Carry operation calls with a member that connected for them."""
        await self._call_links().accept(TypedChannel(channel), address)


class RenewingDialer:
    """Dials members; a refusal for this node's certificate is answered by asking for a new one.

    `vouched` tells whether the fleet or its people named an address. Elsewhere, such as where an
    announcement on the LAN leads, only those are asked whose certificate a known CA has signed.
    """

    def __init__(
        self,
        client: PeerClient,
        fleet: Callable[[], FleetService],
        vouched: Callable[[str], bool],
        path: str = REPLICATE_PATH,
    ) -> None:
        self._client = client
        self._fleet = fleet
        self._vouched = vouched
        self._path = path

    async def dial(self, address: str) -> LinkChannel:
        """Connect to `host:port` and prove both identities."""
        try:
            return _typed(await self._client.dial(address, self._path))
        except (RefusedError, UnauthenticatedError) as refusal:
            if not await self._renewed(address):
                raise refusal from None
        return _typed(await self._client.dial(address, self._path))

    async def _renewed(self, address: str) -> bool:
        fleet = self._fleet()
        try:
            vouched = self._vouched(address)
            authority = await fetch_authority(address) if vouched else fleet.authority()
            answer = await post(address, RENEW_PATH, fleet.renewal_request(), authority)
            return await fleet.accept_renewal(answer)
        except CoveyError as error:
            _log.info("no renewal from %s: %s", address, error.message)
            return False


async def pinned_authority(address: str, wanted: bytes) -> bytes:
    """Fetch the CA certificate with this fingerprint as PEM.

    Raises `UnauthenticatedError` if the node at `address` has none such, `UnreachableError`.
    """
    pem = await fetch_authority(address)
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    for certificate in found:
        if fingerprint(certificate.public_bytes(Encoding.DER)) == wanted:
            return certificate.public_bytes(Encoding.PEM)
    raise UnauthenticatedError(
        f"The node at {address} is not of the fleet that the invitation is for.",
        hint="Check with the person who invited you; the address may belong to another node now.",
    )


def _typed(channel: DialledChannel) -> LinkChannel:
    return TypedChannel(channel)
