"""The operations on discovery: who is around, and where to look besides."""

from __future__ import annotations

from typing import Annotated

import msgspec

from covey.errors import UnreachableError
from covey.fleet.discovery import Neighbour, Source, Standing
from covey.fleet.links import Links
from covey.fleet.neighbourhood import Neighbourhood
from covey.fleet.node import Done
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation

NodeAddress = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=261,
        description="A host name or an IP address, and :PORT if it is not 13500.",
    ),
]
_INVITE = "To take it in, here: covey invite; and there: covey join TOKEN"


class DiscoveredMachine(msgspec.Struct, frozen=True):
    """One machine around: a member, a stranger with Covey, or one that may not run Covey at all.

    `sources` are what sees it; `problem` is why it is not connected, `hint` what to do about it.
    """

    name: str
    standing: Standing
    node_id: str | None
    connected: bool
    addresses: list[str]
    sources: list[Source]
    os: str
    problem: str | None
    hint: str | None


class KeptAddress(msgspec.Struct, frozen=True):
    """An address that this node dials from now on, and who answered there so far, if anyone."""

    address: str
    node_id: str | None
    connected: bool
    problem: str | None


@operation(
    "fleet.discover",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/fleet/discovered",
    examples=("fleet discover", "fleet discover --json"),
)
async def discover(ctx: Context) -> list[DiscoveredMachine]:
    """Show the machines that can be found: on this LAN, in the tailnet, on record and added.

    Machines that are no members are shown, too, and never talked to.
    """
    around = ctx.service(Neighbourhood)
    await around.look()
    return [_show(around.links, item) for item in around.neighbours()]


@operation(
    "fleet.add",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/fleet/addresses",
    examples=("fleet add frigg.example.org", "fleet add 192.168.1.5:13500"),
)
async def add_address(ctx: Context, address: NodeAddress) -> KeptAddress:
    """Let this machine look for members at one more address, now and after each start.

    Whoever answers must prove to be a member; to take in a machine that is none, invite it.
    """
    around = ctx.service(Neighbourhood)
    added = await around.added.add(address)
    problem = None
    try:
        peer = await around.links.meet(added.address)
    except UnreachableError as error:
        peer, problem = None, error.message
    return KeptAddress(
        added.address,
        peer,
        connected=peer is not None and around.links.link_with(peer) is not None,
        problem=problem,
    )


@operation(
    "fleet.forget",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/fleet/addresses/{address}",
    examples=("fleet forget frigg.example.org",),
)
async def forget_address(ctx: Context, address: NodeAddress) -> Done:
    """Look no more at an address that was added on this machine."""
    around = ctx.service(Neighbourhood)
    forgotten = await around.added.forget(address)
    around.links.refresh()
    return Done(f"{forgotten} is forgotten.")


def _show(links: Links, item: Neighbour) -> DiscoveredMachine:
    connected = item.node_id is not None and links.link_with(item.node_id) is not None
    hint = None
    if item.standing is Standing.STRANGER:
        hint = _INVITE
    elif item.standing is Standing.UNKNOWN:
        hint = "If it is to have Covey: install it there. " + _INVITE
    return DiscoveredMachine(
        item.name or item.addresses[0],
        item.standing,
        item.node_id,
        connected,
        item.addresses,
        item.sources,
        item.os,
        None if connected else links.last_error(item.addresses),
        hint,
    )
