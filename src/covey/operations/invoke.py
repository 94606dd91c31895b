"""The one path by which every surface runs an operation: authorize, audit, run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from covey.errors import CoveyError, DeadlineExceededError
from covey.operations.access import authorize
from covey.operations.audit import AuditEntry, AuditSink
from covey.operations.context import Context
from covey.operations.registry import Effect, Operation
from covey.operations.secret import Secret

_log = logging.getLogger("covey.operations")


class InternalError(CoveyError):
    """A defect in Covey; the log holds the traceback under the request id."""

    code = "internal"


async def invoke(
    operation: Operation, arguments: msgspec.Struct, context: Context, audit: AuditSink
) -> Any:
    """Run an operation that returns one result.

    Raises `CoveyError` alone: whatever else goes wrong is logged and becomes `InternalError`.
    """
    outcome = "ok"
    try:
        authorize(context.caller, operation.name, operation.access)
        async with asyncio.timeout(context.remaining()):
            return await operation.function(context, **_call(operation, arguments))
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
    operation: Operation, arguments: msgspec.Struct, context: Context, audit: AuditSink
) -> AsyncIterator[Any]:
    """Run a streaming operation; it is audited when the stream begins or is refused."""
    try:
        authorize(context.caller, operation.name, operation.access)
    except CoveyError as error:
        _audit(operation, arguments, context, audit, error.code)
        raise
    _audit(operation, arguments, context, audit, "ok")
    try:
        async for item in operation.function(context, **_call(operation, arguments)):
            yield item
    except (CoveyError, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        raise _internal(operation, context) from error


def audited(operation: Operation, outcome: str) -> bool:
    """Whether a call is kept in the trail: all but plain reads, and every refusal."""
    return operation.effect is not Effect.READ or outcome in {"refused", "locked"}


def _call(operation: Operation, arguments: msgspec.Struct) -> dict[str, Any]:
    return {item.name: getattr(arguments, item.name) for item in operation.signature.parameters}


def _internal(operation: Operation, context: Context) -> InternalError:
    _log.exception("operation %s failed, request %s", operation.name, context.request_id)
    return InternalError(
        f"{operation.name} failed inside Covey.",
        hint=f"The log has the details: covey agent logs, request {context.request_id}",
        details={"request_id": context.request_id},
    )


def _audit(
    operation: Operation,
    arguments: msgspec.Struct,
    context: Context,
    audit: AuditSink,
    outcome: str,
) -> None:
    if not (audited(operation, outcome) or getattr(arguments, "reveal", False)):
        return
    caller = context.caller
    audit.record(
        AuditEntry(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            caller=caller.name,
            kind=caller.kind.value,
            role=caller.role.label,
            address=caller.address,
            operation=operation.name,
            target=_target(operation, arguments),
            outcome=outcome,
            request_id=context.request_id,
        )
    )


def _target(operation: Operation, arguments: msgspec.Struct) -> str:
    """Name what was acted on: the positional arguments that are plain text."""
    parts = []
    for item in operation.signature.parameters:
        value = getattr(arguments, item.name)
        if item.positional and not isinstance(value, Secret) and isinstance(value, (str, int)):
            parts.append(str(value))
    return " ".join(parts)[:200]
