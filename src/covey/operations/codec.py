"""Encoding and decoding of operations' arguments and results, on every surface the same."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from covey.errors import InvalidRequestError
from covey.operations.secret import Secret

T = TypeVar("T")
_PATTERN_FAULT = re.compile(r"matching regex .* - at `\$\.([^`]+)`\Z")


def encode_hook(value: object) -> object:
    """Encode what msgspec does not know."""
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def decode_hook(kind: type, value: object) -> object:
    """Decode what msgspec does not know."""
    if kind is not Secret:
        raise NotImplementedError(f"cannot decode {kind.__name__}")
    if not isinstance(value, str):
        raise TypeError("Expected `str`")
    return Secret(value)


def schema_hook(kind: type) -> dict[str, Any]:
    """Describe in JSON Schema what msgspec does not know."""
    if kind is Secret:
        return {"type": "string", "format": "password"}
    raise NotImplementedError(f"no schema for {kind.__name__}")


def to_json(value: object) -> bytes:
    """Encode a result as JSON."""
    return msgspec.json.encode(value, enc_hook=encode_hook)


def to_msgpack(value: object) -> bytes:
    """Encode a value as MessagePack: bytes stay bytes."""
    return msgspec.msgpack.encode(value, enc_hook=encode_hook)


def from_msgpack(data: bytes, kind: type[T]) -> T:
    """Decode MessagePack into `kind`; raises `InvalidRequestError` naming the path of the fault."""
    try:
        return msgspec.msgpack.decode(data, type=kind, dec_hook=decode_hook)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"The message is not valid: {error}.") from error


def from_json(data: bytes, kind: type[T]) -> T:
    """Decode JSON into `kind`; raises `InvalidRequestError` naming the path of the fault."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=decode_hook)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(error, kind) from error


def convert(values: Mapping[str, object], kind: type[T], *, lax: bool = False) -> T:
    """Convert plain values into `kind`; `lax` also reads numbers and booleans from text."""
    try:
        return msgspec.convert(values, type=kind, dec_hook=decode_hook, strict=not lax)
    except msgspec.ValidationError as error:
        raise _invalid(error, kind) from error


def _invalid(error: Exception, kind: Any) -> InvalidRequestError:
    """Say what is wrong; of a pattern, show what it is for instead of the pattern itself."""
    found = _PATTERN_FAULT.search(str(error))
    if found is None:
        return InvalidRequestError(f"The request is not valid: {error}.")
    name = re.sub(r"\[[^]]*\]\Z", "", found[1])
    hints = typing.get_type_hints(kind, include_extras=True) if isinstance(kind, type) else {}
    meaning = _description(hints.get(name))
    return InvalidRequestError(
        f"{name} does not have the right form.",
        hint=meaning or "GET /openapi.json describes its form.",
        details={"parameter": name},
    )


def _description(annotation: Any) -> str | None:
    """Return the first description in an annotation, or None."""
    for item in typing.get_args(annotation):
        if isinstance(item, msgspec.Meta) and item.description:
            return item.description
        inner = _description(item)
        if inner:
            return inner
    return None


__all__ = [
    "convert",
    "decode_hook",
    "encode_hook",
    "from_json",
    "from_msgpack",
    "schema_hook",
    "to_json",
    "to_msgpack",
]
