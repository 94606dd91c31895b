"""Turn the container engine's errors into Covey's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from covey.apps.containers import PortTakenError
from covey.engines.containers.api import Api, RefusalError
from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    StorageError,
)

_BAD_REQUEST = 400
_NOT_FOUND = 404
_CONFLICT = 409
_LIMITS = ("error setting rlimit", "cgroup")
_FULL = ("no space left on device", "disk quota exceeded")
FULL_HINT = (
    "Free some space on the disk that holds the engine's images, containers and volumes;"
    " `podman system df` or `docker system df` tells what takes it."
)
_PORT_TAKEN = ("address already in use", "port is already allocated")
_STATES = ("state improper", "is not running")
_IN_USE = (
    "in use",
    "force removal",
    "being used",
    "has dependent",
    "dependent child",
    "active endpoints",
)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Translate what the engine answers while it does `what`, e.g. "start the container web"."""
    try:
        yield
    except RefusalError as error:
        raise explained(what, error) from error


def explained(what: str, error: RefusalError) -> CoveyError:
    """Return the error that says what the engine would not do."""
    message = f"The container engine could not {what}: {error.message}"
    if is_full(error.message):
        return StorageError(f"The disk is full. {message}", hint=FULL_HINT)
    if error.status == _NOT_FOUND:
        return NotFoundError(message)
    if any(sign in error.message for sign in _PORT_TAKEN):
        return PortTakenError(message)
    if any(reason(error) for reason in (does_not_run, is_in_use, is_taken)):
        return ConflictError(message)
    if any(word in error.message for word in _LIMITS):
        return CoveyError(
            message,
            hint="The engine asks for limits that this machine does not allow:"
            " see `covey doctor`, or leave engine_socket under [apps] empty.",
        )
    if error.status == _BAD_REQUEST:
        return InvalidRequestError(message)
    return CoveyError(message)


async def find(api: Api, path: str) -> Any:
    """Ask for a thing's document; None if there is no such thing."""
    try:
        return await api.call("GET", path)
    except RefusalError as error:
        if is_missing(error):
            return None
        raise


async def delete(api: Api, path: str, query: Mapping[str, object] | None = None) -> None:
    """Remove a thing; a missing one is no error."""
    try:
        await api.call("DELETE", path, query)
    except RefusalError as error:
        if not is_missing(error):
            raise


def is_missing(error: RefusalError) -> bool:
    """Tell whether the thing does not exist (Podman says so with status 500 at times)."""
    return error.status == _NOT_FOUND or "no such" in error.message.lower()


def is_full(text: str) -> bool:
    """Tell whether an engine's words mean that its disk is full."""
    return any(sign in text.lower() for sign in _FULL)


def does_not_run(error: RefusalError) -> bool:
    """Tell whether the container is in another state than the request needs."""
    return error.status == _CONFLICT or any(word in error.message for word in _STATES)


def is_in_use(error: RefusalError) -> bool:
    """Tell whether something else uses the thing."""
    return any(word in error.message for word in _IN_USE)


def is_taken(error: RefusalError) -> bool:
    """Tell whether the name is taken already."""
    return "already in use" in error.message or "already exists" in error.message
