"""The operations on commands: run, start detached, list, attach, logs, kill; and recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.remote.exec.model import (
    Columns,
    ExecInput,
    ExecOutput,
    RemoteCommand,
    Rows,
    SignalName,
)
from covey.remote.exec.ports import Size
from covey.remote.exec.recordings import (
    RecordingEvent,
    RecordingHeader,
    Recordings,
    RecordingSummary,
)
from covey.remote.exec.records import ID_PATTERN
from covey.remote.exec.registry import Commands
from covey.remote.exec.request import MAX_TIMEOUT_S, ExecRequest

_MOST_WORDS = 10_000
_MOST_VARIABLES = 1000

CommandId = Annotated[str, Meta(pattern=ID_PATTERN, description="The command's id.")]
Words = Annotated[
    list[str], Meta(max_length=_MOST_WORDS, description="The program and its arguments.")
]
Shell = Annotated[
    bool, Meta(description="The words are one line for a shell; none: a login shell.")
]
Cwd = Annotated[
    str,
    Meta(min_length=1, max_length=4096, description="The directory; else the user's home."),
]
User = Annotated[
    str, Meta(min_length=1, max_length=64, description="Run as this user of the machine.")
]
Env = Annotated[
    list[str],
    Meta(
        max_length=_MOST_VARIABLES,
        description="NAME=VALUE, or NAME for the value that the fleet has for it.",
    ),
]
Tty = Annotated[bool, Meta(description="Give it a terminal.")]
Term = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9.+_-]{1,64}$", description="The terminal's type (TERM).")
]
Timeout = Annotated[
    float,
    Meta(
        gt=0, le=MAX_TIMEOUT_S, description="Seconds after which it is ended with all it started."
    ),
]
Record = Annotated[bool, Meta(description="Record its output, whatever the policy says.")]
Offset = Annotated[
    int, Meta(ge=0, description="Bytes of output to leave out: where one attached before was.")
]


@operation(
    "exec.run",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/exec:run",
    examples=("exec run -- uname -a", "exec run --shell 'df -h | sort'"),
)
async def run(
    ctx: Context,
    argv: Words = [],  # noqa: B006 - msgspec copies an empty default
    *,
    shell: Shell = False,
    cwd: Cwd | None = None,
    user: User | None = None,
    env: Env = [],  # noqa: B006 - as above
    tty: Tty = False,
    rows: Rows = 24,
    columns: Columns = 80,
    term: Term | None = None,
    timeout: Timeout | None = None,  # noqa: ASYNC109 - the command's, not this coroutine's
    record: Record = False,
    input: AsyncIterator[ExecInput],  # noqa: A002 - the name that callers know
) -> AsyncIterator[ExecOutput]:
    """Run a command and stream its output; when the caller leaves, all that it started ends.

    Words are passed on as they are: no shell reads them, unless `shell` asks for one.
    """
    request = ExecRequest(
        argv=tuple(argv),
        shell=shell,
        cwd=cwd,
        user=user,
        env=tuple(env),
        size=Size(rows, columns) if tty else None,
        term=term,
        timeout_s=timeout,
        record=record,
    )
    output = ctx.service(Commands).run(request, ctx.caller, input)
    try:
        async for item in output:
            yield item
    finally:
        await output.aclose()


@operation(
    "exec.start",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/exec",
    examples=("exec start -- make -j4 all", "exec start --timeout 3600 --shell 'make > log'"),
)
async def start(
    ctx: Context,
    argv: Words = [],  # noqa: B006 - as above
    *,
    shell: Shell = False,
    cwd: Cwd | None = None,
    user: User | None = None,
    env: Env = [],  # noqa: B006 - as above
    tty: Tty = False,
    rows: Rows = 24,
    columns: Columns = 80,
    term: Term | None = None,
    timeout: Timeout | None = None,  # noqa: ASYNC109 - as above
    record: Record = False,
    keep_input: Annotated[
        bool, Meta(description="Keep its input open for those who attach; else it has none.")
    ] = False,
) -> RemoteCommand:
    """Start a command that runs on by itself, also while Covey's daemon restarts.

    Its output is kept on disk, and can be followed from any offset with attach and logs.
    """
    request = ExecRequest(
        argv=tuple(argv),
        shell=shell,
        cwd=cwd,
        user=user,
        env=tuple(env),
        size=Size(rows, columns) if tty else None,
        term=term,
        timeout_s=timeout,
        record=record,
    )
    return await ctx.service(Commands).start(request, ctx.caller, keep_input_open=keep_input)


@operation(
    "exec.list",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/exec",
    examples=("exec list",),
)
async def list_commands(ctx: Context) -> list[RemoteCommand]:
    """List the commands that run here, and the detached ones that ended, the newest first."""
    return ctx.service(Commands).list(ctx.caller.as_user)


@operation(
    "exec.attach",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/exec/{id}/attach",
    examples=("exec attach 4f1d20c8a3be", "exec attach 4f1d20c8a3be --offset 8192"),
)
async def attach(
    ctx: Context,
    id: CommandId,  # noqa: A002 - the name that callers know
    *,
    offset: Offset = 0,
    input: AsyncIterator[ExecInput],  # noqa: A002 - as above
) -> AsyncIterator[ExecOutput]:
    """Follow a detached command to its end, and pass input to it; leaving does not end it.

    After a lost connection, attach again where the last output ended: nothing is lost or doubled.
    """
    output = ctx.service(Commands).attach(id, offset, input, ctx.caller.as_user)
    try:
        async for item in output:
            yield item
    finally:
        await output.aclose()


@operation(
    "exec.logs",
    access=Role.OPERATOR,
    effect=Effect.READ,
    http="GET /api/v1/exec/{id}/output",
    examples=("exec logs 4f1d20c8a3be", "exec logs 4f1d20c8a3be --follow"),
)
async def logs(
    ctx: Context,
    id: CommandId,  # noqa: A002 - as above
    *,
    offset: Offset = 0,
    follow: Annotated[bool, Meta(description="Go on until the command ends.")] = False,
) -> AsyncIterator[ExecOutput]:
    """Show the output that a detached command has made."""
    commands = ctx.service(Commands)
    output = commands.logs(id, offset, follow=follow, as_user=ctx.caller.as_user)
    try:
        async for item in output:
            yield item
    finally:
        await output.aclose()


@operation(
    "exec.kill",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="POST /api/v1/exec/{id}/kill",
    examples=("exec kill 4f1d20c8a3be", "exec kill 4f1d20c8a3be --signal INT"),
)
async def kill(
    ctx: Context,
    id: CommandId,  # noqa: A002 - as above
    *,
    signal: SignalName | None = None,
) -> RemoteCommand:
    """End a command and all that it started; with `signal`, only send that to its group."""
    return await ctx.service(Commands).kill(id, signal, ctx.caller.as_user)


@operation(
    "exec.remove",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/exec/{id}",
    examples=("exec remove 4f1d20c8a3be",),
)
async def remove(ctx: Context, id: CommandId) -> None:  # noqa: A002 - as above
    """Forget a detached command that has ended, with its output; a recording stays."""
    await ctx.service(Commands).remove(id, ctx.caller.as_user)


@operation(
    "audit.recordings",
    access=Role.ADMIN,
    effect=Effect.READ,
    http="GET /api/v1/audit/recordings",
    examples=("audit recordings",),
)
async def list_recordings(ctx: Context) -> list[RecordingSummary]:
    """List the recordings of commands and shells on this node, the newest first."""
    return ctx.service(Recordings).list()


@operation(
    "audit.play",
    access=Role.ADMIN,
    effect=Effect.REVEAL,
    http="GET /api/v1/audit/recordings/{id}",
    examples=("audit play 4f1d20c8a3be",),
)
async def play(
    ctx: Context,
    id: CommandId,  # noqa: A002 - as above
) -> AsyncIterator[RecordingHeader | RecordingEvent]:
    """Play the recording of a command or shell, as its output came, with known secrets masked."""
    events = ctx.service(Recordings).play(id)
    try:
        async for item in events:
            yield item
    finally:
        await events.aclose()
