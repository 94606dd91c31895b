"""Work in a thread of its own that can be ended, also when its server is stuck."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from covey.apps.containers import Log

T = TypeVar("T")
_GRACE_S = 2.0
_POLL_S = 0.05


class StoppedError(Exception):
    """The caller does not wait any more."""


class Work:
    """What the thread and its caller share: whether to go on, and whether it waits for others."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self.stop = threading.Event()
        self.waiting = False
        self.received = 0
        """Bytes that came from servers, in all of its conversations."""

    def log(self, text: str) -> None:
        """Add a line to the log, from the thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._log, text)

    def checkpoint(self) -> None:
        """Raise `StoppedError` once the caller has gone."""
        if self.stop.is_set():
            raise StoppedError

    @contextmanager
    def network(self) -> Iterator[None]:
        """Mark the time in which nothing but the cache is written."""
        self.checkpoint()
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
        self.checkpoint()


class _Result(Generic[T]):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[T] = loop.create_future()

    def give(self, value: T) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()


async def run_thread(function: Callable[[Work], T], log: Log) -> T:
    """Run `function` in a thread; a cancellation ends it.

    A thread that still waits for a server is left to its time limit: it writes nothing any more.
    """
    loop = asyncio.get_running_loop()
    work = Work(loop, log)
    result: _Result[T] = _Result(loop)

    def run() -> None:
        try:
            value = function(work)
        except BaseException as error:  # noqa: BLE001 - raised again in the event loop
            _post(loop, lambda error=error: result.fail(error))  # type: ignore[misc]
        else:
            _post(loop, lambda: result.give(value))

    threading.Thread(target=run, name="covey-source", daemon=True).start()
    try:
        return await asyncio.shield(result.future)
    except asyncio.CancelledError:
        work.stop.set()
        await _settle(result.future, work)
        raise


async def _settle(future: asyncio.Future[T], work: Work) -> None:
    grace = asyncio.get_running_loop().time() + _GRACE_S
    while not future.done():
        late = asyncio.get_running_loop().time() > grace
        if late and work.waiting:
            return
        await asyncio.wait({future}, timeout=_POLL_S)


def _post(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # the loop has ended, and nobody waits
        return
