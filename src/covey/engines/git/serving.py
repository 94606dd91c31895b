"""Git itself as the server of bare repositories: nothing of its users' configuration, no hooks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from covey.apps.pkt_line import NO_COMMIT, RefUpdate
from covey.apps.pushes import GitService
from covey.engines.process_end import end_process
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    RateLimitedError,
    StorageError,
    UnreachableError,
)

_CHUNK = 1 << 16
_MOST_ERROR = 1 << 16
_PROTOCOL = re.compile(r"version=[0-2](?::version=[0-2])*")
_STALE_S = 3600.0
_LONGEST_MESSAGE = 10_000
_PATIENCE_S = 5.0
_MOST_CHANGED = 10_000
_MOST_TALKING = 32
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "receive.fsckObjects=true",
    "receive.fsck.zeroPaddedFilemode=warn",
    "receive.denyNonFastForwards=false",
    "receive.denyCurrentBranch=ignore",
    "receive.denyDeleteCurrent=warn",
    "receive.advertisePushOptions=false",
    "receive.keepAlive=5",
    "gc.autoDetach=false",
    "transfer.hideRefs=refs/covey",
    "uploadpack.allowFilter=true",
    "protocol.allow=never",
    "core.fsync=committed,reference",
    "maintenance.auto=false",
)


class GitPrograms:
    """Implements `GitHost` by the machine's `git`, over lists of arguments."""

    def __init__(self, most_bytes: int) -> None:
        self._settings = (*_SETTINGS, f"receive.maxInputSize={most_bytes}")
        self._talking = 0

    async def make(self, repository: Path) -> None:
        """Make a repository if it is not there, and remove what broken-off pushes left."""
        if repository.exists():
            _clean(repository)
            return
        made = repository.with_name(f".{repository.name}.{secrets.token_hex(4)}")
        try:
            repository.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._run("init", "--quiet", "--bare", "--template=", "-b", "main", str(made))
            made.chmod(0o700)
            with contextlib.suppress(FileExistsError):
                made.rename(repository)
        except OSError as error:
            if not repository.exists():
                raise StorageError(
                    f"The app's repository cannot be made: {error.strerror}.", hint="covey doctor"
                ) from error
        finally:
            shutil.rmtree(made, ignore_errors=True)

    async def advertise(self, repository: Path, service: GitService, protocol: str) -> bytes:
        """Return what a service tells at its beginning."""
        name = service.removeprefix("git-")
        arguments = (name, "--stateless-rpc", "--advertise-refs", str(repository))
        return await self._run(*arguments, protocol=protocol)

    @asynccontextmanager
    async def talk(
        self, repository: Path, service: GitService, protocol: str, given: AsyncIterator[bytes]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Run a service over what the client sends; leaving kills it."""
        if self._talking >= _MOST_TALKING:
            raise RateLimitedError(
                "Too many clients push to this machine or fetch from it at this time.",
                hint="Try again in a moment",
                details={"retry_after": 5},
            )
        self._talking += 1
        try:
            name = service.removeprefix("git-")
            process = await self._start((name, "--stateless-rpc", str(repository)), protocol)
            async with _conversation(process, given) as answer:
                yield answer
        finally:
            self._talking -= 1

    async def set_ref(self, repository: Path, ref: str, new: str, old: str | None) -> bool:
        """Set or remove a ref; False if it is not at `old` any more."""
        expected = () if old is None else (old,)
        change = ("-d", ref, *expected) if new == NO_COMMIT else (ref, new, *expected)
        try:
            await self._run("--git-dir", str(repository), "update-ref", *change)
        except InvalidRequestError:
            return False
        return True

    async def set_head(self, repository: Path, ref: str) -> None:
        """Say which branch a clone checks out."""
        await self._run("--git-dir", str(repository), "symbolic-ref", "HEAD", ref)

    async def message(self, repository: Path, commit: str) -> str:
        """Return a commit's message."""
        arguments = ("log", "-1", "--format=%B", "--no-show-signature", commit, "--")
        found = await self._run("--git-dir", str(repository), *arguments)
        return found.decode("utf-8", "replace").strip()[:_LONGEST_MESSAGE]

    async def changed(self, repository: Path, update: RefUpdate) -> Collection[str] | None:
        """Return the files that a push changed; None if there are too many, or all are new."""
        if update.old == NO_COMMIT:
            return None
        commits = (update.old, update.new)
        arguments = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", *commits, "--")
        try:
            found = await self._run("--git-dir", str(repository), *arguments)
        except InvalidRequestError:  # what was there before is gone
            return None
        names = found.decode("utf-8", "surrogateescape").split("\0")[:-1]
        return names if len(names) <= _MOST_CHANGED else None

    async def tidy(self, repository: Path, below: str, keep: Collection[str]) -> None:
        """Remove the refs below a name whose commits are not kept, and what nothing needs."""
        place = ("--git-dir", str(repository))
        found = await self._run(*place, "for-each-ref", "--format=%(refname)", below.rstrip("/"))
        for ref in found.decode().splitlines():
            if ref.removeprefix(below) not in keep:
                await self._run(*place, "update-ref", "-d", ref)
        # What a push brings at this moment is younger than what is removed.
        await self._run(*place, "gc", "--auto", "--quiet")

    async def _run(self, *arguments: str, protocol: str = "") -> bytes:
        process = await self._start(arguments, protocol)
        try:
            if process.stdin is not None:
                process.stdin.close()
            output, errors = await process.communicate()
        finally:
            _kill(process)
        if process.returncode != 0:
            raise InvalidRequestError(
                f"git failed: {_last_line(errors)}", hint="Its repository may be damaged"
            )
        return output

    async def _start(self, arguments: Sequence[str], protocol: str) -> asyncio.subprocess.Process:
        settings = [word for setting in self._settings for word in ("-c", setting)]
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }
        if _PROTOCOL.fullmatch(protocol):
            environ["GIT_PROTOCOL"] = protocol
        try:
            return await asyncio.create_subprocess_exec(
                "git",
                *settings,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environ,
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise UnreachableError(
                "This machine has no git, which takes pushes.",
                hint="Install git there; `covey deploy DIR` works without it",
            ) from error


@asynccontextmanager
async def _conversation(
    process: asyncio.subprocess.Process, given: AsyncIterator[bytes]
) -> AsyncIterator[AsyncIterator[bytes]]:
    feeding = asyncio.ensure_future(_feed(process, given))
    errors = asyncio.ensure_future(_read_errors(process))
    try:
        yield _answer(process, feeding, errors)
    finally:
        feeding.cancel()
        await end_process(process, _PATIENCE_S, group=True)
        await asyncio.gather(feeding, errors, return_exceptions=True)


async def _answer(
    process: asyncio.subprocess.Process,
    feeding: asyncio.Future[None],
    errors: asyncio.Future[bytes],
) -> AsyncIterator[bytes]:
    """Yield what git answers; raises what reading the request raised, or why git failed."""
    assert process.stdout is not None  # noqa: S101 - started with a pipe
    said = False
    while data := await process.stdout.read(_CHUNK):
        said = True
        yield data
    status = await process.wait()
    if feeding.done() and not feeding.cancelled():
        feeding.result()
    if status != 0 and not said:
        raise InvalidRequestError(
            f"git refused it: {_last_line(await errors)}",
            hint="Try it again with: git push --verbose",
        )


async def _feed(process: asyncio.subprocess.Process, given: AsyncIterator[bytes]) -> None:
    """Give git the request; if that breaks off, git is ended, so that it takes nothing by half."""
    assert process.stdin is not None  # noqa: S101 - started with a pipe
    try:
        async for data in given:
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return
    except CoveyError:
        _kill(process)
        raise


async def _read_errors(process: asyncio.subprocess.Process) -> bytes:
    assert process.stderr is not None  # noqa: S101 - started with a pipe
    kept = b""
    while data := await process.stderr.read(_CHUNK):
        kept = (kept + data)[-_MOST_ERROR:]
    return kept


def _kill(process: asyncio.subprocess.Process) -> None:
    """End git and its children; by SIGTERM it removes what it has half received."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)


def _clean(repository: Path) -> None:
    now = time.time()
    for pattern in ("objects/tmp_objdir-*", "objects/incoming-*"):
        for left in repository.glob(pattern):
            with contextlib.suppress(OSError):
                # A slow push writes to one file for long.
                used = max(path.lstat().st_mtime for path in (left, *left.rglob("*")))
                if now - used > _STALE_S:
                    shutil.rmtree(left)


def _last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    text = lines[-1] if lines else "it did not say why"
    return text.removeprefix("fatal: ").removeprefix("error: ")[:200]
