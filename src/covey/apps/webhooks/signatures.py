"""What proves that a delivery comes from who knows the secret; compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

Headers = Mapping[str, str]
"""A request's headers by lower-case name."""

_PREFIX = "sha256="
_STANDARD_SECRET = "whsec_"  # noqa: S105 - the prefix that a secret follows
_TOLERANCE_S = 300
_MAX_SIGNATURES = 8


def fits_hex(secret: str, body: bytes, *given: str) -> bool:
    """Whether one of the headers holds the body's HMAC-SHA256, with or without `sha256=`."""
    expected = hmac.digest(secret.encode(), body, "sha256").hex()
    fits = False
    for item in given:
        fits |= _equal(expected, item.strip().removeprefix(_PREFIX))
    return fits


def fits_token(secret: str, given: str) -> bool:
    """Whether a header holds the secret itself."""
    return _equal(secret, given)


def fits_standard(secret: str, headers: Headers, body: bytes, now: float) -> bool:
    """Whether the signature of Standard Webhooks fits, and was made within five minutes of `now`.

    The key is what follows `whsec_` in the secret, in base64; `now` is in seconds since the epoch.
    """
    identity, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = _standard_key(secret)
    signed = f"{identity}.{moment}.".encode("utf-8", "replace") + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    given = headers.get("webhook-signature", "").split(" ")[:_MAX_SIGNATURES]
    fits = False
    for item in given:
        fits |= _equal(expected, item)
    return fits and bool(identity) and _is_near(moment, now)


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_SECRET), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()


def _is_near(moment: str, now: float) -> bool:
    return moment.isascii() and moment.isdecimal() and abs(int(moment[:15]) - now) <= _TOLERANCE_S


def _equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.strip().encode("utf-8", "replace"))
