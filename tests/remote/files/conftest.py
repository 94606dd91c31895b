"""Two machines, each with a root of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.remote.files.machine import Two, files


@pytest.fixture
def two(tmp_path: Path) -> Two:
    """Two roots, and the files of two machines that share one each."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    return a, b, files(a, home=tmp_path / "ha"), files(b, home=tmp_path / "hb")
