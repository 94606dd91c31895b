from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path

import pytest

from covey.engines.sqlite import migrations as migrations_module
from covey.engines.sqlite.backups import Backups
from covey.engines.sqlite.database import Database, connect, fetch_one
from covey.engines.sqlite.faults import NewerDatabaseError, WrongKeyError
from covey.engines.sqlite.migrations import migrate, version_of
from covey.engines.sqlite.recovery import DatabaseHome
from covey.errors import StorageError
from covey.store.fence import FENCE_KEY, FENCED, LOCAL_NAMESPACE
from tests.engines.sqlite_home import KEY, SqliteHome
from tests.store.log_conformance import A, append, entry

OTHER_KEY = bytes(32)


@pytest.fixture
def home(tmp_path: Path):
    home = SqliteHome(tmp_path / "covey.db")
    yield home
    home.close()


def fill(home: SqliteHome, start: int = 1, count: int = 300) -> None:
    append(home.log, *(entry(seq, payload=os.urandom(500)) for seq in range(start, start + count)))


def back_up(home: SqliteHome) -> Path:
    return asyncio.run(home.backups.make(home.database))


def flip(path: Path, at: int, count: int = 64) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        data = bytes(255 - byte for byte in file.read(count))
        file.seek(at)
        file.write(data)


def held(home: SqliteHome) -> int:
    return len(home.log.read(A, 0, 10_000))


def test_nothing_in_the_files_can_be_read_or_seen_by_others(home: SqliteHome, tmp_path: Path):
    asyncio.run(home.local.put_local("space", "name", b"swordfish" * 10))
    append(home.log, entry(1, payload=b"swordfish" * 10, collection="swordfish"))
    back_up(home)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} > {"covey.db", "covey.db-wal", "covey.db.check"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert b"swordfish" not in path.read_bytes()
        assert KEY not in path.read_bytes()
        assert KEY.hex().encode() not in path.read_bytes()


def test_a_wrong_key_is_told_and_nothing_is_touched(home: SqliteHome):
    fill(home)
    home.close()
    before = home.path.read_bytes()
    backups = Backups(home.path.parent / "backups", OTHER_KEY)
    with pytest.raises(WrongKeyError, match="another key"):
        DatabaseHome(home.path, backups, OTHER_KEY).open()
    home.path.with_name("covey.db.check").unlink()
    with pytest.raises(WrongKeyError, match="not touched"):
        DatabaseHome(home.path, backups, OTHER_KEY).open()
    assert home.path.read_bytes() == before
    home.open()
    assert home.recovered is None
    assert held(home) == 300


@pytest.mark.parametrize("at", [5, 40, 5_000, 60_000], ids=["salt", "header", "schema", "data"])
def test_a_damaged_file_is_set_aside_and_the_backup_restored(home: SqliteHome, at: int):
    fill(home)
    backup = back_up(home)
    fill(home, start=301)
    home.close()
    flip(home.path, at)
    damaged = home.path.read_bytes()
    home.open()
    recovered = home.recovered
    assert recovered is not None
    assert recovered.restored is not None
    assert recovered.restored.path == backup
    assert recovered.set_aside is not None
    assert recovered.set_aside.read_bytes() == damaged
    assert recovered.set_aside.name.startswith("covey.db.damaged-")
    assert "set aside" in recovered.message
    assert held(home) == 300
    assert home.local.get_local(LOCAL_NAMESPACE, FENCE_KEY) == FENCED
    fill(home, start=301)
    home.close()
    home.open()
    assert home.recovered is None
    assert held(home) == 600


def test_without_a_backup_it_begins_empty_and_says_so(home: SqliteHome):
    fill(home)
    home.close()
    flip(home.path, 60_000)
    home.open()
    assert home.recovered is not None
    assert home.recovered.restored is None
    assert "begins empty" in home.recovered.message
    assert held(home) == 0
    assert home.local.get_local(LOCAL_NAMESPACE, FENCE_KEY) == FENCED


def test_a_damaged_backup_is_passed_over(home: SqliteHome):
    fill(home)
    good = back_up(home)
    fill(home, start=301)
    flip(back_up(home), 60_000)
    home.close()
    home.path.write_bytes(b"not a database" * 1000)
    home.open()
    assert home.recovered is not None
    assert home.recovered.restored is not None
    assert home.recovered.restored.path == good
    assert held(home) == 300
    assert not list(home.path.parent.glob("*.restoring*"))


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_lost_file_is_restored(home: SqliteHome, how: str):
    fill(home)
    back_up(home)
    home.close()
    home.path.unlink()
    if how == "empty":
        home.path.touch()
    home.open()
    assert home.recovered is not None
    assert held(home) == 300
    assert home.local.get_local(LOCAL_NAMESPACE, FENCE_KEY) == FENCED


def test_a_crash_amid_the_recovery_is_recovered_from(home: SqliteHome):
    fill(home)
    back_up(home)
    home.close()
    # As if the damaged file had been set aside and the restored one was not in place yet.
    home.path.rename(home.path.with_name("covey.db.damaged-earlier"))
    home.path.with_name("covey.db.restoring").write_bytes(b"half a copy")
    home.open()
    assert home.recovered is not None
    assert home.recovered.set_aside is None
    assert held(home) == 300


@pytest.mark.parametrize("cut", [1, 4_000, 100_000])
def test_a_torn_write_ahead_log_loses_its_end_alone(tmp_path: Path, cut: int):
    (tmp_path / "one").mkdir()
    first = SqliteHome(tmp_path / "one" / "covey.db")
    for seq in range(1, 101):
        append(first.log, entry(seq, payload=os.urandom(2_000)))
    # A copy of the files of a running database is what a crash of the machine leaves.
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first.close()
    wal = tmp_path / "two" / "covey.db-wal"
    os.truncate(wal, wal.stat().st_size - cut)
    second = SqliteHome(tmp_path / "two" / "covey.db")
    assert second.recovered is None
    seqs = [each.seq for each in second.log.read(A, 0, 1000)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert 40 < len(seqs) < 100
    second.close()


def test_backups_are_whole_while_writes_go_on(home: SqliteHome):
    fill(home, count=3000)

    async def main() -> Path:
        made = asyncio.create_task(home.backups.make(home.database))
        seq = 3001
        while not made.done():
            each = entry(seq)
            await home.log.commit(lambda writer, each=each: writer.append(each))
            seq += 1
        return await made

    backup = asyncio.run(main())
    copy = connect(backup, KEY, create=False)
    count = fetch_one(copy, "SELECT count(*) FROM entry")
    assert count >= 3000
    assert fetch_one(copy, "SELECT max(id) FROM entry") & ((1 << 40) - 1) == count
    copy.close()
    assert [path.name for path in backup.parent.iterdir()] == [backup.name]


def test_only_the_newest_backups_stay(home: SqliteHome):
    made = []
    for seq in range(1, 6):
        append(home.log, entry(seq))
        made.append(back_up(home))
    assert [each.path for each in home.backups.newest_first()] == made[:1:-1]
    assert len(list(made[0].parent.iterdir())) == 3


def test_a_damaged_database_pushes_no_good_backup_out(home: SqliteHome):
    fill(home)
    good = [back_up(home) for _ in range(3)]
    home.close()
    flip(home.path, home.path.stat().st_size // 2)
    database = Database(home.path, KEY)
    with pytest.raises(StorageError):
        asyncio.run(home.backups.make(database))
    database.close()
    assert sorted(good[0].parent.iterdir()) == sorted(good)


def test_a_cancelled_backup_leaves_nothing(home: SqliteHome):
    fill(home, count=3000)

    async def main() -> None:
        task = asyncio.create_task(home.backups.make(home.database))
        while not list(home.path.parent.glob("backups/.covey-*")):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert list((home.path.parent / "backups").iterdir()) == []
    assert held(home) == 3000


def test_migrations_go_forward_after_a_backup(home: SqliteHome, monkeypatch: pytest.MonkeyPatch):
    fill(home)
    home.close()
    steps = (*migrations_module.MIGRATIONS, "CREATE TABLE later (x); INSERT INTO later VALUES (7)")
    monkeypatch.setattr(migrate, "__kwdefaults__", {"migrations": steps})
    home.open()
    assert home.database.query("SELECT x FROM later") == [(7,)]
    assert held(home) == 300
    (backup,) = home.backups.newest_first()
    present = len(migrations_module.MIGRATIONS)
    assert f"before-{present + 1}" in backup.path.name
    copy = connect(backup.path, KEY, create=False)
    assert version_of(copy) == present
    copy.close()
    home.close()
    home.open()
    assert len(home.backups.newest_first()) == 1


def test_a_migration_that_fails_changes_nothing(home: SqliteHome, monkeypatch: pytest.MonkeyPatch):
    home.close()
    steps = (*migrations_module.MIGRATIONS, "CREATE TABLE later (x); SELECT * FROM nowhere")
    monkeypatch.setattr(migrate, "__kwdefaults__", {"migrations": steps})
    with pytest.raises(StorageError):
        home.open()
    monkeypatch.undo()
    home.open()
    assert home.recovered is None
    assert home.database.query("SELECT name FROM sqlite_master WHERE name = 'later'") == []


def test_a_newer_database_is_refused_untouched(home: SqliteHome):
    home.close()
    connection = connect(home.path, KEY)
    connection.pragma("user_version", 99)
    connection.close()
    before = home.path.read_bytes()
    with pytest.raises(NewerDatabaseError, match="newer Covey"):
        home.open()
    assert home.path.read_bytes() == before
    connection = connect(home.path, KEY)
    connection.pragma("user_version", len(migrations_module.MIGRATIONS))
    connection.close()
    home.open()


def test_the_check_keeps_to_its_budget(home: SqliteHome):
    fill(home, count=5000)
    home.close()
    opened, recovered = DatabaseHome(home.path, home.backups, KEY).open(budget_s=0.0)
    assert recovered is None
    assert opened.query("SELECT count(*) FROM entry") == [(5000,)]
    opened.close()
    home.open()


def test_the_key_must_have_its_length(tmp_path: Path):
    with pytest.raises(ValueError, match="32"):
        connect(tmp_path / "covey.db", b"short")
