"""Masking secret values in a stream of bytes, also where one is split between two chunks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = b"********"
SHORTEST = 4
"""Shorter values stay: `1` or `yes` would mask half of any output."""

_SHORTEST_LINE = 8


class Redactor:
    """Masks values in what is fed to it; what could be the beginning of one is held back.

    Every occurrence is masked, overlapping ones as one, so that no part of a secret is left. A
    value of several lines is also masked line by line, and with the CRLF that terminals make.
    """

    def __init__(self, values: Iterable[str | bytes], mask: bytes = MASK) -> None:
        secrets: set[bytes] = set()
        for value in values:
            data = value.encode() if isinstance(value, str) else value
            if len(data) >= SHORTEST:
                secrets.update(_forms(data))
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._mask = mask
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be shown after this chunk."""
        if not self._secrets:
            return chunk
        data = self._held + chunk
        spans = _merged(self._occurrences(data))
        end = self._open_start(data)
        for start, stop in spans:
            if start < end < stop:
                end = start
        self._held = data[end:]
        return self._masked(data[:end], spans)

    def finish(self) -> bytes:
        """Return what was held back, at the end of the stream."""
        data, self._held = self._held, b""
        return self.whole(data)

    def whole(self, data: bytes) -> bytes:
        """Return data that begins and ends here, such as a line."""
        return self._masked(data, _merged(self._occurrences(data)))

    def _masked(self, data: bytes, spans: list[tuple[int, int]]) -> bytes:
        parts = []
        at = 0
        for start, stop in spans:
            if stop > len(data):
                break
            parts += [data[at:start], self._mask]
            at = stop
        parts.append(data[at:])
        return b"".join(parts)

    def _occurrences(self, data: bytes) -> Iterator[tuple[int, int]]:
        for secret in self._secrets:
            at = data.find(secret)
            while at >= 0:
                yield at, at + len(secret)
                at = data.find(secret, at + 1)

    def _open_start(self, data: bytes) -> int:
        """Return where the earliest value that may go on in the next chunk begins."""
        earliest = len(data)
        for secret in self._secrets:
            at = max(0, len(data) - len(secret) + 1)
            while at < earliest:
                # Four characters rule out most places; the last three have fewer.
                probe = secret[:SHORTEST] if earliest - at >= SHORTEST else secret[:1]
                at = _find(data, probe, at)
                if secret.startswith(data[at:]):
                    earliest = min(at, earliest)
                at += 1
        return earliest


def _find(data: bytes, probe: bytes, at: int) -> int:
    """Return where `probe` stands from `at`, or the first of the last places that are too short."""
    found = data.find(probe, at)
    return found if found >= 0 else max(at, len(data) - len(probe) + 1)


def _forms(data: bytes) -> Iterator[bytes]:
    yield data
    if b"\n" not in data:
        return
    yield data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    stripped = data.rstrip(b"\r\n")
    if len(stripped) >= SHORTEST:
        yield stripped
    for line in data.splitlines():
        if len(line.strip()) >= _SHORTEST_LINE:
            yield line.strip()


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that overlap; those that only touch stay apart."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
