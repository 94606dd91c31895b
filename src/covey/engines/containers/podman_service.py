"""Podman's API service as a supervised child: started on first use, restarted, ended with us."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from covey.engines.containers.host_limits import HostLimits
from covey.engines.containers.podman_config import write_podman_config
from covey.engines.process_end import end_process
from covey.engines.program_output import OutputTooLongError, program_output
from covey.errors import StorageError, UnreachableError
from covey.paths import SOCKET_PATH_LIMIT

_log = logging.getLogger(__name__)

_READY_S = 20.0
_TRIES = 3
_LOOK_AGAIN_S = 0.02
_END_S = 5.0
_HANGS_S = 1.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_SAID_BYTES = 2000


class PodmanService:
    """`podman system service` on a socket in a private directory; the containers outlive it."""

    def __init__(
        self,
        program: str,
        run_dir: Path,
        tmp_dir: Path,
        limits: HostLimits,
        environ: Mapping[str, str],
    ) -> None:
        self._program = program
        self._run_dir = run_dir
        self._tmp_dir = tmp_dir
        self._limits = limits
        self._environ = environ
        self._log_file = run_dir / "podman.log"
        self._keeping: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._ends = 0
        self._process: asyncio.subprocess.Process | None = None
        self.settings: Path | None = None

    @property
    def socket(self) -> str:
        """Where it listens: no other daemon's service, which removes its own when it ends, does."""
        return str(self._run_dir / f"podman-{os.getpid()}.sock")

    async def ready(self) -> None:
        """Start it if it does not run, and wait until it answers; raises `UnreachableError`."""
        async with self._starting:
            if self._keeping is None:
                self._prepare()
                self._keeping = asyncio.create_task(self._keep())
        most_ends = self._ends + _TRIES
        try:
            async with asyncio.timeout(_READY_S):
                while not await _answers(self.socket):
                    if self._ends >= most_ends:
                        raise self._trouble()
                    await asyncio.sleep(_LOOK_AGAIN_S)
        except TimeoutError as error:
            raise self._trouble() from error

    async def close(self) -> None:
        """End it, and remove its files."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        litter = self._run_dir / "oom"
        for path in (Path(self.socket), self._log_file, self.settings, litter):
            if path is not None:
                path.unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, self._tmp_dir, ignore_errors=True)

    async def remove_container(self, container: str) -> None:
        """Remove a container that the service does not know; a missing one is no error."""
        words = [self._program, "rm", "--force", "--ignore", container]
        with contextlib.suppress(OSError, TimeoutError, OutputTooLongError):
            await program_output(
                words, most_bytes=_SAID_BYTES, timeout_s=_READY_S, environ=self._own_environ()
            )

    async def replace(self) -> None:
        """End the service, which answers nobody; another takes its place."""
        if self._process is not None:
            _log.warning("Podman's service does not answer and is replaced.")
            await end_process(self._process, _HANGS_S)

    def _trouble(self) -> UnreachableError:
        return UnreachableError(
            f"Podman's service does not start: {self._said()}",
            hint=f"See what `{self._program} info` says.",
        )

    def _prepare(self) -> None:
        if len(os.fsencode(self.socket)) > SOCKET_PATH_LIMIT:
            raise UnreachableError(
                f"The path of Podman's socket is longer than {SOCKET_PATH_LIMIT} bytes:"
                f" {self.socket}",
                hint="Point COVEY_HOME or XDG_RUNTIME_DIR at a shorter path.",
            )
        settings = self._run_dir / "containers.conf"
        try:
            self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._run_dir.glob("podman*.sock"):
                left.unlink(missing_ok=True)
            needed = write_podman_config(settings, self._limits, self._environ)
        except OSError as error:
            raise StorageError(
                f"Podman's service cannot be prepared in {self._run_dir}: {error.strerror}.",
                hint="Free some space there, and see that Covey's user may write.",
            ) from error
        self.settings = settings if needed else None

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._run()
            except OSError as error:
                _log.warning("Podman's service cannot be started: %s", error)
            self._ends += 1
            if loop.time() - began > _LONGEST_PAUSE_S:
                pause = _FIRST_PAUSE_S
            _log.warning("Podman's service ended and is started again: %s", self._said())
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _run(self) -> None:
        Path(self.socket).unlink(missing_ok=True)
        # Contexts of builds are unpacked here; what a killed service left is removed.
        await asyncio.to_thread(shutil.rmtree, self._tmp_dir, ignore_errors=True)
        self._tmp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file, not a pipe: the containers' monitors keep it open when the service has ended.
        output = os.open(
            self._log_file,
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                "--log-level=error",
                "system",
                "service",
                "--time=0",
                f"unix://{self.socket}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._own_environ(),
                cwd=self._run_dir,  # the containers' monitors inherit it, and leave files in it
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        finally:
            os.close(output)
        self._process = process
        try:
            await process.wait()
        finally:
            self._process = None
            await end_process(process, _END_S)

    def _own_environ(self) -> dict[str, str]:
        environ = {**self._environ, "TMPDIR": str(self._tmp_dir)}
        if self.settings is not None:
            environ["CONTAINERS_CONF"] = str(self.settings)
        return environ

    def _said(self) -> str:
        try:
            with self._log_file.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _SAID_BYTES))
                words = file.read().decode(errors="replace").split()
        except OSError:
            words = []
        return " ".join(words) or "it says nothing"


async def _answers(path: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.transport.abort()
    return True


def _end_with_parent() -> Callable[[], None] | None:
    """Return what a new process does so that the kernel ends it with us (prctl(2))."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)

    return ask
