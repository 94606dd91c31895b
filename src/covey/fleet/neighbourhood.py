"""The running discovery: it listens to all sources, feeds the links and follows the upstream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from covey.errors import CoveyError
from covey.fleet.beacon import (
    Announcement,
    Heard,
    Known,
    next_epoch,
    properties,
    recognise,
)
from covey.fleet.core import FleetCore
from covey.fleet.discovery import (
    Neighbour,
    Sighting,
    Source,
    Target,
    dial_plan,
    host_of,
    is_ip_address,
    merge,
)
from covey.fleet.election import Candidate, Mode
from covey.fleet.links import Link, Links
from covey.fleet.machine import this_machine
from covey.fleet.routes import AddedAddresses
from covey.fleet.tailnet import Tailnet
from covey.fleet.upstream import (
    CloudSeen,
    Kind,
    LanSeen,
    Policy,
    Upstream,
    UpstreamMachine,
)
from covey.fleet.waiting import wait_a_while
from covey.settings import DEFAULT_PORT, Address, Settings, parse_address
from covey.store.api import NodeId

_TAILNET_EVERY_S = 60.0
_ASK_EVERY_S = 120.0
_ASK_WITHOUT_CLOUD_EVERY_S = 15.0
_log = logging.getLogger("covey.fleet.discovery")


class Radio(Protocol):
    """The LAN: what others announce there, and what this node does."""

    @property
    def heard(self) -> list[Heard]:
        """What the other machines announce now."""

    async def announce(self, what: Announcement) -> None:
        """Say this from now on, on every interface that the machine has now."""

    def ask(self) -> None:
        """Ask the others to say again what they announce."""

    async def close(self) -> None:
        """Take leave of the LAN."""


class TailnetSource(Protocol):
    """Tells of the machines of the tailnet."""

    async def read(self) -> Tailnet | None:
        """Return the tailnet, or None if there is none here. Raises `CoveyError`."""


class Watch(Protocol):
    """Calls back after this machine's addresses changed."""

    def start(self) -> None:
        """Begin to watch."""

    def close(self) -> None:
        """Watch no more."""


@dataclass(frozen=True, slots=True)
class Senses:
    """What discovery uses of the outside world; wiring supplies each.

    `radio`, `tailnet` and `watch` are None where the source is off. `own_addresses` are where
    others reach this node as far as the settings and the interfaces tell, `lan_addresses` what
    its interfaces have; `seeded` are addresses from joining.
    """

    own_addresses: Callable[[], list[str]]
    lan_addresses: Callable[[], list[str]]
    seeded: Callable[[], list[str]]
    radio: Callable[[Callable[[], None]], Radio] | None
    tailnet: TailnetSource | None
    watch: Callable[[Callable[[], None]], Watch] | None
    announce: Callable[[], Awaitable[None]]


class Neighbourhood:
    """Make it, give it the links by `attach`, `start` it and `close` it."""

    def __init__(self, core: FleetCore, settings: Settings, senses: Senses) -> None:
        self._core = core
        self._settings = settings
        self._senses = senses
        self._mode = Mode(settings.server.mode)
        self._radio: Radio | None = None
        self._watch = None if senses.watch is None else senses.watch(self._moved)
        self._tailnet: Tailnet | None = None
        self._recognised: dict[tuple[int, str, str], Known | None] = {}
        self._moves = asyncio.Event()
        self._lan_is_new = asyncio.Event()
        self._changes = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.added = AddedAddresses(core.local)
        self.trouble: str | None = None
        client = settings.client
        self._cloud = client.cloud_url if client.enable_cloud else ""
        # Without a radio, or on a relay, which holds no data key, the LAN cannot know this node.
        lan = client.enable_lan and senses.radio is not None and bool(self._keys())
        policy = Policy(core.keys.node_id, self._mode, bool(self._cloud), lan)
        self._machine = UpstreamMachine(policy, time.monotonic())

    def attach(self, links: Links) -> None:
        """Use these links; they ask `targets` and call `links_changed`."""
        self.links = links

    @property
    def upstream(self) -> Upstream:
        """The node that this one holds on to."""
        return self._machine.upstream

    @property
    def tailnet_addresses(self) -> list[str]:
        """Where this node is reached in the tailnet."""
        if self._tailnet is None:
            return []
        port = self._port()
        return [str(Address(item, port)) for item in self._tailnet.me.addresses]

    @property
    def tailscale_name(self) -> str:
        """This machine's name in the tailnet, or its first address there; empty without one."""
        if self._tailnet is None:
            return ""
        return next(iter([self._tailnet.me.dns_name, *self._tailnet.me.addresses]), "")

    def start(self) -> None:
        """Begin to listen."""
        if self._watch is not None:
            self._watch.start()
        work: list[Coroutine[None, None, None]] = [self._follow_upstream(), self._follow_moves()]
        if self._senses.radio is not None:
            work.append(self._announce_on_lan(self._senses.radio))
        if self._senses.tailnet is not None:
            work.append(self._follow_tailnet(self._senses.tailnet))
        self._tasks = [asyncio.create_task(item) for item in work]

    async def close(self) -> None:
        """Take leave."""
        if self._watch is not None:
            self._watch.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._radio is not None:
            await self._radio.close()

    def targets(self) -> tuple[Target, ...]:
        """Return what is to be dialled now."""
        if not self._core.is_member:
            return ()
        senses = self._senses
        own = {*senses.own_addresses(), *senses.lan_addresses(), *self.tailnet_addresses}
        return dial_plan(self.sightings(), own=own, me=self._core.keys.node_id)

    def vouches_for(self, address: str) -> bool:
        """Whether the fleet's records or people named an address, and not just a rumour."""
        return any(
            address in item.addresses
            for item in self.sightings()
            if item.source not in {Source.LAN, Source.TAILSCALE}
        )

    def links_changed(self) -> None:
        """Take note that a link opened, ended, or is doubted."""
        self._changes.set()

    def source_of(self, link: Link) -> Source | None:
        """Return which source knows the address that a link runs over."""
        if link.source is not None:
            return link.source
        host = host_of(link.address)
        for sighting in self.sightings():
            if host in {host_of(address) for address in sighting.addresses}:
                return sighting.source
        return None

    def neighbours(self) -> list[Neighbour]:
        """Return everybody who is around, members first, this machine left out."""
        core = self._core
        hosts = core.hosts.list() if core.reads_hosts else []
        by_host = {
            host_of(address): NodeId(host.node_id)
            for host in hosts
            if host.node_id is not None
            for address in host.addresses
        }
        found = merge(
            (item for item in self.sightings() if item.node_id != core.keys.node_id),
            name_of=core.name_of,
            answered=self.links.peer_at,
            hosts_of=by_host.get,
        )
        return [item for item in found if item.node_id != core.keys.node_id]

    async def look(self) -> None:
        """Ask the sources that are not told of changes by themselves."""
        if self._senses.tailnet is not None:
            await self._read_tailnet(self._senses.tailnet)

    def sightings(self) -> list[Sighting]:
        """Return what all sources tell now."""
        core = self._core
        found: list[Sighting] = []
        if self._cloud:
            found.append(Sighting(Source.CLOUD, self._cloud, self._cloud, (self._cloud,)))
        manual = [*self._settings.fleet.peers, *(item.address for item in self.added.list())]
        found.extend(Sighting(Source.MANUAL, item, item, (item,)) for item in manual)
        found.extend(self._of_lan())
        recorded = self._of_records()
        found.extend(recorded)
        if not core.reads_hosts or not recorded:
            seeded = self._senses.seeded()
            found.extend(Sighting(Source.RECORD, item, item, (item,)) for item in seeded)
        found.extend(self._of_tailnet())
        return found

    def _of_lan(self) -> list[Sighting]:
        found = []
        for heard in self._radio.heard if self._radio is not None else ():
            known = self._recognise(heard)
            addresses = tuple(str(Address(item, heard.port)) for item in heard.addresses)
            found.append(
                Sighting(
                    Source.LAN,
                    heard.name,
                    heard.name,
                    addresses,
                    None if known is None else known.node_id,
                    None if known is None else known.mode,
                    dial=known is not None and heard.port > 0,
                )
            )
        return found

    def _of_records(self) -> list[Sighting]:
        core = self._core
        hosts = core.hosts.list() if core.reads_hosts else []
        by_node = {host.node_id: host for host in hosts if host.node_id is not None}
        found = []
        for member in core.roster.present:
            host = by_node.get(member.node_id)
            addresses = member.addresses or (host.addresses if host is not None else ())
            if addresses and member.node_id != core.keys.node_id:
                name, system = (host.name, host.os) if host is not None else ("", "")
                found.append(
                    Sighting(
                        Source.RECORD,
                        member.node_id,
                        name,
                        addresses,
                        member.node_id,
                        os=system,
                    )
                )
        return found

    def _of_tailnet(self) -> list[Sighting]:
        others = self._tailnet.others if self._tailnet is not None else ()
        return [
            Sighting(
                Source.TAILSCALE,
                item.stable_id,
                item.name or item.dns_name,
                tuple(str(Address(address, DEFAULT_PORT)) for address in item.addresses),
                dial=item.online,
                os=item.os,
            )
            for item in others
        ]

    def _recognise(self, heard: Heard) -> Known | None:
        mark = (heard.port, heard.properties.get("t", ""), heard.properties.get("m", ""))
        if mark not in self._recognised:
            members = (member.node_id for member in self._core.roster.present)
            self._recognised[mark] = recognise(heard, self._keys(), members, time.time())
        return self._recognised[mark]

    def _keys(self) -> list[bytes]:
        """Return the data keys, newest first; a relay has none, and is not known on a LAN."""
        keys = self._core.keys
        found = (keys.key(generation) for generation in keys.generations())
        return [key for key in found if key is not None]

    def _port(self) -> int:
        own = self._senses.lan_addresses()
        return parse_address(own[0]).port if own else DEFAULT_PORT

    def members_changed(self) -> None:
        """Take note that others are members now, or that there is another data key."""
        self._recognised.clear()
        self._lan_is_new.set()
        self._changes.set()

    def _heard_changed(self) -> None:
        self._recognised.clear()
        self._refresh()

    def _moved(self) -> None:
        self._moves.set()

    def _refresh(self) -> None:
        self.links.refresh()
        self._changes.set()

    async def _follow_moves(self) -> None:
        """Tell the fleet, and dial anew, when this machine's addresses changed."""
        known = self._senses.lan_addresses()
        while True:
            await self._moves.wait()
            self._moves.clear()
            self._lan_is_new.set()
            present = self._senses.lan_addresses()
            if present != known:
                _log.info("the addresses of this machine are now: %s", ", ".join(present))
                known = present
                self._refresh()
                await self._senses.announce()
            self.links.dial_now()

    async def _announce_on_lan(self, make: Callable[[Callable[[], None]], Radio]) -> None:
        while True:
            self._lan_is_new.clear()
            announcement = self._announcement()
            if announcement is not None:
                if self._radio is None:
                    self._radio = make(self._heard_changed)
                await self._radio.announce(announcement)
            if self._radio is not None:
                self._radio.ask()
            with_cloud = self.upstream.kind is Kind.CLOUD
            pause = _ASK_EVERY_S if with_cloud else _ASK_WITHOUT_CLOUD_EVERY_S
            await wait_a_while(self._lan_is_new, min(pause, next_epoch(time.time())))

    def _announcement(self) -> Announcement | None:
        keys = self._keys()
        if not keys or not self._core.is_member:
            return None
        me, now, port = self._core.keys.node_id, time.time(), self._port()
        version = this_machine("covey").covey_version
        own = (parse_address(item).host for item in self._senses.lan_addresses())
        return Announcement(
            self._core.keys.secrets.name,
            port,
            tuple(host for host in own if is_ip_address(host)),
            properties(keys[0], me, self._mode, port, now, version),
        )

    async def _follow_tailnet(self, tailnet: TailnetSource) -> None:
        while True:
            await self._read_tailnet(tailnet)
            await asyncio.sleep(_TAILNET_EVERY_S)

    async def _read_tailnet(self, tailnet: TailnetSource) -> None:
        try:
            found = await tailnet.read()
            self.trouble = None
        except CoveyError as error:
            if self.trouble != error.message:
                _log.warning("%s", error.message)
            self.trouble = error.message
            return
        if found != self._tailnet:
            self._tailnet = found
            self._refresh()
            await self._senses.announce()

    async def _follow_upstream(self) -> None:
        while True:
            self._decide()
            deadline = self._machine.deadline
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            await wait_a_while(self._changes, wait)
            self._changes.clear()

    def _decide(self) -> None:
        now = time.monotonic()
        before = self._machine.upstream
        self._machine.handle(LanSeen(self._candidates()), now)
        after = self._machine.handle(CloudSeen(self._cloud_peer()), now)
        if after == before:
            return
        held = after.node_id if after.kind in {Kind.CLOUD, Kind.LAN} else None
        name = "" if held is None else f" ({self._core.name_of(held)})"
        _log.info("upstream: %s%s", after.kind.value, name)
        self.links.hold_on_to(held)

    def _cloud_peer(self) -> NodeId | None:
        peer = self.links.peer_at(self._cloud) if self._cloud else None
        return peer if peer is not None and self._answers(peer) else None

    def _answers(self, peer: NodeId) -> bool:
        link = self.links.link_with(peer)
        return link is not None and not link.pulse.doubted

    def _candidates(self) -> frozenset[Candidate]:
        """Return the members of this LAN: announced here, and connected from where they announce.

        A machine that moved away is announced for a while, but its link is from elsewhere.
        """
        found = set()
        for sighting in self._of_lan():
            if sighting.node_id is None or sighting.mode is None:
                continue
            link = self.links.link_with(sighting.node_id)
            if link is None or link.pulse.doubted:
                continue
            if host_of(link.address) in {host_of(item) for item in sighting.addresses}:
                found.add(Candidate(sighting.node_id, sighting.mode))
        return frozenset(found)
