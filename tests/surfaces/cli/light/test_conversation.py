"""What a call that breaks off leaves the user with."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from covey.client.failure import CallFailedError
from covey.client.socket_call import SocketCall
from covey.surfaces.cli.light import terminal_mode
from covey.surfaces.cli.light.exec_call import converse
from covey.surfaces.cli.light.terminal_mode import size_of_terminal


class BreakingCall:
    """Says the given items at once, and breaks off."""

    ended = False
    outgoing = b""

    def __init__(self, stream: socket.socket, items: list[dict[str, Any]]) -> None:
        self.stream = stream
        self._items = items

    def receive(self) -> list[dict[str, Any]]:
        items, self._items = self._items, []
        if not items:
            raise CallFailedError("unreachable", "The connection broke off.")
        return items


@pytest.fixture
def stream() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"readable")
        yield ours


def test_what_came_before_the_end_of_the_connection_is_written(
    stream: socket.socket, capfd: pytest.CaptureFixture[str]
):
    items = [
        {"type": "started", "id": "4f1d20c8a3be", "pid": 1, "offset": 10},
        {"type": "stdout", "offset": 10, "data": b"x" * 100_000},
        {"type": "stderr", "offset": 100_010, "data": b"err"},
    ]
    call = cast("SocketCall", BreakingCall(stream, items))
    with pytest.raises(CallFailedError) as caught:
        converse(call, tty=False, reads_input=False)
    assert (caught.value.begun, caught.value.offset) == (True, 100_013)
    assert capfd.readouterr() == ("x" * 100_000, "err")


def test_a_terminal_without_a_size_has_none(monkeypatch: pytest.MonkeyPatch):
    ours, theirs = pty.openpty()
    sizes = {1: os.get_terminal_size(theirs), 0: os.terminal_size((80, 24))}
    os.close(ours)
    os.close(theirs)
    assert sizes[1] == (0, 0)

    def size_of(descriptor: int) -> os.terminal_size:
        if descriptor not in sizes:
            raise OSError
        return sizes[descriptor]

    monkeypatch.setattr(terminal_mode.os, "get_terminal_size", size_of)
    assert size_of_terminal() == (24, 80)
    del sizes[0]
    assert size_of_terminal() is None
