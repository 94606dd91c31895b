"""Finding the fleet's own secret values in texts, in the encodings in which they leak."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, quote_plus

from covey.env.results import Finding, ScanReport

SHORTEST = 6
"""Shorter values are found everywhere by chance."""

MAX_FILE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Needle:
    """One secret value to look for."""

    name: str
    scope: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """One text to look in; `data` is None for one that was skipped, as binary or too large."""

    name: str
    data: bytes | None = field(repr=False)


class SourceFinder(Protocol):
    """Finds what to scan on this machine; raises `NotFoundError` or `InvalidRequestError`."""

    def files(self, paths: list[str]) -> Iterator[Source]:
        """Yield the files at and below paths, without those that git ignores."""

    def staged(self, directory: str, index_file: str | None = None) -> Iterator[Source]:
        """Yield the files of the git repository at `directory` as they are staged."""


class Scanner:
    """Looks for secret values, raw and encoded; never returns one."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self._patterns = [
            (pattern, encoding, needle)
            for needle in needles
            if len(needle.value.strip()) >= SHORTEST
            for pattern, encoding in _patterns(needle.value)
        ]

    def scan(self, source: Source) -> list[Finding]:
        """Return where values stand in one text: one finding for each place and variable."""
        data = source.data or b""
        found: dict[tuple[int, str, str], Finding] = {}
        for pattern, encoding, needle in self._patterns:
            at = data.find(pattern)
            while at >= 0:
                line = data.count(b"\n", 0, at) + 1
                column = len(data[data.rfind(b"\n", 0, at) + 1 : at].decode(errors="replace")) + 1
                key = (line, needle.name, needle.scope)
                found.setdefault(
                    key,
                    Finding(source.name, line, column, needle.name, needle.scope, encoding),
                )
                at = data.find(pattern, at + len(pattern))
        return sorted(found.values(), key=lambda one: (one.line, one.column, one.name))


class SecretScans:
    """Runs scans over given texts and over what `finder` finds on this machine."""

    def __init__(self, finder: SourceFinder) -> None:
        self._finder = finder

    async def run(
        self,
        needles: Sequence[Needle],
        texts: Sequence[Source],
        paths: list[str],
        *,
        staged: bool,
        index_file: str | None,
    ) -> ScanReport:
        """Scan off the event loop; raises what the finder raises."""
        return await asyncio.to_thread(
            _scan_all,
            Scanner(needles),
            self._sources(texts, paths, staged=staged, index_file=index_file),
        )

    def _sources(
        self, texts: Sequence[Source], paths: list[str], *, staged: bool, index_file: str | None
    ) -> Iterator[Source]:
        yield from texts
        if not staged:
            yield from self._finder.files(paths)
            return
        for path in paths:
            yield from self._finder.staged(path, index_file)


def _scan_all(scanner: Scanner, sources: Iterable[Source]) -> ScanReport:
    findings: list[Finding] = []
    skipped: list[str] = []
    count = 0
    for source in sources:
        count += 1
        if source.data is None:
            skipped.append(source.name)
        findings += scanner.scan(source)
    return ScanReport(findings, count, skipped)


def looks_binary(head: bytes) -> bool:
    """Whether a file's first bytes are no text."""
    return b"\0" in head


def _patterns(value: str) -> Iterator[tuple[bytes, str]]:
    raw = value.strip().encode()
    seen: set[bytes] = set()
    forms = [
        (raw, "raw"),
        (raw.replace(b"\n", b"\r\n"), "raw"),
        (json.dumps(value.strip())[1:-1].encode(), "json"),
        (json.dumps(value.strip(), ensure_ascii=False)[1:-1].encode(), "json"),
        (quote(raw, safe="").encode(), "url"),
        (quote_plus(raw).encode(), "url"),
        *((form, "base64") for form in _base64_forms(raw)),
    ]
    for form, encoding in forms:
        if form not in seen:
            seen.add(form)
            yield form, encoding


def _base64_forms(raw: bytes) -> Iterator[bytes]:
    """Yield what is sure to stand in any base64 text whose plain text holds `raw`.

    Three bytes make four characters, so the value may begin at three offsets; the characters that
    it shares with its neighbours are cut off.
    """
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw)
        start = (0, 2, 3)[offset]
        bits = (offset + len(raw)) * 8
        core = encoded[start : bits // 6]
        if len(core) >= SHORTEST:
            yield core
            yield core.translate(bytes.maketrans(b"+/", b"-_"))
