"""Work on files in threads; on Linux a thread can be another user to the file system."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from covey.errors import RefusedError
from covey.remote.exec.ports import Account, Accounts

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
# setgroups(2) of the C library changes all threads; the system call itself only its own.
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159}


class ThreadDisks:
    """Implements `Disks`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._disks: dict[int | None, ThreadDisk] = {}

    def of(self, user: str | None) -> ThreadDisk:
        """Return the disk as a user sees it; raises `RefusedError`, `NotFoundError`."""
        account = None if user is None else self._accounts.find(user)
        if account is not None and account.uid == self._accounts.own().uid:
            account = None
        key = None if account is None else account.uid
        if key not in self._disks:
            self._disks[key] = ThreadDisk(account)
        return self._disks[key]

    def close(self) -> None:
        """End the threads."""
        for disk in self._disks.values():
            disk.close()
        self._disks.clear()


class ThreadDisk:
    """Implements `Disk` for the daemon's own user, or for another one if we are root."""

    def __init__(self, account: Account | None) -> None:
        if account is None:
            self._executor = ThreadPoolExecutor(_THREADS, "disk")
            return
        number = _SETGROUPS.get(platform.machine())
        if os.geteuid() != 0 or sys.platform != "linux" or number is None:
            raise RefusedError(
                f"This node cannot touch files as {account.name}.",
                hint="Its daemon must run as root on Linux, or its policy name no other user.",
            )
        groups = os.getgrouplist(account.name, account.gid)
        self._executor = ThreadPoolExecutor(
            _THREADS,
            f"disk-{account.name}",
            initializer=_become,
            initargs=(account, groups, number),
        )

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in a thread; when cancelled, wait for it to end first."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # What it has open is closed next, and must not be while it works.
            while not future.done():
                await asyncio.wait({future})
            raise

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown(wait=False)


def _become(account: Account, groups: list[int], number: int) -> None:
    """Make this thread another user to the file system (credentials(7)); never undone."""
    libc = ctypes.CDLL(None, use_errno=True)
    array = (ctypes.c_uint32 * len(groups))(*groups)
    if libc.syscall(number, len(groups), array) != 0:
        raise PermissionError(ctypes.get_errno(), "setgroups")
    libc.setfsgid(account.gid)
    libc.setfsuid(account.uid)
    # Each call tells the id of before: asked again, that must be the new one.
    if libc.setfsuid(-1) != account.uid or libc.setfsgid(-1) != account.gid:
        raise PermissionError(1, "setfsuid")
