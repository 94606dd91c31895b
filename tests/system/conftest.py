"""A fleet of real daemons for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.harness import Fleet, new_fleet


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """An empty fleet whose daemons end with the test."""
    with new_fleet() as made:
        yield made
