"""Single requests to a peer port, by those who have no certificate yet or none any more."""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus

import msgspec

from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    StorageError,
    UnauthenticatedError,
    UnreachableError,
)
from covey.surfaces.peer.dial import translate
from covey.surfaces.peer.service import AUTHORITY_PATH

_TIMEOUT_S = 20.0
_MAX_ANSWER_BYTES = 16 << 20
_BY_CODE: dict[str, type[CoveyError]] = {
    kind.code: kind
    for kind in (
        ConflictError,
        InvalidRequestError,
        NotFoundError,
        RateLimitedError,
        RefusedError,
        StorageError,
        UnauthenticatedError,
    )
}


class _Envelope(msgspec.Struct):
    code: str
    message: str
    hint: str | None = None


class _Refusal(msgspec.Struct):
    error: _Envelope


async def fetch_authority(address: str) -> bytes:
    """Fetch a fleet's CA certificates, unverified: the caller pins them by fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await asyncio.to_thread(_request, "GET", address, AUTHORITY_PATH, b"", context)


async def post(address: str, path: str, body: bytes, authority_pem: bytes) -> bytes:
    """Send one request to a peer port whose certificate must come from `authority_pem`.

    Raises the peer's own refusal, or `UnreachableError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=authority_pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise translate(address, ValueError()) from error
    return await asyncio.to_thread(_request, "POST", address, path, body, context)


def _request(method: str, address: str, path: str, body: bytes, context: ssl.SSLContext) -> bytes:
    # These few requests are made by a daemon hardly ever: it is spared the email package.
    import http.client  # noqa: PLC0415

    try:
        connection = http.client.HTTPSConnection(address, timeout=_TIMEOUT_S, context=context)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read(_MAX_ANSWER_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise translate(address, error) from error
    if response.status != HTTPStatus.OK:
        raise _refused(address, response.status, answer)
    return answer


def _refused(address: str, status: int, answer: bytes) -> CoveyError:
    try:
        found = msgspec.json.decode(answer, type=_Refusal).error
    except msgspec.DecodeError:
        return UnreachableError(
            f"{address} answered with status {status}, which is not Covey's protocol.",
            hint="Check that the address and port are those of a Covey node.",
        )
    kind = _BY_CODE.get(found.code, UnreachableError)
    return kind(found.message, hint=found.hint)
