"""Which node this one holds on to: the cloud, else the LAN's server, else it serves the LAN itself.

Holding on means to dial without long pauses and to test the connection each second. It never
means to talk to nobody else: entries flow over every open link, and merging is idempotent, so a
change of the upstream moves no data and can lose none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from covey.fleet.election import Candidate, Mode, elect
from covey.store.api import NodeId

GRACE_S = 0.3
"""How long a cloud that is lost may take to come back before the LAN takes over."""

STEADY_S = 1.0
"""How long a cloud that was lost must hold before it is returned to."""

LISTEN_S = 3.0
"""How long a machine that has just started listens for others before it serves the LAN itself."""


class Kind(StrEnum):
    """What a node holds on to. `alone` is what a machine is that neither finds nor may serve."""

    CLOUD = "cloud"
    LAN = "lan"
    SERVING = "serving"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Upstream:
    """The node held on to: the cloud's or the LAN server's id, as far as it is known."""

    kind: Kind
    node_id: NodeId | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings allow; `cloud` is false without an address of one, too."""

    me: NodeId
    mode: Mode
    cloud: bool
    lan: bool


@dataclass(frozen=True, slots=True)
class CloudSeen:
    """The connection to the cloud answers, or (with None) does not."""

    node_id: NodeId | None


@dataclass(frozen=True, slots=True)
class LanSeen:
    """The machines of this LAN with whom a connection is open and answers, without this one."""

    candidates: frozenset[Candidate]


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time has passed."""


Event = CloudSeen | LanSeen | Elapsed


class UpstreamMachine:
    """Takes events with the time at which they happened; `upstream` is the decision.

    `deadline` is when an `Elapsed` may change it, or None. Times are seconds of one steady clock.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._cloud: NodeId | None = None
        self._cloud_since = now
        self._left_cloud = False
        self._lan: frozenset[Candidate] = frozenset()
        self._started = now
        self.upstream = Upstream(Kind.ALONE)
        self.deadline: float | None = None
        self.handle(Elapsed(), now)

    def handle(self, event: Event, now: float) -> Upstream:
        """Take in what happened and return what to hold on to from now on."""
        match event:
            case CloudSeen(node_id):
                if (node_id is None) != (self._cloud is None):
                    self._cloud_since = now
                self._cloud = node_id
            case LanSeen(candidates):
                self._lan = candidates
            case Elapsed():
                pass
        self.deadline = None
        found = self._decide(now)
        if found.kind is Kind.CLOUD:
            self._left_cloud = False
        elif self.upstream.kind is Kind.CLOUD:
            self._left_cloud = True
        self.upstream = found
        return found

    def _decide(self, now: float) -> Upstream:
        present = self.upstream
        # The deadlines are compared as they were given out: a rounded difference may miss them.
        steady, lost = self._cloud_since + STEADY_S, self._cloud_since + GRACE_S
        if self._policy.cloud and self._cloud is not None:
            if present.kind is Kind.CLOUD or not self._left_cloud or now >= steady:
                return Upstream(Kind.CLOUD, self._cloud)
            self.deadline = steady
        elif present.kind is Kind.CLOUD and now < lost:
            self.deadline = lost
            return present
        return self._of_lan(now)

    def _of_lan(self, now: float) -> Upstream:
        policy = self._policy
        if not policy.lan:
            return Upstream(Kind.ALONE)
        server = elect([*self._lan, Candidate(policy.me, policy.mode)])
        if server is None:
            return Upstream(Kind.ALONE)
        if server != policy.me:
            return Upstream(Kind.LAN, server)
        return self._serve(now)

    def _serve(self, now: float) -> Upstream:
        """Serve once no better machine showed itself for a while."""
        if self.upstream.kind is Kind.SERVING:
            return self.upstream
        if self.upstream.kind is not Kind.ALONE:
            # Whom it held on to is gone: the others of this LAN are known, so it need not listen.
            return Upstream(Kind.SERVING, self._policy.me)
        ready = self._started + LISTEN_S
        if now >= ready:
            return Upstream(Kind.SERVING, self._policy.me)
        self.deadline = ready if self.deadline is None else min(ready, self.deadline)
        return Upstream(Kind.ALONE)
