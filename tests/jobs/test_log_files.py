from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.jobs.log_files import LogFiles, LogWriter, lines_of
from covey.jobs.model import LogLine

AT = datetime(2026, 3, 1, tzinfo=UTC)
JOB = "abcdefghij"


def add(writer: LogWriter, *texts: str) -> None:
    writer.write([LogLine(writer.next_number(), AT, "build", text) for text in texts])


def read(files: LogFiles, after: int = 0) -> list[LogLine]:
    reader = files.reader(JOB, after)
    found: list[LogLine] = []
    while lines := reader.read():
        found += lines
    reader.close()
    return found


def test_lines_come_back_and_their_files_are_private(tmp_path: Path):
    files = LogFiles(tmp_path / "jobs", 1 << 20)
    writer = files.writer(JOB)
    add(writer, "one", "zwei … drei\t")
    assert read(files) == [
        LogLine(1, AT, "build", "one"),
        LogLine(2, AT, "build", "zwei … drei\t"),
    ]
    assert [line.number for line in read(files, after=1)] == [2]
    assert read(files, after=2) == []
    (path,) = (tmp_path / "jobs" / JOB).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    writer.close()


def test_a_log_without_lines_takes_no_file(tmp_path: Path):
    files = LogFiles(tmp_path / "jobs", 1 << 20)
    files.writer(JOB).close()
    assert read(files) == []
    assert files.jobs() == []
    assert not (tmp_path / "jobs").exists()


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path):
    files = LogFiles(tmp_path, 1 << 16)
    writer = files.writer(JOB)
    for at in range(1, 5001):
        add(writer, f"line {at} " + "x" * 50)
    writer.close()
    assert files.size(JOB) <= 1 << 16
    found = read(files)
    gap = next(at for at, line in enumerate(found) if "left out" in line.text)
    first, last = found[:gap], found[gap + 1 :]
    assert first[0].number == 1
    assert last[-1].number == 5000
    assert f"{last[0].number - first[-1].number - 1:,} lines" in found[gap].text
    numbers = [line.number for line in found]
    assert numbers == sorted(set(numbers))
    assert len(first) > 50
    assert len(last) > len(first)
    # Whoever reads on from within the gap gets what is behind it.
    assert read(files, after=found[gap].number)[0] == last[0]
    assert read(files, after=first[-1].number + 1)[1] == last[0]


def test_a_reader_follows_over_segments(tmp_path: Path):
    files = LogFiles(tmp_path, 1 << 16)
    writer, reader = files.writer(JOB), files.reader(JOB)
    seen: list[str] = []
    for at in range(3000):
        add(writer, f"{at} " + "x" * 40)
        while lines := reader.read():
            seen += [line.text.split()[0] for line in lines]
    assert seen == [str(at) for at in range(3000)]
    reader.close()
    writer.close()


def test_numbers_go_on_after_a_crash_in_the_middle_of_a_line(tmp_path: Path):
    files = LogFiles(tmp_path, 1 << 20)
    writer = files.writer(JOB)
    add(writer, "one", "two", "three")
    writer.close()
    (path,) = (tmp_path / JOB).iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    writer = files.writer(JOB)
    assert writer.number == 2
    add(writer, "again", "four")
    assert [(line.number, line.text) for line in read(files)] == [
        (1, "one"),
        (2, "two"),
        (3, "again"),
        (4, "four"),
    ]
    writer.close()


def test_a_disk_that_refuses_costs_lines_and_says_so(tmp_path: Path):
    files = LogFiles(tmp_path, 1 << 20)
    writer = files.writer(JOB)
    add(writer, "one")
    writer.close()
    (tmp_path / JOB).rename(tmp_path / "away")
    (tmp_path / JOB).touch()
    add(writer, "lost", "lost, too")
    (tmp_path / JOB).unlink()
    (tmp_path / "away").rename(tmp_path / JOB)
    add(writer, "four")
    assert [line.text for line in read(files)] == ["one", "… 2 lines are left out …", "four"]
    writer.close()


def test_removing_takes_the_files(tmp_path: Path):
    files = LogFiles(tmp_path, 1 << 20)
    writer = files.writer(JOB)
    add(writer, "one")
    writer.close()
    assert files.jobs() == [JOB]
    files.remove(JOB)
    files.remove("zzzz")
    assert files.jobs() == []


def test_text_is_split_where_its_lines_end():
    assert lines_of("a\nb\r\nc\rd\n") == ["a", "b", "c", "d"]
    assert lines_of("") == [""]
    assert lines_of("\n\nx") == ["", "", "x"]
    assert lines_of(b"\xff".decode(errors="surrogateescape")) == ["?"]
    assert [len(line) for line in lines_of("x" * 10_000)] == [4096, 4096, 1808]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=300), max_size=40), st.integers(0, 45))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], after: int
):
    files = LogFiles(tmp_path_factory.mktemp("log"), 1 << 16)
    writer = files.writer(JOB)
    wanted = [line for text in texts for line in lines_of(text)]
    add(writer, *wanted)
    writer.close()
    assert [line.text for line in read(files, after)] == wanted[after:]
