"""What a running node tells of itself and lets its owner do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from covey.operations.secret import Secret


class NodeState(StrEnum):
    """`ready` serves everything, `locked` waits for its keys, `removed` left the fleet."""

    READY = "ready"
    LOCKED = "locked"
    REMOVED = "removed"


class Peer(msgspec.Struct, frozen=True):
    """Another member as this node sees it.

    `source` is what knew the address that the connection runs over, `route` is direct or relayed,
    and `round_trip_ms` how long it takes to be answered.
    """

    node_id: str
    name: str | None
    kind: str
    state: str
    address: str | None
    direction: str | None
    source: str | None
    route: str | None
    round_trip_ms: float | None
    connected_at: str | None
    last_seen_at: str | None
    clock_skew_ms: int | None
    entries_sent: int
    entries_received: int
    entries_behind: int
    last_error: str | None


class NodeStatus(msgspec.Struct, frozen=True):
    """A node at one moment; what only an unlocked node knows is null while it is locked.

    `upstream` is what it holds on to: the cloud, the LAN's server, itself (serving), or nothing.
    `fleet` is there if it was asked for.
    """

    state: NodeState
    name: str | None
    node_id: str
    fleet_id: str
    kind: str | None
    role: str | None
    version: str
    pid: int
    started_at: str
    uptime_seconds: int
    listen: list[str]
    socket: str
    home: str
    members: int | None
    peers_connected: int | None
    upstream: str | None
    entries: int | None
    conflicts: int | None
    database_bytes: int | None
    certificate_expires_at: str | None
    warnings: list[str]
    fleet: list[Peer] | None = None


class CheckState(StrEnum):
    """The outcome of one check of `covey doctor`."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True):
    """One thing that can be wrong, whether it is, and the fix."""

    name: str
    state: CheckState
    message: str
    fix: str | None = None


class SyncReport(msgspec.Struct, frozen=True):
    """Which peers this node is level with after a sync."""

    level_with: list[str]
    not_level: list[str]
    unreachable: list[str]


class LogLine(msgspec.Struct, frozen=True):
    """One line of the node's log."""

    line: str


class ConfigKey(msgspec.Struct, frozen=True):
    """One setting: its value now, where that comes from, and its default."""

    key: str
    value: str
    source: str
    default: str
    help: str


class ConfigFile(msgspec.Struct, frozen=True):
    """Where the settings file is, and what is wrong with it, if anything."""

    path: str
    exists: bool
    problem: str | None = None


class Done(msgspec.Struct, frozen=True):
    """What was done, for people."""

    message: str


@dataclass(frozen=True, slots=True)
class NodeActions:
    """The running node, as its operations use it; `wiring` supplies each."""

    status: Callable[[], NodeStatus]
    checks: Callable[[], Awaitable[list[Check]]]
    lock: Callable[[], Awaitable[None]]
    unlock: Callable[[Secret], Awaitable[None]]
    shutdown: Callable[[], None]
    log_lines: Callable[[int, bool], AsyncIterator[str]]
    config: Callable[[], list[ConfigKey]]
    config_file: Callable[[], ConfigFile]
    peers: Callable[[], list[Peer]]
    sync: Callable[[float], Awaitable[SyncReport]]
    allow_writes: Callable[[], Awaitable[None]]
