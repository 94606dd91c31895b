"""Files on their way between two machines: what the one sends goes to the other, and back."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from covey.client.failure import CallFailedError, broken_off
from covey.client.packed import unpack
from covey.client.socket_call import SocketCall

_HELD = 1 << 20
_TICK_MS = 100
_BULK = (b"\x82\xa4type\xa4data", b"\x82\xa4type\xa5small")


@dataclass(slots=True)
class Side:
    """One end of a copy: a call, what it needs to begin, and whether anything came from it."""

    call: SocketCall
    host: str | None
    route: str
    headers: Mapping[str, str]
    arguments: Mapping[str, Any]
    answered: bool = False

    def begin(self) -> None:
        """Begin the call; raises `CallFailedError` that names the host."""
        self.call.begin(self.route, self.headers, self.arguments)


class SideFailedError(Exception):
    """One side of a copy failed."""

    def __init__(self, side: Side, error: CallFailedError) -> None:
        super().__init__(error.message)
        self.side = side
        self.error = error


class Pump:
    """Passes the messages of two sides on, without holding much, until both have ended.

    `heard` is given each answer of the receiving side, `passed` the bytes of each content.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        heard: Callable[[Mapping[str, Any]], None],
        passed: Callable[[int], None],
        tick: Callable[[], None],
    ) -> None:
        self._source = source
        self._target = target
        self._heard = heard
        self._passed = passed
        self._tick = tick

    def run(self) -> None:
        """Run both calls to their ends; raises `SideFailedError`."""
        sides = (self._source, self._target)
        try:
            for side in sides:
                self._guard(side, side.begin)
            while not (self._source.call.ended and self._target.call.ended):
                self._step()
        finally:
            for side in sides:
                side.call.close()

    def _step(self) -> None:
        poll = select.poll()
        for side, other in ((self._source, self._target), (self._target, self._source)):
            wanted = select.POLLOUT if side.call.outgoing else 0
            if not side.call.ended and len(other.call.outgoing) < _HELD:
                wanted |= select.POLLIN
            if wanted:
                poll.register(side.call.stream.fileno(), wanted)
        ready = dict(poll.poll(_TICK_MS))
        self._tick()
        for side in (self._target, self._source):
            state = ready.get(side.call.stream.fileno(), 0)
            if state & select.POLLOUT:
                self._guard(side, side.call.flush)
            if state & ~select.POLLOUT and not side.call.ended:
                self._guard(side, self._from_source if side is self._source else self._from_target)

    def _from_source(self) -> None:
        call, other = self._source.call, self._target.call
        for message in call.receive_encoded():
            self._source.answered = True
            if message.startswith(_BULK):
                self._passed(len(message))
            other.forward(message)
        if call.ended:
            other.send({"end": None})

    def _from_target(self) -> None:
        call, other = self._target.call, self._source.call
        for message in call.receive_encoded():
            self._target.answered = True
            try:
                self._heard(unpack(message))
            except ValueError as error:
                raise broken_off() from error
            if not other.ended:
                other.forward(message)
        if call.ended and not other.ended:
            other.send({"end": None})

    def _guard(self, side: Side, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError:
            raise SideFailedError(side, broken_off()) from None
        except CallFailedError as error:
            error.begun = side.answered
            raise SideFailedError(side, error) from error
