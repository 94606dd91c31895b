"""What hosting needs to know of the node on which it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from covey.env.service import EnvService
from covey.fleet.hosts import HostRecords
from covey.store.api import NodeId, RecordStore
from covey.store.ports import LocalState


@dataclass(frozen=True, slots=True)
class AppNode:
    """The node on which apps run."""

    node: NodeId
    own_name: Callable[[], str]
    records: RecordStore
    local: LocalState
    env: EnvService
    hosts: HostRecords
