"""Keeps a node whose database was restored from contradicting what its peers hold of its log.

A node that lost the end of its own log must not write: the sequence numbers that it would use again
are taken in the logs of its peers, and two entries with one number fork the chain, which no peer
accepts. So writing is fenced off from the restore until one of these is sure:

- the own log reaches as far as it was ever given to a peer, by the mark outside of the database
  (exact unless the machine lost power since);
- every other present member was met since, and the own log reaches as far as any of them holds it
  (they send what is missing here, as they do for any other log);
- the operator says so (`lift`), because the members that may hold more will never return. If one
  does return, its copy of this log does not verify against the new one; the remedy is then to
  remove this node and to join it anew.

The fence stands in the local state, so a restart does not lift it. Reading and replication go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from covey.errors import ConflictError
from covey.store.api import NodeId
from covey.store.ports import Published

LOCAL_NAMESPACE = "store"
FENCE_KEY = "fence"
FENCED = b"restored"
"""Value of the local state at `LOCAL_NAMESPACE`, `FENCE_KEY` in a restored database."""


class CatchingUpError(ConflictError):
    """This node cannot write before it has caught up with its own log."""

    code = "catching_up"


class FenceState(msgspec.Struct, frozen=True):
    """Why writing is fenced off: how far the own log is held, and who must still be met."""

    held: int
    needed: int
    unmet: tuple[NodeId, ...]


class Fence:
    """Whether this node may write to its own log; pure.

    `members` gives the present members, this node among them once the roster is known.
    """

    def __init__(
        self,
        node_id: NodeId,
        published: Published,
        members: Callable[[], Collection[NodeId]],
        *,
        up: bool,
    ) -> None:
        self._node_id = node_id
        self._published = published
        self._members = members
        self._met: dict[NodeId, int] = {}
        self.up = up

    def met(self, peer: NodeId, theirs: int) -> None:
        """Take note of how far a peer says that it holds this node's log."""
        self._met[peer] = max(theirs, self._met.get(peer, 0))

    def settle(self, held: int) -> bool:
        """Lift the fence if the own log, held up to `held`, is surely whole; True if it fell."""
        if not self.up or not self._whole(held):
            return False
        self.up = False
        return True

    def lift(self) -> None:
        """Lift the fence on the operator's word."""
        self.up = False

    def check(self, held: int) -> None:
        """Raise `CatchingUpError` while the fence stands."""
        if not self.up:
            return
        state = self.state(held)
        who = ", ".join(node[:8] for node in state.unmet) or "the other members"
        raise CatchingUpError(
            "This node's database was restored and lacks the end of the node's own log, so "
            "writing would contradict what other members hold.",
            hint=f"writing works again by itself once this node has met {who}: see `covey peers`",
            details={"held": state.held, "needed": state.needed, "unmet": list(state.unmet)},
        )

    def state(self, held: int) -> FenceState:
        """Return what the fence waits for."""
        others = set(self._members()) - {self._node_id}
        needed = max((self._published.seq, *self._met.values()))
        return FenceState(held, needed, tuple(sorted(others - self._met.keys())))

    def _whole(self, held: int) -> bool:
        if self._published.exact and held >= self._published.seq:
            return True
        if any(theirs > held for theirs in self._met.values()):
            return False
        members = set(self._members())
        others = members - {self._node_id}
        # Without this node in it the roster was lost as well, and says nothing.
        return self._node_id in members and bool(others) and others <= self._met.keys()
