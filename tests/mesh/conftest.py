"""A laboratory for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh.machines import Mesh, new_mesh


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """An empty laboratory that vanishes with the test."""
    with new_mesh() as made:
        yield made
