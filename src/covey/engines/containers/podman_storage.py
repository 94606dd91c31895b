"""What Podman's storage says of the containers that the steps of builds run in."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from covey.engines.containers.api import Api, RefusalError

MARK = "COVEY_BUILD"
"""The build argument that holds a build's mark; nothing declares it, so no step sees it."""

_WORKING_NAME = re.compile(r"-working-container(-\d+)?$")
_T = TypeVar("_T")


class Working(msgspec.Struct, frozen=True):
    """A container that the steps of a build run in, or another."""

    id: str
    layer: str = ""
    names: list[str] | None = None
    metadata: str = ""


class _Layer(msgspec.Struct):
    id: str


class _Builder(msgspec.Struct):
    arguments: dict[str, str] | None = msgspec.field(name="Args", default=None)


@dataclass(frozen=True, slots=True)
class PodmanStorage:
    """The directories of the storage; what cannot be read there is not there."""

    graph: Path
    run: Path
    driver: str

    def containers(self) -> list[Working]:
        """List all containers, those that last and those that a reboot ends."""
        name = f"{self.driver}-containers"
        lasting = _read(self.graph / name / "containers.json", Working)
        return lasting + _read(self.run / name / "volatile-containers.json", Working)

    def marked(self, mark: str) -> list[Working]:
        """List the containers of the build that has the mark."""
        return [one for one in self.containers() if one.layer and self._mark(one) == mark]

    def husks(self, known: set[str]) -> list[Working]:
        """List the containers but those known of which nothing is left but their entry.

        Podman empties a container before it strikes it off, which a full disk prevents.
        """
        new = [one for one in self.containers() if one.id not in known]
        if not new:
            return []
        name = f"{self.driver}-layers"
        layers = {one.id for one in _read(self.graph / name / "layers.json", _Layer)}
        layers |= {one.id for one in _read(self.run / name / "volatile-layers.json", _Layer)}
        return [one for one in new if one.layer not in layers and not self._has_files(one)]

    def nameless(self, known: set[str]) -> list[Working]:
        """List the builds' containers but those known that do not tell whose they are.

        Each is one for a moment, while it is made; and what a full disk left half removed. Those
        of people, however they are called, tell who made them in metadata.
        """
        return [
            one
            for one in self.containers()
            if one.id not in known
            and not one.metadata
            and any(_WORKING_NAME.search(name) for name in one.names or ())
            and not self._description(one).exists()
        ]

    def _userdata(self, container: Working) -> Path:
        return self.graph / f"{self.driver}-containers" / container.id / "userdata"

    def _has_files(self, container: Working) -> bool:
        try:
            return any(self._userdata(container).iterdir())
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def _description(self, container: Working) -> Path:
        return self._userdata(container) / "buildah.json"

    def _mark(self, container: Working) -> str | None:
        try:
            builder = msgspec.json.decode(self._description(container).read_bytes(), type=_Builder)
        except (OSError, msgspec.DecodeError):
            return None
        return (builder.arguments or {}).get(MARK)


async def find_storage(api: Api) -> PodmanStorage | None:
    """Ask Podman where its storage is; an engine that is no Podman has none."""
    try:
        told: dict[str, Any] = await api.call("GET", "/libpod/info")
        store = told["store"]
        graph, run = Path(store["graphRoot"]), Path(store["runRoot"])
        return PodmanStorage(graph, run, store["graphDriverName"])
    except (RefusalError, KeyError, TypeError):
        return None


def kill_in(layers: set[str]) -> None:
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


def _read(path: Path, kind: type[_T]) -> list[_T]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
    except (OSError, msgspec.DecodeError):
        return []
