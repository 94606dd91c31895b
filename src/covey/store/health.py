"""What the store knows to be wrong or waiting, for `covey doctor` and the metrics."""

from __future__ import annotations

import msgspec

from covey.store.api import NodeId
from covey.store.fence import FenceState
from covey.store.ports import Quarantined


class StoreHealth(msgspec.Struct, frozen=True):
    """Facts about the logs held here.

    `held` counts entries whose clock is absurdly ahead, `undecryptable` those whose data key this
    node was never given (0 on a relay, which is given none), `missing` stubs whose payload a peer
    may have. `fence` tells why this node cannot write, `backwards` names the origins whose clock
    once ran backwards.
    """

    entries: int
    logs: int
    quarantined: tuple[Quarantined, ...]
    held: int
    undecryptable: int
    missing: int
    relay: bool
    fence: FenceState | None = None
    forked: bool = False
    backwards: tuple[NodeId, ...] = ()
