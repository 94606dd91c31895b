"""Where the work on files is done: in threads, so that a slow disk holds nobody else up."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Disk(Protocol):
    """Runs work on files, as one user of the machine."""

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it and return its result; waits for it to end even when cancelled."""
        ...


class Disks(Protocol):
    """Makes disks."""

    def of(self, user: str | None) -> Disk:
        """Return the disk as a user sees it; None is the daemon's own.

        Raises `RefusedError` when this machine cannot become that user.
        """
        ...


async def acquire(disk: Disk, work: Callable[[], T], release: Callable[[T], None]) -> T:
    """Run work that opens something; who is cancelled meanwhile leaves nothing open."""
    opened: list[T] = []

    def keep() -> None:
        opened.append(work())

    try:
        await disk.run(keep)
    except BaseException:
        for item in opened:
            release(item)
        raise
    return opened[0]
