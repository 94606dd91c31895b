"""What every `LogStorage` with its `LocalState` must do, the fake as well as the real one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
import pytest

from covey.store.api import NodeId
from covey.store.entry import Entry, chain_next, chain_start
from covey.store.ports import ChainHead, Leaf, LocalState, LogStorage, LogWriter, Quarantined
from tests.store.keys import NodeSigner

T = TypeVar("T")
A = NodeSigner("a").node_id
B = NodeSigner("b").node_id
ONE, TWO = b"generation-one..", b"generation-two.."


class Opened(Protocol):
    """A storage under test."""

    @property
    def log(self) -> LogStorage: ...

    @property
    def local(self) -> LocalState: ...


def entry(
    seq: int,
    *,
    origin: NodeId = A,
    hlc: int | None = None,
    payload: bytes | None = b"sealed",
    generation: bytes = ONE,
    signature: bytes = b"",
    collection: str = "env",
) -> Entry:
    digest = bytes([seq % 256]) * 32
    at = seq * 100 if hlc is None else hlc
    key_hash = bytes(16)
    return Entry(origin, seq, at, collection, key_hash, generation, payload, digest, signature)


def leaf(key: str, seq: int, value: bytes | None = b"v", *, origin: NodeId = A, **context: int):
    names = {"a": A, "b": B}
    seen = {names[name]: at for name, at in context.items()}
    return Leaf("env", key, origin, seq, seq * 100, seen, value)


def write(log: LogStorage, work: Callable[[LogWriter], T]) -> T:
    return asyncio.run(log.commit(work))


def append(log: LogStorage, *entries: Entry) -> None:
    write(log, lambda writer: [writer.append(each) for each in entries])


def fold(log: LogStorage, key: str, leaves: Sequence[Leaf], *versions: Entry) -> None:
    write(log, lambda writer: writer.set_leaves("env", key, leaves, versions))


class LogConformance:
    """Subclasses give `opened`: a storage, and `reopened`: the same one in a new process."""

    @pytest.fixture
    def opened(self) -> Iterator[Opened]:
        raise AssertionError("a subclass opens its storage")

    def reopened(self, opened: Opened) -> Opened:
        raise AssertionError("a subclass opens its storage again")

    def test_an_empty_storage_holds_nothing(self, opened: Opened):
        log = opened.log
        assert log.heads() == {}
        assert log.read(A, 0, 10) == []
        assert log.leaves("env", "X") == []
        assert list(log.scan_leaves("env", "")) == []
        assert log.contested("env") == []
        assert log.quarantined() == []
        assert log.held() == []
        assert log.versions("env", "X") == []
        assert log.payloads_outside([]) == 0
        assert log.superseded(1 << 62, 0, 10) == ([], None)

    def test_entries_come_back_whole_and_in_order(self, opened: Opened):
        entries = [entry(seq, signature=b"signed" if seq == 4 else b"") for seq in range(1, 5)]
        append(opened.log, *entries[::-1])
        append(opened.log, entry(1, origin=B, collection="host", generation=TWO))
        assert opened.log.read(A, 0, 10) == entries
        assert opened.log.read(A, 1, 2) == entries[1:3]
        assert opened.log.read(A, 4, 2) == []
        assert opened.log.read(B, 0, 9) == [entry(1, origin=B, collection="host", generation=TWO)]

    def test_everything_is_there_after_a_restart(self, opened: Opened):
        chain = chain_next(chain_start(A), bytes(32))

        def work(writer: LogWriter) -> None:
            writer.append(entry(1))
            writer.append(entry(2))
            writer.set_head(A, ChainHead(2, chain))
            writer.set_leaves("env", "X", [leaf("X", 2, b"\0value", a=1, b=7)], [entry(2)])
            writer.quarantine(Quarantined(A, 1, "altered", b"frame"))
            writer.hold(entry(1))

        write(opened.log, work)
        asyncio.run(opened.local.put_local("space", "name", b"\0value"))
        again = self.reopened(opened)
        assert again.log.read(A, 0, 9) == [entry(1), entry(2)]
        assert again.log.heads() == {A: ChainHead(2, chain)}
        assert again.log.leaves("env", "X") == [leaf("X", 2, b"\0value", a=1, b=7)]
        assert again.log.versions("env", "X") == [entry(2)]
        assert again.log.quarantined() == [Quarantined(A, 1, "altered", b"frame")]
        assert again.log.held() == [entry(1)]
        assert again.local.get_local("space", "name") == b"\0value"

    def test_a_stub_is_filled_and_a_payload_stays(self, opened: Opened):
        append(opened.log, entry(1, payload=None, signature=b"signed", hlc=7, generation=TWO))
        append(opened.log, entry(1, payload=b"good"))
        assert opened.log.read(A, 0, 9) == [entry(1, payload=b"good", signature=b"signed")]
        append(opened.log, entry(1, payload=None))
        append(opened.log, entry(1, payload=b"other"))
        assert opened.log.read(A, 0, 9) == [entry(1, payload=b"good", signature=b"signed")]

    def test_a_dropped_payload_leaves_a_stub(self, opened: Opened):
        append(opened.log, entry(1), entry(2))
        fold(opened.log, "X", [leaf("X", 2)], entry(1), entry(2))
        write(opened.log, lambda writer: writer.drop_payload(A, 1))
        stub = msgspec.structs.replace(entry(1), payload=None)
        assert opened.log.read(A, 0, 9) == [stub, entry(2)]
        assert sorted(e.seq for e in opened.log.versions("env", "X")) == [1, 2]
        assert opened.log.superseded(1 << 62, 0, 10) == ([], None)
        assert opened.log.payloads_outside([TWO]) == 1
        append(opened.log, entry(1))
        fold(opened.log, "X", [leaf("X", 2)], entry(1))
        assert opened.log.superseded(1 << 62, 0, 10) == ([entry(1)], None)

    def test_leaves_are_replaced_and_their_versions_remembered(self, opened: Opened):
        append(opened.log, *(entry(seq) for seq in range(1, 4)), entry(1, origin=B))
        fold(opened.log, "X", [leaf("X", 1)], entry(1))
        fold(opened.log, "X", [leaf("X", 2, a=1), leaf("X", 1, None, origin=B)], entry(2))
        assert opened.log.contested("env") == ["X"]
        assert {each.origin for each in opened.log.leaves("env", "X")} == {A, B}
        fold(opened.log, "X", [leaf("X", 3, None, a=2, b=1)], entry(3), entry(1, origin=B))
        assert opened.log.contested("env") == []
        assert opened.log.leaves("env", "X") == [leaf("X", 3, None, a=2, b=1)]
        places = {(each.origin, each.seq) for each in opened.log.versions("env", "X")}
        assert places == {(A, 1), (A, 2), (A, 3), (B, 1)}
        fold(opened.log, "X", [])
        assert opened.log.leaves("env", "X") == []
        assert len(opened.log.versions("env", "X")) == 4
        fold(opened.log, "X", [leaf("X", 2, a=1)])
        assert opened.log.leaves("env", "X") == [leaf("X", 2, a=1)]

    def test_an_empty_value_is_no_deletion(self, opened: Opened):
        append(opened.log, entry(1))
        fold(opened.log, "X", [leaf("X", 1, b"")], entry(1))
        assert opened.log.leaves("env", "X")[0].value == b""

    def test_scans_go_by_prefix_in_key_order(self, opened: Opened):
        names = [
            "a",
            "a\0b",
            "ab",
            "ab\U0010ffff",
            "ab\U0010ffffz",
            "ac",
            "b",
            "é",
            "\ud7ff",
            "\U0010ffff",
        ]
        names += [f"ab{number:04}" for number in range(700)]

        def work(writer: LogWriter) -> None:
            for seq, name in enumerate(names, 1):
                writer.append(entry(seq))
                writer.set_leaves("env", name, [leaf(name, seq)], [entry(seq)])
            writer.set_leaves("env", "ab-gone", [], [])

        write(opened.log, work)
        for prefix in ("", "a", "ab", "ab\U0010ffff", "\ud7ff", "\U0010ffff", "zz"):
            found = [each.key for each in opened.log.scan_leaves("env", prefix)]
            assert found == sorted(name for name in names if name.startswith(prefix))
        assert list(opened.log.scan_leaves("host", "")) == []

    def test_a_scan_sees_rivals_and_may_be_left_early(self, opened: Opened):
        append(opened.log, entry(1), entry(1, origin=B))
        fold(opened.log, "X", [leaf("X", 1), leaf("X", 1, origin=B)])
        assert len(list(opened.log.scan_leaves("env", "X"))) == 2
        next(opened.log.scan_leaves("env", ""))
        append(opened.log, entry(2))
        assert len(opened.log.read(A, 0, 9)) == 2

    def test_a_failed_transaction_leaves_no_trace(self, opened: Opened):
        append(opened.log, entry(1))

        def work(writer: LogWriter) -> None:
            writer.append(entry(2, collection="new", generation=TWO))
            writer.append(entry(1, origin=B))
            writer.set_head(A, ChainHead(2, bytes(32)))
            writer.set_leaves("fresh", "X", [], [entry(2)])
            writer.quarantine(Quarantined(A, 1, "altered", b""))
            writer.hold(entry(1))
            writer.drop_payload(A, 1)
            raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            write(opened.log, work)

        def untouched(log: LogStorage) -> None:
            assert log.read(A, 0, 9) == [entry(1)]
            assert log.read(B, 0, 9) == []
            assert log.heads() == {}
            assert log.quarantined() == []
            assert log.held() == []
            assert log.versions("fresh", "X") == []

        untouched(opened.log)
        log = self.reopened(opened).log
        untouched(log)
        append(log, entry(1, origin=B, collection="new", generation=TWO))
        assert log.read(B, 0, 9) == [entry(1, origin=B, collection="new", generation=TWO)]

    def test_a_transaction_reads_its_own_writes_and_no_one_else_does(self, opened: Opened):
        log = opened.log
        append(log, entry(1))
        fold(log, "X", [leaf("X", 1)], entry(1))
        seen: list[object] = []

        def elsewhere() -> None:
            seen.extend((log.read(A, 0, 9), log.leaves("env", "X"), log.heads(), log.held()))

        def work(writer: LogWriter) -> None:
            writer.append(entry(2))
            writer.set_head(A, ChainHead(2, bytes(32)))
            writer.set_leaves("env", "X", [leaf("X", 2, a=1)], [entry(2)])
            writer.hold(entry(2))
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert log.leaves("env", "X") == [leaf("X", 2, a=1)]
            assert list(log.scan_leaves("env", "")) == [leaf("X", 2, a=1)]
            assert log.read(A, 1, 9) == [entry(2)]
            assert log.heads()[A].seq == 2
            assert log.held() == [entry(2)]
            writer.set_leaves("env", "X", [leaf("X", 2, b"again", a=1)])
            assert log.leaves("env", "X") == [leaf("X", 2, b"again", a=1)]

        write(log, work)
        assert seen == [[entry(1)], [leaf("X", 1)], {}, []]
        assert log.leaves("env", "X") == [leaf("X", 2, b"again", a=1)]

    def test_held_entries_are_found_when_their_time_has_come(self, opened: Opened):
        entries = [entry(1, hlc=50), entry(2, hlc=70)]
        append(opened.log, *entries)
        write(opened.log, lambda writer: [writer.hold(each) for each in entries])
        assert opened.log.held() == entries
        assert opened.log.held(69) == entries[:1]
        write(opened.log, lambda writer: writer.unhold(A, 1))
        assert opened.log.held() == entries[1:]

    def test_quarantine_and_release(self, opened: Opened):
        append(opened.log, entry(1))
        write(opened.log, lambda writer: writer.quarantine(Quarantined(A, 1, "first", b"")))
        write(opened.log, lambda writer: writer.quarantine(Quarantined(A, 1, "second", b"x")))
        assert opened.log.quarantined() == [Quarantined(A, 1, "second", b"x")]
        write(opened.log, lambda writer: writer.release(A, 1))
        assert opened.log.quarantined() == []

    def test_a_generations_entries_are_read_in_parts(self, opened: Opened):
        mine = [entry(seq) for seq in range(1, 6)] + [entry(1, origin=B)]
        append(opened.log, *mine, entry(6, generation=TWO), entry(7, payload=None))
        found: list[Entry] = []
        after = None
        while part := opened.log.read_by_generation(ONE, after, 2):
            found += part
            after = part[-1].origin, part[-1].seq
        assert sorted(found, key=lambda each: (each.origin, each.seq)) == sorted(
            mine, key=lambda each: (each.origin, each.seq)
        )
        assert opened.log.payloads_outside([ONE]) == 1
        assert opened.log.payloads_outside([TWO, b"unheard of"]) == 6
        assert opened.log.payloads_outside([ONE, TWO]) == 0

    def test_superseded_versions_are_found_in_parts(self, opened: Opened):
        entries = [entry(seq) for seq in range(1, 21)]
        append(opened.log, *entries)
        fold(opened.log, "X", [leaf("X", 20)], *entries)
        found: list[int] = []
        cursor: int | None = 0
        while cursor is not None:
            part, cursor = opened.log.superseded(1550, cursor, 3)
            found += [each.seq for each in part]
            for each in part:
                write(opened.log, lambda writer, at=each.seq: writer.drop_payload(A, at))
        assert found == list(range(1, 16))

    def test_local_state_is_set_listed_and_taken_once(self, opened: Opened):
        local = opened.local

        async def main() -> list[bytes | None]:
            await local.put_local("invite", "b", b"2")
            await local.put_local("invite", "a", b"1")
            await local.put_local("other", "a", b"3")
            await local.put_local("invite", "a", b"")
            await local.put_local("other", "a", None)
            await local.put_local("other", "never", None)
            return list(await asyncio.gather(*(local.take_local("invite", "b") for _ in range(5))))

        taken = asyncio.run(main())
        assert sorted(value is not None for value in taken) == [False] * 4 + [True]
        assert local.scan_local("invite") == [("a", b"")]
        assert local.get_local("other", "a") is None
        assert local.get_local("invite", "a") == b""
