"""The repositories that this node serves for its apps: a push to an app's branch deploys it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from covey.apps.begun_pushes import BegunPush, note_push, noted_pushes
from covey.apps.names import check_app_name
from covey.apps.pkt_line import (
    FLUSH,
    NO_COMMIT,
    PACK,
    PROGRESS,
    CommandReader,
    PacketReader,
    PushRequest,
    RefUpdate,
    accepted,
    banded,
    packet,
    rejected,
)
from covey.errors import CoveyError

_HEADS = "refs/heads/"
_KEPT = "refs/covey/commits/"
_ALIVE_S = 10.0
_log = logging.getLogger("covey.apps")


class GitService(StrEnum):
    """What a client asks of a repository."""

    PULL = "git-upload-pack"
    PUSH = "git-receive-pack"


class GitPart(msgspec.Struct, frozen=True):
    """The next bytes of a conversation in git's protocol."""

    data: bytes


class GitHost(Protocol):
    """Git itself, on bare repositories of this machine. Raises `CoveyError`."""

    async def make(self, repository: Path) -> None:
        """Make a repository if it is not there."""
        ...

    async def advertise(self, repository: Path, service: GitService, protocol: str) -> bytes:
        """Return what a repository has, as a service begins."""
        ...

    def talk(
        self, repository: Path, service: GitService, protocol: str, given: AsyncIterator[bytes]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Run a service over what the client sends; leaving ends it."""
        ...

    async def set_ref(self, repository: Path, ref: str, new: str, old: str | None) -> bool:
        """Set or (for `NO_COMMIT`) remove a ref; False if it is no longer at `old`."""
        ...

    async def set_head(self, repository: Path, ref: str) -> None:
        """Say which branch is checked out by a clone."""
        ...

    async def message(self, repository: Path, commit: str) -> str:
        """Return a commit's message."""
        ...

    async def changed(self, repository: Path, update: RefUpdate) -> Collection[str] | None:
        """Return the files that a push changed; None if there are too many, or all are new."""
        ...

    async def tidy(self, repository: Path, below: str, keep: Collection[str]) -> None:
        """Remove the refs below a name whose commits are not kept, and what nothing needs."""
        ...


class PushTarget(Protocol):
    """What a push is for."""

    def check(self, app: str) -> None:
        """Raise `NotFoundError` or `ElsewhereError` unless the app is one of this node."""
        ...

    def deploys(self, app: str, branch: str) -> bool:
        """Whether a push to a branch deploys the app."""
        ...

    def wants(self, app: str, changed: Collection[str] | None) -> bool:
        """Whether a push of these files is deployed; None if it is not known which they are."""
        ...

    async def deploy(self, app: str, branch: str, commit: str, message: str, caller: str) -> int:
        """Ask for a commit's deployment, and return its number."""
        ...

    def follow(self, app: str, number: int) -> AsyncGenerator[str, None]:
        """Yield the lines of a deployment's log until it serves.

        Raises `CoveyError` if it does not.
        """
        ...

    def needed(self, app: str) -> set[str]:
        """Return the commits of the deployments that are remembered."""
        ...


class _Following:
    """A deployment that goes on whether or not the client still listens."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.failure: CoveyError | None = None
        self.heard = True

    def say(self, line: str) -> None:
        if self.heard:
            self.lines.put_nowait(line)


class Pushes:
    """Serves fetches and pushes; the branch of a deployment that fails stays where it was."""

    def __init__(self, directory: Path, host: GitHost, target: PushTarget) -> None:
        self._directory = directory
        self._host = host
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[int | None]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def start(self) -> None:
        """Ask for the deployments that a killed daemon owes to those who pushed."""
        for app in self.apps():
            for push in noted_pushes(self._path(app)):
                try:
                    asked = push.update.new in self._target.needed(app)
                except CoveyError:
                    continue  # the app has left this node, and its repository goes
                if asked:
                    push.forget()
                else:
                    self._begin(app, self._path(app), push).heard = False

    async def advertise(self, app: str, service: GitService, protocol: str) -> bytes:
        """Return the answer to `info/refs` (gitprotocol-http)."""
        repository = await self._repository(app)
        head = packet(f"# service={service}\n".encode()) + FLUSH
        return head + await self._host.advertise(repository, service, protocol)

    async def pull(
        self, app: str, protocol: str, given: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Answer one request of a fetch."""
        repository = await self._repository(app)
        async with self._host.talk(repository, GitService.PULL, protocol, given) as answer:
            async for data in answer:
                yield data

    async def push(
        self, app: str, protocol: str, given: AsyncIterator[bytes], caller: str
    ) -> AsyncGenerator[bytes, None]:
        """Take a push; its deployment's log comes as progress, its end with the report."""
        repository = await self._repository(app)
        request, passed_on = await _commands(given)
        update = self._deployed(app, request)
        is_kept = update is None and any(_is_branch(item) for item in request.updates)
        note = f"kept, and not deployed: {app} follows another branch\n" if is_kept else ""
        report = bytearray()
        following = None
        begun = await _noted(repository, update, caller)
        try:
            async with self._host.talk(repository, GitService.PUSH, protocol, passed_on) as answer:
                async for data in _progress(answer, request, report):
                    yield data
            if begun is not None and accepted(bytes(report), begun.update.ref):
                following = self._begin(app, repository, begun)
            elif begun is not None:
                begun.forget()
            begun = None
        finally:
            if begun is not None:
                # Git may have taken it before its client left.
                self._begin(app, repository, begun).heard = False
        if following is not None:
            try:
                async for data in _shown(following):
                    if request.banded:
                        yield data
            finally:
                following.heard = False
            if following.failure is not None:
                report[:] = rejected(bytes(report), following.ref, "the deployment failed")
        for data in _ending(request, bytes(report), note):
            yield data

    def apps(self) -> set[str]:
        """Return the apps that have a repository."""
        return {path.stem for path in self._directory.glob("[!.]*.git")}

    def forget(self, app: str) -> None:
        """Remove an app's repository, at once for whoever makes an app of the same name."""
        path = self._directory / f"{app}.git"
        gone = self._directory / f".{app}.{secrets.token_hex(4)}.gone"
        with contextlib.suppress(OSError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    async def stop(self) -> None:
        """Follow deployments no more; they go on, and those that are due are asked for."""
        tasks = [*self._tasks, *self._asking]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _path(self, app: str) -> Path:
        return self._directory / f"{check_app_name(app)}.git"

    async def _repository(self, app: str) -> Path:
        self._target.check(app)
        path = self._path(app)
        await self._host.make(path)
        return path

    def _deployed(self, app: str, request: PushRequest) -> RefUpdate | None:
        """Return the update that is to be deployed, if git takes it."""
        for update in request.updates:
            branch = update.ref.removeprefix(_HEADS)
            if _is_branch(update) and self._target.deploys(app, branch):
                return update
        return None

    def _begin(self, app: str, repository: Path, push: BegunPush) -> _Following:
        following = _Following(push.update.ref)
        # The branch has moved already: whoever stops meanwhile must not lose its deployment.
        asking = asyncio.create_task(self._deploy(app, repository, push, following))
        self._asking.add(asking)
        asking.add_done_callback(partial(self._asked, push))
        task = asyncio.create_task(self._run(app, repository, push.update, asking, following))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return following

    def _asked(self, push: BegunPush, asking: asyncio.Task[int | None]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            push.forget()

    async def _run(
        self,
        app: str,
        repository: Path,
        update: RefUpdate,
        asking: asyncio.Task[int | None],
        following: _Following,
    ) -> None:
        number = None
        try:
            number = await asyncio.shield(asking)
            if number is not None:
                async with aclosing(self._target.follow(app, number)) as lines:
                    async for line in lines:
                        following.say(line)
        except CoveyError as error:
            following.failure = error
            try:
                await self._host.set_ref(repository, update.ref, update.old, update.new)
            except CoveyError as second:
                _log.warning("the branch of %s stays at a failed commit: %s", app, second)
        except Exception:  # noqa: BLE001 - logged, and told without its details
            _log.exception("a push to %s cannot be followed", app)
            following.failure = CoveyError(
                "Something went wrong inside Covey; the log of this machine says what.",
                hint=f"What became of it: covey apps deployments {app}",
            )
        finally:
            following.lines.put_nowait(None)
        if number is not None:
            await self._tidy(app, repository)

    async def _tidy(self, app: str, repository: Path) -> None:
        try:
            async with self._turns.setdefault(app, asyncio.Lock()):
                await self._host.tidy(repository, _KEPT, self._target.needed(app))
        except CoveyError as error:
            _log.warning("the repository of %s is not tidied: %s", app, error)

    async def _deploy(
        self, app: str, repository: Path, push: BegunPush, following: _Following
    ) -> int | None:
        """Ask for a deployment unless another push has moved the branch on meanwhile."""
        update = push.update
        # One after the other, so that the deployment asked for last is of the branch's last commit.
        async with self._turns.setdefault(app, asyncio.Lock()):
            if not await self._host.set_ref(repository, update.ref, update.new, update.new):
                following.say("another push came meanwhile, and is deployed instead")
                return None
            if not self._target.wants(app, await self._host.changed(repository, update)):
                following.say("no file changed that deploy.git.paths names: nothing is deployed")
                return None
            # A commit that was deployed stays, whatever becomes of its branch.
            await self._host.set_ref(repository, f"{_KEPT}{update.new}", update.new, None)
            await self._host.set_head(repository, update.ref)
            message = await self._host.message(repository, update.new)
            branch = update.ref.removeprefix(_HEADS)
            return await self._target.deploy(app, branch, update.new, message, push.caller)


def _ending(request: PushRequest, report: bytes, note: str) -> Iterator[bytes]:
    """Yield what is said at last: a note for people, and git's report."""
    if request.banded:
        if note:
            yield banded(PROGRESS, note.encode())
        yield banded(PACK, report) + FLUSH if report else FLUSH
    elif report:
        yield report


async def _noted(repository: Path, update: RefUpdate | None, caller: str) -> BegunPush | None:
    if update is None:
        return None
    return await asyncio.to_thread(note_push, repository, update, caller)


def _is_branch(update: RefUpdate) -> bool:
    return update.ref.startswith(_HEADS) and update.new != NO_COMMIT


async def _commands(given: AsyncIterator[bytes]) -> tuple[PushRequest, AsyncIterator[bytes]]:
    """Read a push's commands; returns them and the whole stream."""
    reader = CommandReader()
    async for data in given:
        if reader.feed(data):
            break

    async def whole() -> AsyncIterator[bytes]:
        yield bytes(reader.raw)
        async for data in given:
            yield data

    return reader.done or PushRequest((), frozenset()), whole()


async def _progress(
    answer: AsyncIterator[bytes], request: PushRequest, report: bytearray
) -> AsyncIterator[bytes]:
    """Yield what git says of its work; the report, which comes last, is kept back."""
    reader = PacketReader()
    async for data in answer:
        for payload in reader.feed(data):
            if not request.banded:
                report += FLUSH if payload is None else packet(payload)
            elif payload is not None and payload[:1] == bytes([PACK]):
                report += payload[1:]
            elif payload is not None:
                yield packet(payload)


async def _shown(following: _Following) -> AsyncIterator[bytes]:
    """Yield a deployment's lines as progress, and a sign of life when it is silent for long."""
    while True:
        try:
            async with asyncio.timeout(_ALIVE_S):
                line = await following.lines.get()
        except TimeoutError:
            yield banded(PACK, b"")
            continue
        if line is None:
            break
        yield banded(PROGRESS, f"{line}\n".encode())
    failure = following.failure
    if failure is not None:
        hint = f"\n{failure.hint}" if failure.hint else ""
        yield banded(PROGRESS, f"\n{failure.message}{hint}\n".encode())
