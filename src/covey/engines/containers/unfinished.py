"""End what a build leaves that was cut short: Podman lets its running step, and storage, live on.

Each build carries a mark in an argument of its own, which Podman keeps with the containers that the
steps run in (buildah.json). A file for each build that runs tells the next start what to look for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.images import label_filter
from covey.errors import CoveyError

MARK = "COVEY_BUILD"
"""The build argument that holds the mark; nothing declares it, so no step sees it."""

_WITHIN_S = 10.0
_PATIENCE_S = 2.0
_PAUSE_S = 0.1
_CALM_LOOKS = 2


class Record(msgspec.Struct, frozen=True):
    """A build that runs: its mark, its labels, and the images without tags from before."""

    mark: str
    labels: dict[str, str]
    before: list[str]


class BuildJournal:
    """The builds that run, as files that outlive a killed daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def begin(self, api: Api, labels: Mapping[str, str]) -> Record:
        """Note a build."""
        before = await _untagged(api, labels)
        record = Record(secrets.token_hex(16), dict(labels), sorted(before))
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file(record).write_bytes(msgspec.json.encode(record))
        return record

    def end(self, record: Record) -> None:
        """Forget a build that left nothing."""
        self._file(record).unlink(missing_ok=True)

    def unfinished(self) -> list[Record]:
        """List the builds of a daemon that was killed."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Record))
            except (OSError, msgspec.DecodeError):
                path.unlink(missing_ok=True)
        return found

    async def clear(self, api: Api, record: Record, *, podman: bool) -> None:
        """End and remove all that a build left, and forget it."""
        if podman:
            await _end_steps(api, record.mark)
        for image in await _untagged(api, record.labels) - set(record.before):
            with contextlib.suppress(RefusalError):
                await api.call("DELETE", f"/images/{image}", {"force": False})
        self.end(record)

    def _file(self, record: Record) -> Path:
        return self._directory / f"{record.mark}.json"


@dataclass(frozen=True, slots=True)
class _Working:
    """A container that the steps of a build run in."""

    id: str
    layer: str


async def _untagged(api: Api, labels: Mapping[str, str]) -> set[str]:
    """List the images with these labels and without a tag, on which no other image rests.

    Without labels nobody's images can be told apart, and there are none.
    """
    if not labels:
        return set()
    filters = {**label_filter(labels), "dangling": ["true"]}
    listed = await api.call("GET", "/images/json", {"filters": filters})
    wanted = labels.items()
    return {one["Id"] for one in listed if wanted <= (one.get("Labels") or {}).items()}


async def _end_steps(api: Api, mark: str) -> None:
    """Kill what a build runs until Podman has given it up; remove what nobody gives up."""
    store = await _storage(api)
    if store is None:
        return
    loop = asyncio.get_running_loop()
    began = loop.time()
    calm = 0
    while calm < _CALM_LOOKS and loop.time() - began < _WITHIN_S:
        working = await asyncio.to_thread(_find, store, mark)
        calm = 0 if working else calm + 1
        await asyncio.to_thread(_kill_steps, {one.layer for one in working})
        if loop.time() - began > _PATIENCE_S:
            for one in working:
                with contextlib.suppress(RefusalError, CoveyError):
                    await api.call("DELETE", f"/containers/{one.id}", {"force": True})
        await asyncio.sleep(_PAUSE_S)


async def _storage(api: Api) -> Path | None:
    """Return the directory where the storage keeps its containers."""
    try:
        told: dict[str, Any] = await api.call("GET", "/libpod/info")
        store = told["store"]
        return Path(store["graphRoot"]) / f"{store['graphDriverName']}-containers"
    except (RefusalError, KeyError, TypeError):
        return None


class _Known(msgspec.Struct):
    id: str
    layer: str = ""


class _Builder(msgspec.Struct):
    arguments: dict[str, str] | None = msgspec.field(name="Args", default=None)


def _find(store: Path, mark: str) -> list[_Working]:
    """List the containers that bear the mark."""
    try:
        known = msgspec.json.decode((store / "containers.json").read_bytes(), type=list[_Known])
    except (OSError, msgspec.DecodeError):
        return []
    return [
        _Working(one.id, one.layer)
        for one in known
        if one.layer and _mark(store / one.id / "userdata" / "buildah.json") == mark
    ]


def _mark(path: Path) -> str | None:
    try:
        builder = msgspec.json.decode(path.read_bytes(), type=_Builder)
    except (OSError, msgspec.DecodeError):
        return None
    return (builder.arguments or {}).get(MARK)


def _kill_steps(layers: set[str]) -> None:
    """Kill the processes whose root is one of these layers."""
    if not layers:
        return
    for pid, root in _roots():
        if any(f"/{layer}/" in root for layer in layers):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _roots() -> Iterator[tuple[int, str]]:
    """Yield each process with what is mounted as its root (mountinfo: proc(5))."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                for line in (entry / "mountinfo").read_text().splitlines():
                    fields = line.split(" ")
                    if fields[4] == "/":
                        yield int(entry.name), f"{line}/"
