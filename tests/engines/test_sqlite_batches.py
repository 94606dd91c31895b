from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from covey.engines.sqlite.batches import Batches
from covey.errors import LockedError
from tests.engines.sqlite_home import SqliteHome


@pytest.fixture
def home(tmp_path: Path) -> Iterator[SqliteHome]:
    home = SqliteHome(tmp_path / "covey.db")
    home.database.prepare(lambda at: at.execute("CREATE TABLE n (x UNIQUE)"))
    yield home
    home.close()


def add(number: int):
    def work(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO n VALUES (?)", (number,))
        if number < 0:
            raise ValueError(number)
        return number

    return work


def numbers(home: SqliteHome) -> list[int]:
    return [row[0] for row in home.database.query("SELECT x FROM n ORDER BY rowid")]


def test_writes_that_wait_are_committed_together_and_in_order(home: SqliteHome):
    commits: list[int] = []
    write = home.database.write

    async def counted(work: Callable[[apsw.Connection], object]) -> object:
        commits.append(1)
        return await write(work)

    home.database.write = counted

    async def main() -> None:
        batches = Batches(home.database)
        found = await asyncio.gather(*(batches.write(add(at)) for at in range(100)))
        assert found == list(range(100))
        assert await batches.write(add(100)) == 100

    asyncio.run(main())
    assert numbers(home) == list(range(101))
    assert len(commits) <= 3


def test_a_write_that_fails_takes_no_other_with_it(home: SqliteHome):
    async def main() -> list[object]:
        batches = Batches(home.database)
        writes = [batches.write(add(at)) for at in (1, 2, -3, 4)]
        return await asyncio.gather(*writes, return_exceptions=True)

    one, two, failed, four = asyncio.run(main())
    assert (one, two, four) == (1, 2, 4)
    assert isinstance(failed, ValueError)
    assert numbers(home) == [1, 2, 4]


def test_a_write_whose_caller_left_is_done(home: SqliteHome):
    async def main() -> None:
        batches = Batches(home.database)
        leaving = asyncio.ensure_future(batches.write(add(1)))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await batches.write(add(2)) == 2
        assert leaving.cancelled()

    asyncio.run(main())
    assert numbers(home) == [1, 2]


def test_a_closed_database_refuses(home: SqliteHome):
    home.close()

    async def main() -> None:
        with pytest.raises(LockedError):
            await Batches(home.database).write(add(1))

    asyncio.run(main())
    home.open()
