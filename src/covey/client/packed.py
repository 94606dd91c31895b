"""MessagePack (msgpack.org, spec.md), as much as commands and their output need.

It imports nothing: the packages that do this better take longer to load than a call takes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHORT, _LONG = 0xFF, 0xFFFF


def pack(value: Any) -> bytes:
    """Encode nothing, booleans, integers, floats, texts, bytes, lists and mappings."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _pack_integer(value)
        case float():
            from _struct import pack as pack_struct

            return pack_struct(">Bd", 0xCB, value)
        case str():
            data = value.encode("utf-8", "surrogateescape")
            return _head(len(data), 0xA0, 31, (0xD9, 0xDA, 0xDB)) + data
        case bytes() | bytearray() | memoryview():
            return _head(len(value), 0, -1, (0xC4, 0xC5, 0xC6)) + bytes(value)
        case list() | tuple():
            return _head(len(value), 0x90, 15, (None, 0xDC, 0xDD)) + b"".join(map(pack, value))
        case dict():
            parts = [pack(key) + pack(item) for key, item in value.items()]
            return _head(len(value), 0x80, 15, (None, 0xDE, 0xDF)) + b"".join(parts)
        case _:
            raise TypeError(f"cannot encode {type(value).__name__}")


def _pack_integer(value: int) -> bytes:
    if 0 <= value < 0x80:  # noqa: PLR2004 - the format's bounds
        return bytes((value,))
    if value >= 0:
        return b"\xcf" + value.to_bytes(8, "big")
    return b"\xd3" + value.to_bytes(8, "big", signed=True)


def _head(size: int, fixed: int, limit: int, codes: tuple[int | None, int, int]) -> bytes:
    if size <= limit:
        return bytes((fixed | size,))
    one, two, four = codes
    if one is not None and size <= _SHORT:
        return bytes((one, size))
    if size <= _LONG:
        return bytes((two,)) + size.to_bytes(2, "big")
    return bytes((four,)) + size.to_bytes(4, "big")


def unpack(data: bytes) -> Any:
    """Decode one value; raises `ValueError` for what is none."""
    try:
        value, _ = _read(data, 0)
    except (IndexError, UnicodeDecodeError, TypeError) as error:
        raise ValueError("not MessagePack") from error
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    code = data[at]
    at += 1
    if code < 0x80:  # noqa: PLR2004 - here and below: the format's bounds
        return code, at
    if code < 0x90:  # noqa: PLR2004
        return _mapping(data, at, code & 15)
    if code < 0xA0:  # noqa: PLR2004
        return _array(data, at, code & 15)
    if code < 0xC0:  # noqa: PLR2004
        return _text(data, at, code & 31)
    if code >= 0xE0:  # noqa: PLR2004
        return code - 256, at
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _NUMBERS:
        size, signed = _NUMBERS[code]
        return int.from_bytes(_exactly(data, at, size), "big", signed=signed), at + size
    if code in _SIZED:
        read, width = _SIZED[code]
        size = int.from_bytes(_exactly(data, at, width), "big")
        return read(data, at + width, size)
    if code == 0xCB:  # noqa: PLR2004
        from _struct import unpack as unpack_struct

        return unpack_struct(">d", _exactly(data, at, 8))[0], at + 8
    raise ValueError(f"unknown code {code:#x}")


def _exactly(data: bytes, at: int, size: int) -> bytes:
    found = data[at : at + size]
    if len(found) != size:
        raise ValueError("it ends too early")
    return found


def _bytes(data: bytes, at: int, size: int) -> tuple[Any, int]:
    return _exactly(data, at, size), at + size


def _text(data: bytes, at: int, size: int) -> tuple[Any, int]:
    return _exactly(data, at, size).decode(), at + size


def _array(data: bytes, at: int, size: int) -> tuple[Any, int]:
    found = []
    for _ in range(size):
        value, at = _read(data, at)
        found.append(value)
    return found, at


def _mapping(data: bytes, at: int, size: int) -> tuple[Any, int]:
    found = {}
    for _ in range(size):
        key, at = _read(data, at)
        found[key], at = _read(data, at)
    return found, at


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCC: (1, False),
    0xCD: (2, False),
    0xCE: (4, False),
    0xCF: (8, False),
    0xD0: (1, True),
    0xD1: (2, True),
    0xD2: (4, True),
    0xD3: (8, True),
}
_SIZED = {
    0xC4: (_bytes, 1),
    0xC5: (_bytes, 2),
    0xC6: (_bytes, 4),
    0xD9: (_text, 1),
    0xDA: (_text, 2),
    0xDB: (_text, 4),
    0xDC: (_array, 2),
    0xDD: (_array, 4),
    0xDE: (_mapping, 2),
    0xDF: (_mapping, 4),
}
