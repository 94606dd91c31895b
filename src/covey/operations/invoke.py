"""The one path by which every surface runs an operation: authorize, audit, run."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec

from covey.errors import CoveyError, DeadlineExceededError
from covey.operations.access import authorize
from covey.operations.audit import AuditEntry, AuditSink
from covey.operations.context import Context
from covey.operations.registry import Effect, Operation
from covey.operations.secret import Secret

REFUSALS = frozenset({"refused", "locked"})
"""Outcomes that say that nothing was done, of whatever operation."""

_log = logging.getLogger("covey.operations")


class InternalError(CoveyError):
    """A defect in Covey; the log holds the traceback under the request id."""

    code = "internal"


async def invoke(
    operation: Operation,
    arguments: msgspec.Struct,
    context: Context,
    audit: AuditSink,
    items: AsyncIterator[Any] | None = None,
) -> Any:
    """Run an operation that returns one result; a duplex one reads `items`.

    Raises `CoveyError` alone: whatever else goes wrong is logged and becomes `InternalError`.
    """
    outcome = "ok"
    try:
        authorize(context.caller, operation.name, operation.access)
        async with asyncio.timeout(context.remaining()):
            await context.services.prepare(operation)
            function = operation.definition.function
            return await function(context, **_call(operation, arguments, items))
    except CoveyError as error:
        outcome = error.code
        raise
    except TimeoutError as error:
        outcome = DeadlineExceededError.code
        raise DeadlineExceededError(f"{operation.name} did not end in time.") from error
    except Exception as error:
        outcome = InternalError.code
        raise _internal(operation, context) from error
    finally:
        _audit(operation, arguments, context, audit, outcome)


async def stream(
    operation: Operation,
    arguments: msgspec.Struct,
    context: Context,
    audit: AuditSink,
    items: AsyncIterator[Any] | None = None,
) -> AsyncGenerator[Any, None]:
    """Run a streaming operation; it is audited when the stream begins or is refused."""
    try:
        authorize(context.caller, operation.name, operation.access)
        await context.services.prepare(operation)
    except CoveyError as error:
        _audit(operation, arguments, context, audit, error.code)
        raise
    except Exception as error:
        _audit(operation, arguments, context, audit, InternalError.code)
        raise _internal(operation, context) from error
    _audit(operation, arguments, context, audit, "ok")
    try:
        results = operation.definition.function(context, **_call(operation, arguments, items))
        async with aclosing(results):
            async for item in results:
                yield item
    except (CoveyError, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        raise _internal(operation, context) from error


async def duplex(
    operation: Operation,
    arguments: msgspec.Struct,
    items: AsyncIterator[Any],
    context: Context,
    audit: AuditSink,
) -> AsyncGenerator[Any, None]:
    """Run an operation that reads `items` while it runs; one that returns yields its result."""
    if not operation.streams:
        yield await invoke(operation, arguments, context, audit, items)
        return
    async with aclosing(stream(operation, arguments, context, audit, items)) as results:
        async for item in results:
            yield item


def authorize_early(operation: Operation, context: Context, audit: AuditSink) -> None:
    """Raise `RefusedError`, and keep it, before the arguments of a call are known."""
    try:
        authorize(context.caller, operation.name, operation.access)
    except CoveyError as error:
        _audit(operation, None, context, audit, error.code)
        raise


def record_call(
    operation: Operation,
    arguments: msgspec.Struct,
    context: Context,
    audit: AuditSink,
    outcome: str,
    *,
    host: str,
) -> None:
    """Keep that a caller here had an operation run on another host."""
    _audit(operation, arguments, context, audit, outcome, host)


def audited(operation: Operation, outcome: str) -> bool:
    """Whether a call is kept in the trail: all but plain reads, and every refusal."""
    return operation.effect is not Effect.READ or outcome in REFUSALS


def _call(
    operation: Operation, arguments: msgspec.Struct, items: AsyncIterator[Any] | None
) -> dict[str, Any]:
    signature = operation.signature
    values = {item.name: getattr(arguments, item.name) for item in signature.parameters}
    if signature.input is not None:
        values[signature.input.name] = _nothing() if items is None else items
    return values


async def _nothing() -> AsyncIterator[Any]:
    """Yield nothing: the input of a duplex call that has none."""
    return
    yield


def _internal(operation: Operation, context: Context) -> InternalError:
    _log.exception("operation %s failed, request %s", operation.name, context.request_id)
    return InternalError(
        f"{operation.name} failed inside Covey.",
        hint=f"The log has the details: covey agent logs, request {context.request_id}",
        details={"request_id": context.request_id},
    )


def _audit(
    operation: Operation,
    arguments: msgspec.Struct | None,
    context: Context,
    audit: AuditSink,
    outcome: str,
    host: str | None = None,
) -> None:
    if not (audited(operation, outcome) or getattr(arguments, "reveal", False)):
        return
    caller = context.caller
    audit.record(
        AuditEntry(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            caller=caller.label,
            kind=caller.kind.value,
            role=caller.role.label,
            address=caller.address,
            operation=operation.name,
            target=_target(operation, arguments) + ("" if host is None else f" @{host}"),
            outcome=outcome,
            request_id=context.request_id,
        )
    )


def _target(operation: Operation, arguments: msgspec.Struct | None) -> str:
    """Name what was acted on: the positional arguments that are plain text."""
    if arguments is None:
        return ""
    parts = []
    for item in operation.signature.parameters:
        value = getattr(arguments, item.name)
        if not item.positional or isinstance(value, Secret):
            continue
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            parts.append(shlex.join(value))
        elif isinstance(value, (str, int)):
            parts.append(str(value))
    return " ".join(parts)[:200]
