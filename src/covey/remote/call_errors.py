"""Errors on their way between nodes: encoded by the one, raised again by the other."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from covey.errors import CoveyError, ExitCode, UnreachableError

_MAX_TEXT = 2000


class CallCancelledError(CoveyError):
    """The caller gave the call up; nobody reads this."""

    code = "cancelled"


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    hint: str | None = None
    details: dict[str, object] = {}
    exit_code: int = ExitCode.FAILED
    http_status: int = 500


def encode_error(error: CoveyError) -> bytes:
    """Encode an error for the node that called."""
    envelope = _Envelope(
        code=error.code,
        message=error.message[:_MAX_TEXT],
        hint=error.hint,
        details=dict(error.details),
        exit_code=error.exit_code,
        http_status=error.http_status,
    )
    return msgspec.msgpack.encode(envelope, enc_hook=str)


def decode_error(data: bytes) -> CoveyError:
    """Return the error as this node knows it; one with a code that is unknown here keeps that."""
    try:
        found = msgspec.msgpack.decode(data, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UnreachableError("The peer ended the call in a form that is not known here.")
    kind = next((item for item in _kinds(CoveyError) if item.code == found.code), None)
    if kind is None:
        kind = _unknown_kind(found)
    error = CoveyError.__new__(kind)
    CoveyError.__init__(error, found.message, hint=found.hint, details=found.details)
    return error


def _kinds(kind: type[CoveyError]) -> Iterator[type[CoveyError]]:
    yield kind
    for item in kind.__subclasses__():
        yield from _kinds(item)


def _unknown_kind(found: _Envelope) -> type[CoveyError]:
    """Make a class for an error of a domain that this node does not have; it is not kept."""
    try:
        exit_code = ExitCode(found.exit_code)
    except ValueError:
        exit_code = ExitCode.FAILED
    status = found.http_status if 400 <= found.http_status < 600 else 500  # noqa: PLR2004
    members = {"code": found.code[:64], "exit_code": exit_code, "http_status": status}
    return type("ForeignError", (CoveyError,), members)
