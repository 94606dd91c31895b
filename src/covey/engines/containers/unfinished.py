"""End what a build leaves that was cut short: Podman lets its running step, and storage, live on.

Each build carries a mark in an argument of its own, which Podman keeps with the containers that the
steps run in (buildah.json). A file for each build that runs tells the next start what to look for.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.images import label_filter
from covey.engines.containers.podman_storage import (
    PodmanStorage,
    Working,
    find_storage,
    kill_in,
)
from covey.errors import CoveyError, StorageError

_WITHIN_S = 10.0
_PATIENCE_S = 2.0
_PAUSE_S = 0.1
_CALM_LOOKS = 2


class Record(msgspec.Struct, frozen=True):
    """A build that runs: its mark, its labels, and the images without tags from before."""

    mark: str
    labels: dict[str, str]
    before: list[str]
    containers: list[str] | None = None
    """Those that were in Podman's storage before it."""


class BuildJournal:
    """The builds that run, as files that outlive a killed daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._store: PodmanStorage | None = None

    async def begin(self, api: Api, labels: Mapping[str, str], *, podman: bool) -> Record:
        """Note a build; raises `StorageError` if that cannot be done."""
        before = await _untagged(api, labels)
        store = await self._storage(api) if podman else None
        there = None if store is None else await asyncio.to_thread(store.containers)
        containers = None if there is None else [one.id for one in there]
        record = Record(secrets.token_hex(16), dict(labels), sorted(before), containers)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file(record).write_bytes(msgspec.json.encode(record))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file(record).unlink()
            raise StorageError(
                f"The build was not begun: it cannot be noted in {self._directory}:"
                f" {error.strerror}.",
                hint="Free some space there, and see that Covey's user may write.",
            ) from error
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
        if podman and (store := await self._storage(api)) is not None:
            await _end_steps(api, store, record)
        for image in await _untagged(api, record.labels) - set(record.before):
            with contextlib.suppress(RefusalError):
                await api.call("DELETE", f"/images/{image}", {"force": False})
        self.end(record)

    async def _storage(self, api: Api) -> PodmanStorage | None:
        # Asked once: Podman may not answer while its disk is full.
        self._store = self._store or await find_storage(api)
        return self._store

    def _file(self, record: Record) -> Path:
        return self._directory / f"{record.mark}.json"


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


async def _end_steps(api: Api, store: PodmanStorage, record: Record) -> None:
    """Kill what a build runs until Podman has given it up; remove what nobody gives up."""
    known = None if record.containers is None else set(record.containers)
    loop = asyncio.get_running_loop()
    began = loop.time()
    since: dict[str, float] = {}
    calm = 0
    while calm < _CALM_LOOKS and loop.time() - began < _WITHIN_S:
        found = await asyncio.to_thread(_left, store, record.mark, known)
        now = loop.time()
        since = {one.id: since.get(one.id, now) for one in found.nameless}
        lost = [one for one in found.nameless if now - since[one.id] > _PATIENCE_S]
        late = [*lost, *(found.working if now - began > _PATIENCE_S else ())]
        calm = calm + 1 if found == _Left() else 0
        await asyncio.to_thread(kill_in, {one.layer for one in (*found.working, *lost)})
        for one in (*found.husks, *late):
            await _remove(api, one.id)
        await asyncio.sleep(_PAUSE_S)


@dataclass(frozen=True, slots=True)
class _Left:
    """The containers of a build, those emptied by it, and those that may be its."""

    working: tuple[Working, ...] = ()
    husks: tuple[Working, ...] = ()
    nameless: tuple[Working, ...] = ()


def _left(store: PodmanStorage, mark: str, known: set[str] | None) -> _Left:
    working = tuple(store.marked(mark))
    if known is None:
        return _Left(working)
    husks = tuple(store.husks(known))
    return _Left(working, husks, tuple(one for one in store.nameless(known) if one not in husks))


async def _remove(api: Api, container: str) -> None:
    if api.remove_by_program is not None:
        await api.remove_by_program(container)
        return
    with contextlib.suppress(RefusalError, CoveyError):
        await api.call("DELETE", f"/containers/{container}", {"force": True})
