from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from covey.errors import StorageError
from covey.testing.memory_log import CrashError, Fault, MemoryLog
from tests.store.log_conformance import A, LogConformance, Opened, append, entry


@dataclass
class _Memory:
    log: MemoryLog

    @property
    def local(self) -> MemoryLog:
        return self.log


class TestMemoryLog(LogConformance):
    @pytest.fixture
    def opened(self) -> Opened:  # type: ignore[override]
        return _Memory(MemoryLog())

    def reopened(self, opened: Opened) -> Opened:
        assert isinstance(opened, _Memory)
        return _Memory(opened.log.survivors())


@pytest.mark.parametrize("error", [CrashError(), StorageError("full")])
def test_a_fault_loses_its_own_commit_alone(error: CrashError | StorageError):
    log = MemoryLog()
    log.before_commit = Fault(2, error)
    append(log, entry(1))
    with pytest.raises(type(error)):
        append(log, entry(2))
    append(log, entry(3))
    assert [each.seq for each in log.survivors().read(A, 0, 9)] == [1, 3]


def test_a_fault_strikes_local_state_too():
    log = MemoryLog()
    log.before_commit = Fault(1, StorageError("full"))
    with pytest.raises(StorageError):
        asyncio.run(log.put_local("space", "name", b"value"))
    assert log.get_local("space", "name") is None
