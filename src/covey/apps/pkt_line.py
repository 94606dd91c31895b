"""Git's packet lines, and what a push says in them (gitprotocol-common, gitprotocol-pack)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from covey.errors import InvalidRequestError

FLUSH = b"0000"
NO_COMMIT = "0" * 40
PACK, PROGRESS = 1, 2
"""Bands: what the client reads, and what it shows as `remote: …`."""

_HEAD = 4
_LONGEST = 65_520
_MOST_COMMANDS_BYTES = 1 << 20
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_UPDATE = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{40}) (\S+)")


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """What a push asks for: a ref from one commit to another; zeros mean that there is none."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The commands at the beginning of a push, and what its client can do."""

    updates: tuple[RefUpdate, ...]
    capabilities: frozenset[str]

    @property
    def banded(self) -> bool:
        """Whether the client takes progress beside the report."""
        return "side-band-64k" in self.capabilities


class PacketReader:
    """Cuts a stream into packets: `feed` bytes, and take whole packets; None is a flush packet."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the payloads that are whole; raises `InvalidRequestError` for a bad length."""
        self._held += data
        while len(self._held) >= _HEAD:
            length = _length(bytes(self._held[:_HEAD]))
            if length < _HEAD:
                del self._held[:_HEAD]
                yield None
                continue
            if len(self._held) < length:
                return
            payload = bytes(self._held[_HEAD:length])
            del self._held[:length]
            yield payload


class CommandReader:
    """Reads the commands of a push, of which `raw` is to be passed on with all that follows."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.done: PushRequest | None = None
        self._packets = PacketReader()
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> bool:
        """Take bytes; True once the commands are whole. Raises `InvalidRequestError`."""
        self.raw += data
        if self.done is not None:
            return True
        for line in self._packets.feed(data):
            if line is None:
                # What follows is the pack: no packets.
                self.done = _request(self._lines)
                return True
            self._lines.append(line)
        if len(self.raw) > _MOST_COMMANDS_BYTES:
            raise InvalidRequestError("The push changes too many refs at once.")
        return False


def packet(payload: bytes) -> bytes:
    """Return one packet."""
    return f"{len(payload) + _HEAD:04x}".encode() + payload


def banded(band: int, payload: bytes) -> bytes:
    """Return packets of one band; an empty payload is the sign that the server still works."""
    most = _LONGEST - _HEAD - 1
    chunks = [payload[at : at + most] for at in range(0, len(payload), most)] or [b""]
    return b"".join(packet(bytes([band]) + chunk) for chunk in chunks)


def accepted(report: bytes, ref: str) -> bool:
    """Whether receive-pack's report says that a ref was updated."""
    return f"ok {ref}" in [_text(line) for line in PacketReader().feed(report) if line is not None]


def rejected(report: bytes, ref: str, reason: str) -> bytes:
    """Return the report with a ref as not updated, for `reason` (one line)."""
    parts = []
    skipping = False
    for line in PacketReader().feed(report):
        if line is None:
            parts.append(FLUSH)
            continue
        text = _text(line)
        if skipping and text.startswith("option "):
            continue
        skipping = text == f"ok {ref}"
        parts.append(packet(f"ng {ref} {reason}\n".encode()) if skipping else packet(line))
    return b"".join(parts)


def _request(lines: list[bytes]) -> PushRequest:
    updates = []
    capabilities: frozenset[str] = frozenset()
    for line in lines:
        command, mark, rest = line.partition(b"\0")
        if mark:
            capabilities = frozenset(_text(rest).split())
        match = _UPDATE.fullmatch(_text(command))
        if match is not None:
            updates.append(RefUpdate(match[3], match[1], match[2]))
    return PushRequest(tuple(updates), capabilities)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\n")


def _length(head: bytes) -> int:
    length = int(head, 16) if _HEX.fullmatch(head) else _LONGEST + 1
    if length > _LONGEST or length == _HEAD - 1:
        raise InvalidRequestError("This is not git's protocol.")
    return length
