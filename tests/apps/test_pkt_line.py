"""The commands of a push, cut out of its bytes however these come."""

from __future__ import annotations

import pytest

from covey.apps.pkt_line import FLUSH, NO_COMMIT, CommandReader, RefUpdate, packet
from covey.errors import InvalidRequestError

NEW = "1" * 40
COMMANDS = (
    packet(f"{NO_COMMIT} {NEW} refs/heads/main\0 report-status side-band-64k\n".encode())
    + packet(f"{NEW} {NO_COMMIT} refs/heads/old\n".encode())
    + FLUSH
)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_commands_are_read_and_the_pack_behind_them_is_not(piece: int) -> None:
    data = COMMANDS + b"PACK and no packets"
    reader, at = CommandReader(), 0
    while not reader.feed(data[at : at + piece]):
        at += piece
    assert bytes(reader.raw) == data[: at + piece]
    assert at < len(COMMANDS) <= at + piece
    assert reader.done is not None
    assert reader.done.banded
    assert reader.done.updates == (
        RefUpdate("refs/heads/main", NO_COMMIT, NEW),
        RefUpdate("refs/heads/old", NEW, NO_COMMIT),
    )


def test_commands_without_an_end_are_refused() -> None:
    reader = CommandReader()
    line = packet(f"{NO_COMMIT} {NEW} refs/heads/{'x' * 60_000}\n".encode())
    for _ in range((1 << 20) // len(line)):
        assert not reader.feed(line)
    with pytest.raises(InvalidRequestError, match="too many refs"):
        reader.feed(line)
