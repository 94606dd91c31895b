"""The commands of this node: started, listed, followed, signalled, and found again later."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from covey.errors import ConflictError, InvalidRequestError, NotFoundError, StorageError
from covey.operations.access import Caller
from covey.remote.exec.execution import (
    Attached,
    Followed,
    exited,
    feed_detached,
    require_signal,
)
from covey.remote.exec.model import (
    CommandState,
    EndReason,
    ExecInput,
    ExecOutput,
    RemoteCommand,
    Started,
    signal_name,
)
from covey.remote.exec.ports import (
    LOST,
    DetachedProcess,
    Ending,
    Processes,
    Size,
    Spooling,
    Variables,
)
from covey.remote.exec.recording import Recorder
from covey.remote.exec.records import CommandRecord, ExecFiles, iso
from covey.remote.exec.request import ExecRequest, Preparation, Prepared
from covey.remote.exec.spool import spooled_bytes

_MOST_RUNNING = 512
_ID_BYTES = 6


class Recording(StrEnum):
    """Which commands this node records."""

    NEVER = "never"
    TERMINALS = "terminals"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class ExecPolicy:
    """This node's settings for commands."""

    record: Recording
    spool_bytes: int


@dataclass(slots=True)
class _Detached:
    """A detached command on record; `process` while it runs, `ending` once that is known."""

    record: CommandRecord
    followed: Followed
    process: DetachedProcess | None
    known: Ending | None = None

    @property
    def ending(self) -> Ending | None:
        return self.known if self.process is None else self.process.ending


class Commands:
    """The service behind the operations on commands.

    A caller whom policy binds to a system user, `as_user`, finds that user's commands alone.
    """

    def __init__(
        self,
        processes: Processes,
        preparation: Preparation,
        variables: Variables,
        files: ExecFiles,
        policy: ExecPolicy,
    ) -> None:
        self._processes = processes
        self._preparation = preparation
        self._variables = variables
        self._files = files
        self._policy = policy
        self._attached: dict[str, Attached] = {}
        self._detached: dict[str, _Detached] = {}

    async def open(self) -> None:
        """Find the detached commands of before, and forget those that ended long ago."""
        for record in self._files.records():
            directory = self._files.directory(record.id)
            process = None
            known = self._processes.ending(directory)
            if known is None:
                process = await self._processes.connect(directory)
            if known is None and process is None:
                # It may have ended between the two questions.
                known = self._processes.ending(directory) or LOST
            followed = Followed(str(directory), process)
            self._detached[record.id] = _Detached(record, followed, process, known)
        self.forget_old()

    def close(self) -> None:
        """Let go of everything: attached commands end, detached ones run on."""
        for command in self._detached.values():
            if command.process is not None:
                command.process.close()
        self._detached.clear()
        self._processes.close()

    def forget_old(self) -> None:
        """Remove the output and recordings that are kept no longer."""
        for identifier, command in list(self._detached.items()):
            ending = command.ending
            if ending is None:
                continue
            if self._files.is_old(ending.at or command.record.started.timestamp()):
                del self._detached[identifier]
                self._files.remove(identifier)
        self._files.remove_old_recordings()

    async def run(
        self, request: ExecRequest, caller: Caller, items: AsyncIterator[ExecInput]
    ) -> AsyncGenerator[ExecOutput, None]:
        """Run a command for a caller who stays: it ends with the stream, however that ends."""
        self._check_room()
        prepared = await self._preparation.prepare(request, caller)
        identifier = secrets.token_hex(_ID_BYTES)
        recorder = await self._recorder(identifier, prepared)
        try:
            process = await self._processes.run(prepared.launch)
        except BaseException:
            if recorder is not None:
                recorder.close()
                self._files.recording(identifier).unlink(missing_ok=True)
            raise
        command = Attached(identifier, prepared, caller.label, process, recorder)
        self._attached[identifier] = command
        try:
            async with aclosing(command.run(items)) as output:
                async for item in output:
                    yield item
        finally:
            del self._attached[identifier]

    async def start(
        self, request: ExecRequest, caller: Caller, *, keep_input_open: bool = False
    ) -> RemoteCommand:
        """Start a command that keeps its output and runs on by itself."""
        self._check_room()
        self.forget_old()
        prepared = await self._preparation.prepare(request, caller)
        identifier = secrets.token_hex(_ID_BYTES)
        account = prepared.launch.account
        record = CommandRecord(
            identifier,
            request.title,
            caller.label,
            account.name,
            datetime.now(UTC),
            request.size is not None,
        )
        recorded = self._is_recorded(request)
        if recorded:
            self._files.prepare_recordings()
        spooling = Spooling(
            limit_bytes=self._policy.spool_bytes,
            recording=self._files.recording(identifier) if recorded else None,
            title=request.title,
            timeout_s=request.timeout_s,
            keep_input_open=keep_input_open,
            secrets=await self._secrets(prepared) if recorded else (),
        )
        directory = self._files.create(record)
        try:
            process = await self._processes.start(prepared.launch, directory, spooling)
        except BaseException:
            self._files.remove(identifier)
            raise
        command = _Detached(record, Followed(str(directory), process), process)
        self._detached[identifier] = command
        return self._describe(command)

    def list(self, as_user: str | None = None) -> list[RemoteCommand]:
        """List the commands that run, and the detached ones that ended, the newest first."""
        found = [self._describe_attached(item) for item in self._attached.values()]
        found += [self._describe(item) for item in self._detached.values()]
        if as_user is not None:
            found = [item for item in found if item.user == as_user]
        return sorted(found, key=lambda item: item.started, reverse=True)

    async def attach(
        self,
        identifier: str,
        offset: int,
        items: AsyncIterator[ExecInput],
        as_user: str | None = None,
    ) -> AsyncGenerator[ExecOutput, None]:
        """Follow a detached command from an offset to its end, and pass input to it."""
        command = self._require(identifier, as_user)
        self._check_offset(command, offset)
        feeding: asyncio.Task[None] | None = None
        if command.process is not None and command.ending is None:
            feeding = asyncio.create_task(feed_detached(command.process, items))
        try:
            yield Started(identifier, self._pid(command), offset)
            async with aclosing(command.followed.read(offset, follow=True)) as output:
                async for item in output:
                    if feeding is not None and feeding.done():
                        feeding.result()
                    yield item
            yield self._exited(command)
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    async def logs(
        self, identifier: str, offset: int, *, follow: bool, as_user: str | None = None
    ) -> AsyncGenerator[ExecOutput, None]:
        """Yield what is kept of a detached command's output, and its end if it has ended."""
        command = self._require(identifier, as_user)
        self._check_offset(command, offset)
        async with aclosing(command.followed.read(offset, follow=follow)) as output:
            async for item in output:
                yield item
        if command.ending is not None:
            yield self._exited(command)

    async def kill(
        self, identifier: str, signal: str | None, as_user: str | None = None
    ) -> RemoteCommand:
        """Send a signal to a command's group; without one, end it and all that it started."""
        number = None if signal is None else require_signal(signal)
        attached = self._attached.get(identifier)
        if attached is not None and as_user in {None, attached.user}:
            if number is None:
                attached.end()
            else:
                attached.signal(number)
            return self._describe_attached(attached)
        command = self._require(identifier, as_user)
        if command.process is None or command.ending is not None:
            raise ConflictError(
                f"The command {identifier} has ended already.", hint="See: covey exec list"
            )
        if number is None:
            command.process.end()
        else:
            command.process.signal(number)
        return self._describe(command)

    async def remove(self, identifier: str, as_user: str | None = None) -> None:
        """Forget a detached command that has ended, with its output."""
        command = self._require(identifier, as_user)
        if command.ending is None:
            raise ConflictError(
                f"The command {identifier} is running.",
                hint=f"End it: covey exec kill {identifier}",
            )
        del self._detached[identifier]
        self._files.remove(identifier)

    def _check_room(self) -> None:
        running = sum(item.ending is None for item in self._detached.values())
        if running + len(self._attached) >= _MOST_RUNNING:
            raise ConflictError(
                f"This node runs {_MOST_RUNNING} commands already.",
                hint="End some: covey exec list, covey exec kill ID",
            )

    def _require(self, identifier: str, as_user: str | None) -> _Detached:
        attached = self._attached.get(identifier)
        if attached is not None and as_user in {None, attached.user}:
            raise ConflictError(
                f"The command {identifier} belongs to the caller who runs it.",
                hint="Only commands that were started with --detach can be attached to.",
            )
        command = self._detached.get(identifier)
        if command is None or as_user not in {None, command.record.user}:
            raise NotFoundError(
                f"This node has no command {identifier[:32]}.", hint="See: covey exec list"
            )
        return command

    def _check_offset(self, command: _Detached, offset: int) -> None:
        end = self._output(command)
        if offset > end:
            raise InvalidRequestError(
                f"There are {end} bytes of output, and not {offset}.",
                hint="Attach at an offset that the output had.",
                details={"output": end},
            )

    def _output(self, command: _Detached) -> int:
        if command.process is not None:
            return command.process.spooled
        if command.known is not None and command.known.reason is not EndReason.LOST:
            return command.known.output
        return spooled_bytes(str(self._files.directory(command.record.id)))

    def _pid(self, command: _Detached) -> int:
        return 0 if command.process is None else command.process.pid

    def _exited(self, command: _Detached) -> ExecOutput:
        ending = command.ending or LOST
        return exited(ending, ending.duration_s, ending.reason)

    def _is_recorded(self, request: ExecRequest) -> bool:
        match self._policy.record:
            case Recording.ALWAYS:
                return True
            case Recording.TERMINALS:
                return request.record or request.size is not None
            case Recording.NEVER:
                return request.record

    async def _secrets(self, prepared: Prepared) -> Sequence[str]:
        return [*prepared.secrets, *await self._variables.secrets()]

    async def _recorder(self, identifier: str, prepared: Prepared) -> Recorder | None:
        request = prepared.request
        if not self._is_recorded(request):
            return None
        self._files.prepare_recordings()
        path = str(self._files.recording(identifier))
        size = _pair(request.size)
        try:
            return Recorder(path, request.title, size, await self._secrets(prepared))
        except OSError as error:
            raise StorageError(
                f"The command cannot be recorded: {error.strerror}.",
                hint="This node's policy wants it recorded: make room on its disk.",
            ) from error

    def _describe_attached(self, command: Attached) -> RemoteCommand:
        request = command.prepared.request
        return RemoteCommand(
            id=command.id,
            state=CommandState.RUNNING,
            command=request.title,
            caller=command.caller,
            user=command.user,
            started=iso(command.started),
            detached=False,
            tty=request.size is not None,
            output=command.output,
            pid=command.pid,
            recorded=command.recorded,
        )

    def _describe(self, command: _Detached) -> RemoteCommand:
        record, ending = command.record, command.ending
        found = RemoteCommand(
            id=record.id,
            state=CommandState.RUNNING,
            command=record.command,
            caller=record.caller,
            user=record.user,
            started=iso(record.started),
            detached=True,
            tty=record.tty,
            output=self._output(command),
            pid=self._pid(command) or None,
            recorded=self._files.is_recorded(record.id),
        )
        if ending is None:
            return found
        return _ended(found, ending)


def _ended(command: RemoteCommand, ending: Ending) -> RemoteCommand:
    lost = ending.status is None and ending.signal is None
    return msgspec.structs.replace(
        command,
        state=CommandState.LOST if lost else CommandState.EXITED,
        pid=None,
        ended=iso(datetime.fromtimestamp(ending.at, UTC)) if ending.at else None,
        status=ending.status,
        signal=None if ending.signal is None else signal_name(ending.signal),
        reason=ending.reason,
    )


def _pair(size: Size | None) -> tuple[int, int] | None:
    return None if size is None else (size.rows, size.columns)
