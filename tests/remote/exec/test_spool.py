"""Spools: whatever is appended and wherever one reads from, nothing is lost or doubled unsaid."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.remote.exec import spool
from covey.remote.exec.spool import STDERR, STDOUT, SpoolReader, SpoolWriter, spooled_bytes

pieces = st.lists(
    st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=40)), max_size=40
)


def flat(written: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
    """Every byte with its channel."""
    return [(channel, byte) for channel, data in written for byte in data]


def read_all(reader: SpoolReader, most: int) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    while (piece := reader.read(most)) is not None:
        assert piece.end == reader.offset
        assert len(piece.data) <= most
        found += [None] * piece.missing
        found += [(piece.channel, byte) for byte in piece.data]
    return found


@given(written=pieces, limit=st.integers(1, 400), cut=st.integers(0, 1600), most=st.integers(1, 50))
def test_any_chunks_read_again_from_any_offset(
    written: list[tuple[int, bytes]], limit: int, cut: int, most: int
):
    whole = flat(written)
    start = min(cut, len(whole))
    with tempfile.TemporaryDirectory() as directory:
        writer = SpoolWriter(directory, limit)
        for channel, data in written:
            writer.append(channel, data)
        writer.close()
        reader = SpoolReader(directory, start)
        found = read_all(reader, most)
        reader.close()
        assert len(found) == len(whole) - start
        assert spooled_bytes(directory) == writer.end == len(whole)
        for seen, real in zip(found, whole[start:], strict=True):
            assert seen in {None, real}
        kept = [item for item in found if item is not None]
        assert found[len(found) - len(kept) :] == kept
        if start >= len(whole) - limit:
            assert None not in found


@given(written=pieces, most=st.integers(1, 50), data=st.data())
def test_readers_that_follow_and_come_back(
    written: list[tuple[int, bytes]], most: int, data: st.DataObject
):
    """A reader is cut off at any piece, and goes on with a new one at the offset it had."""
    with tempfile.TemporaryDirectory() as directory:
        writer = SpoolWriter(directory, 10_000)
        reader = SpoolReader(directory)
        found: list[tuple[int, int] | None] = []
        for channel, chunk in written:
            writer.append(channel, chunk)
            if data.draw(st.booleans()):
                found += read_all(reader, most)
            if data.draw(st.booleans()):
                offset = reader.offset
                reader.close()
                reader = SpoolReader(directory, offset)
        found += read_all(reader, most)
        reader.close()
        writer.close()
        assert found == flat(written)


@given(written=pieces.filter(bool), torn=st.integers(1, 44))
def test_a_frame_that_was_cut_off_is_not_read(written: list[tuple[int, bytes]], torn: int):
    with tempfile.TemporaryDirectory() as directory:
        writer = SpoolWriter(directory, 100_000)
        for channel, data in written:
            writer.append(channel, data)
        writer.close()
        [file] = Path(directory).iterdir()
        size = file.stat().st_size
        os.truncate(file, max(0, size - torn))
        found = read_all(SpoolReader(directory), 100)
        assert found == flat(written)[: len(found)]
        lost = len(flat(written)) - len(found)
        assert 0 < lost <= torn + 40 * 2


def test_it_stays_within_its_limit(tmp_path: Path):
    writer = SpoolWriter(str(tmp_path), 1 << 20)
    for _ in range(300):
        writer.append(STDOUT, b"x" * spool.LARGEST_PIECE)
        assert sum(item.stat().st_size for item in tmp_path.iterdir()) < (1 << 20) + (384 << 10)
    writer.close()


def test_what_is_held_is_not_lost(tmp_path: Path):
    writer = SpoolWriter(str(tmp_path), 1 << 20)
    while not writer.would_lose(0):
        writer.append(STDOUT, b"x" * spool.LARGEST_PIECE)
    assert writer.end > 512 << 10
    assert None not in read_all(SpoolReader(str(tmp_path)), 1 << 20)


def test_a_full_disk_costs_output_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = SpoolWriter(str(tmp_path), 1 << 20)
    writer.append(STDOUT, b"before")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        writer.append(STDOUT, b"lost")
    writer.append(STDERR, b"after")
    writer.close()
    reader = SpoolReader(str(tmp_path))
    found = read_all(reader, 100)
    assert found == [*flat([(STDOUT, b"before")]), *[None] * 4, *flat([(STDERR, b"after")])]


def test_a_directory_without_a_spool(tmp_path: Path):
    assert SpoolReader(str(tmp_path)).read() is None
    assert spooled_bytes(str(tmp_path)) == 0
    assert spooled_bytes(str(tmp_path / "none")) == 0
