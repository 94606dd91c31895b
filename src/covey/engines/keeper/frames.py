"""Messages between the daemon and the keepers of its commands: JSON with a length before it."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HEAD = 4
_LARGEST = 64 << 20


def pack(message: dict[str, Any]) -> bytes:
    """Encode one message."""
    data = json.dumps(message).encode()
    return len(data).to_bytes(_HEAD, "big") + data


class Unpacker:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the messages that are whole with `data`; raises `ValueError` for no message."""
        self._held += data
        while len(self._held) >= _HEAD:
            length = int.from_bytes(self._held[:_HEAD], "big")
            if length > _LARGEST:
                raise ValueError("a message is too long")
            if len(self._held) < _HEAD + length:
                return
            body = bytes(self._held[_HEAD : _HEAD + length])
            del self._held[: _HEAD + length]
            yield json.loads(body)
