"""The whole store of every node under the same misfortunes, and restored from old copies."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from covey.errors import RefusedError, StorageError
from covey.store.fence import CatchingUpError
from tests.store.network import CrashError
from tests.store.network_stores import WholeNode
from tests.store.test_simulation import Fleet, full_nodes, nodes


class FleetOfStores(Fleet):
    """As `Fleet`, with the store that a daemon runs."""

    refusals = (StorageError, CatchingUpError, RefusedError)

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        super().__init__()

    def new_node(self, name: str) -> WholeNode:
        return WholeNode(name, self._loop, relay=name == "r")

    @rule(name=nodes)
    def keep_up(self, name: str) -> None:
        node = self._node(name)
        try:
            node.keep_up()
        except CrashError:
            node.restart()
        except StorageError:
            node.cutoffs_due = True

    @rule(name=full_nodes)
    def take_copy(self, name: str) -> None:
        self._node(name).take_copy()

    @rule(name=full_nodes)
    def restore_copy(self, name: str) -> None:
        self.disks_lost |= self._node(name).restore_copy()

    def _node(self, name: str) -> WholeNode:
        node = self.nodes[name]
        assert isinstance(node, WholeNode)
        return node

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()


def test_all_stores_converge_and_lose_nothing():
    run_state_machine_as_test(
        FleetOfStores,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
