"""The errors that Covey shows to its users: a stable code, what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit status of the CLI by class of error."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    CONFLICT = 5
    UNREACHABLE = 6


class CoveyError(Exception):
    """Base of every error with a message for the user.

    `code` is stable and machine-readable, `hint` says what to do next, `details` holds
    machine-readable facts. Values of secrets never go into any of them.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: Mapping[str, object] = details or {}

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


class InvalidRequestError(CoveyError):
    """An argument, setting or file has the wrong form."""

    code = "invalid_request"
    exit_code = ExitCode.USAGE
    http_status = 400


class TooLargeError(InvalidRequestError):
    """A value or body is over its size limit."""

    code = "too_large"
    http_status = 413


class NotFoundError(CoveyError):
    """The named thing does not exist."""

    code = "not_found"
    exit_code = ExitCode.NOT_FOUND
    http_status = 404


class UnauthenticatedError(CoveyError):
    """The caller did not prove who they are."""

    code = "unauthenticated"
    exit_code = ExitCode.REFUSED
    http_status = 401


class RefusedError(CoveyError):
    """The caller is known but may not do this."""

    code = "refused"
    exit_code = ExitCode.REFUSED
    http_status = 403


class LockedError(RefusedError):
    """The node's keys are locked: nothing sealed can be read until `covey unlock`."""

    code = "locked"
    http_status = 423


class RateLimitedError(RefusedError):
    """Too many requests; `details["retry_after"]` holds the seconds to wait."""

    code = "rate_limited"
    http_status = 429


class ConflictError(CoveyError):
    """The request does not fit the present state."""

    code = "conflict"
    exit_code = ExitCode.CONFLICT
    http_status = 409


class PreconditionFailedError(ConflictError):
    """The thing was changed by someone else since it was read (If-Match)."""

    code = "precondition_failed"
    http_status = 412


class UnreachableError(CoveyError):
    """A peer, a daemon or an outside program could not be reached."""

    code = "unreachable"
    exit_code = ExitCode.UNREACHABLE
    http_status = 502


class DeadlineExceededError(UnreachableError):
    """The answer did not come in time."""

    code = "deadline_exceeded"
    http_status = 504


class StorageError(CoveyError):
    """The database or file system refused: full disk, damaged file, missing permission."""

    code = "storage"
    http_status = 507


class DamagedError(StorageError):
    """Stored data fails its integrity check."""

    code = "damaged"
    http_status = 500
