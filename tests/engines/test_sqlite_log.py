from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.sqlite_home import SqliteHome
from tests.store.log_conformance import LogConformance, Opened


class TestSqliteLog(LogConformance):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Opened]:
        home = SqliteHome(tmp_path / "covey.db")
        yield home
        home.close()

    def reopened(self, opened: Opened) -> Opened:
        assert isinstance(opened, SqliteHome)
        opened.close()
        opened.open()
        return opened
