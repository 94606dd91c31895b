from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.store_nodes import StoreNode


@pytest.fixture(params=["memory", "sqlite"])
def make_node(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., StoreNode]:
    """Make nodes on each kind of storage."""

    def make(name: str, *, relay: bool = False) -> StoreNode:
        home = tmp_path / name if request.param == "sqlite" else None
        return StoreNode(name, home, relay=relay)

    return make
