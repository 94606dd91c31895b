from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from covey.engines.sqlite.published import FileMark
from covey.store.fence import CatchingUpError, Fence
from covey.store.ports import Published
from tests.store.keys import NodeSigner
from tests.store.store_nodes import StoreNode, introduce, meet

ME, B, C = (NodeSigner(name).node_id for name in "abc")


def fence(seq: int, *, exact: bool, members: set[str]) -> Fence:
    return Fence(ME, Published(seq, exact), lambda: {*members}, up=True)  # type: ignore[arg-type]


def test_a_whole_log_needs_no_peer():
    assert fence(10, exact=True, members=set()).settle(10)
    assert not fence(10, exact=True, members={ME}).settle(9)
    assert fence(0, exact=True, members=set()).settle(0)


def test_all_other_members_together_make_it_sure():
    up = fence(10, exact=False, members={ME, B, C})
    up.met(B, 12)
    assert not up.settle(12)
    up.met(C, 15)
    assert not up.settle(12)
    with pytest.raises(CatchingUpError) as caught:
        up.check(12)
    assert caught.value.details == {"held": 12, "needed": 15, "unmet": []}
    assert up.settle(15)
    up.check(15)


def test_a_lost_roster_proves_nothing():
    up = fence(10, exact=False, members=set())
    up.met(B, 12)
    assert not up.settle(12)
    assert not fence(10, exact=False, members={ME}).settle(10)


def test_the_operator_may_lift_it():
    up = fence(10, exact=False, members={ME, B})
    with pytest.raises(CatchingUpError, match="restored"):
        up.check(3)
    up.lift()
    up.check(3)


def test_the_mark_is_exact_unless_the_machine_stopped(tmp_path: Path):
    path = tmp_path / "published"
    mark = FileMark(path)
    assert mark.read() == Published(0, exact=True)
    mark.note(7)
    mark.note(3)
    killed = path.read_bytes()
    mark.close()
    mark.close()
    assert FileMark(path).read() == Published(7, exact=True)
    path.write_bytes(killed)
    assert FileMark(path).read() == Published(7, exact=True)
    other_boot = killed.replace(killed.split()[3], b"00000000-0000-0000-0000-000000000000")
    path.write_bytes(other_boot)
    doubtful = FileMark(path)
    assert doubtful.read() == Published(7, exact=False)
    doubtful.close()
    again = FileMark(path)
    assert again.read() == Published(7, exact=False)
    again.reset(5)
    again.close()
    assert FileMark(path).read() == Published(5, exact=True)


@pytest.mark.parametrize("content", [b"nonsense", b"covey-published 1 x clean\n", bytes(200)])
def test_a_damaged_mark_is_never_exact(tmp_path: Path, content: bytes):
    path = tmp_path / "published"
    path.write_bytes(content)
    for _ in range(2):
        mark = FileMark(path)
        assert mark.read() == Published(0, exact=False)
        mark.close()


def damage(node: StoreNode) -> None:
    assert node.home is not None
    database = node.home / "covey.db"
    database.write_bytes(b"damaged" * 10_000)


def test_a_restored_node_catches_up_with_itself_before_it_writes(tmp_path: Path):
    async def main() -> None:
        a = await StoreNode("a", tmp_path / "a").start()
        b = await StoreNode("b", tmp_path / "b").start()
        introduce([a, b])
        await a.set("EARLY", b"1")
        assert a.sqlite is not None
        await a.sqlite.backups.make(a.sqlite.database)
        await a.set("LATE", b"2")
        await meet(a, b)
        assert b.value("LATE") == b"2"
        await a.stop()
        damage(a)
        await a.start()
        assert a.sqlite.recovered is not None
        assert (a.value("EARLY"), a.value("LATE")) == (b"1", None)
        with pytest.raises(CatchingUpError):
            await a.set("NEW", b"3")
        state = a.store.health().fence
        assert state is not None
        assert (state.held, state.needed, state.unmet) == (1, 2, (b.id,))
        await a.restart()
        with pytest.raises(CatchingUpError):
            await a.set("NEW", b"3")
        await meet(a, b)
        assert a.value("LATE") == b"2"
        assert a.store.health().fence is None
        assert (await a.set("NEW", b"3")).seq == 3
        await meet(a, b)
        assert a.state() == b.state()
        assert not a.store.health().forked
        await a.restart()
        assert a.store.health().fence is None
        await a.stop()
        await b.stop()

    asyncio.run(main())


def test_an_emptied_node_gets_everything_back(tmp_path: Path):
    async def main() -> None:
        a = await StoreNode("a", tmp_path / "a").start()
        b = await StoreNode("b", tmp_path / "b").start()
        introduce([a, b])
        await a.set("MINE", b"1")
        await b.set("YOURS", b"2")
        await meet(a, b)
        await a.stop()
        damage(a)
        await a.start()
        assert a.state() == {}
        with pytest.raises(CatchingUpError):
            await a.set("NEW", b"3")
        await meet(a, b)
        assert a.state() == b.state()
        await a.set("NEW", b"3")
        await a.stop()
        await b.stop()

    asyncio.run(main())


def test_a_node_that_never_had_a_peer_goes_on_at_once(tmp_path: Path):
    async def main() -> None:
        a = await StoreNode("a", tmp_path / "a").start()
        await a.set("A", b"1")
        await a.stop()
        damage(a)
        await a.start()
        assert a.sqlite is not None
        assert a.sqlite.recovered is not None
        await a.set("A", b"2")
        await a.stop()

    asyncio.run(main())


def test_an_old_copy_of_the_database_is_noticed(tmp_path: Path):
    async def main() -> None:
        a = await StoreNode("a", tmp_path / "a").start()
        b = await StoreNode("b", tmp_path / "b").start()
        introduce([a, b])
        await a.set("A", b"1")
        await a.stop()
        shutil.copyfile(tmp_path / "a" / "covey.db", tmp_path / "old.db")
        await a.start()
        await a.set("A", b"2")
        await meet(a, b)
        await a.stop()
        shutil.copyfile(tmp_path / "old.db", tmp_path / "a" / "covey.db")
        await a.start()
        with pytest.raises(CatchingUpError):
            await a.set("A", b"3")
        await a.store.lift_fence()
        await a.set("B", b"4")
        await a.restart()
        assert a.store.health().fence is None
        await a.stop()
        await b.stop()

    asyncio.run(main())
