"""Nodes of the simulated network that run the whole store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from covey.store.api import Change
from covey.store.clock import HybridClock
from covey.store.compaction import Retention
from covey.store.ports import Leaf
from covey.store.replica import LogReplica
from covey.store.store import Store
from covey.testing.memory_log import MemoryLog, MemoryMark
from tests.store.network import Node

T = TypeVar("T")


class WholeNode(Node):
    """One node with the store that a daemon has; `restore` puts an old copy of the log in place."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, *, relay: bool = False) -> None:
        self._loop = loop
        self._mark = MemoryMark()
        self._copy: MemoryLog | None = None
        self.cutoffs_due = False
        super().__init__(name, relay=relay)

    def _boot(self) -> LogReplica:
        self.store = Store(
            self.log,
            self.log,
            self._mark,
            fleet_id="fleet",
            signer=self.signer,
            keys=self.keys,
            trust=self.roster,
            roster=self.roster,
            members=self.roster.present,
            clock=HybridClock(self.wall),
            retention=Retention(90, 10),
        )
        self.run(self.store.start())
        self.cutoffs_due = False
        self.roster.subscribe(self._roster_changed)
        return self.store.replica

    def _roster_changed(self) -> None:
        self.cutoffs_due = True

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def restart(self) -> None:
        self._stop_upkeep()
        super().restart()

    def close(self) -> None:
        self._stop_upkeep()

    def _stop_upkeep(self) -> None:
        for task in self.store._tasks:
            task.cancel()
        self.run(asyncio.sleep(0))

    def write(self, *changes: tuple[str, bytes | None]) -> list[int]:
        writing = self.store.records.write([Change("env", key, value) for key, value in changes])
        return [version.seq for version in self.run(writing)]

    def keep_up(self) -> None:
        """Do what the upkeep does from time to time."""
        self.run(self.store._release())
        if self.cutoffs_due:
            self.cutoffs_due = False
            self.run(self.store.trust_changed())

    def catch_up(self) -> None:
        self.cutoffs_due = True
        self.keep_up()

    def take_copy(self) -> None:
        self._copy = self.log.survivors()

    def restore_copy(self) -> bool:
        """Lose the database and go on from the last copy; False if there is none."""
        if self._copy is None:
            return False
        for link in list(self.ends):
            link.cut()
        self.log = self._copy
        self.restart()
        return True

    def folded(self) -> dict[str, tuple[Leaf, ...]]:
        found: dict[str, list[Leaf]] = {}
        for leaf in self.log.scan_leaves("env", ""):
            found.setdefault(leaf.key, []).append(leaf)
        return {
            key: tuple(sorted(each, key=lambda leaf: (leaf.hlc, leaf.origin), reverse=True))
            for key, each in sorted(found.items())
        }

    def oracle(self) -> dict[str, tuple[Leaf, ...]]:
        return self._reference().oracle()
