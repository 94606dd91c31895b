"""The names and labels of what this node makes for its apps, and the places of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from covey.apps.containers import (
    APP_LABEL,
    BUILD_LABEL,
    DEPLOYMENT_LABEL,
    NODE_LABEL,
    PROCESS_LABEL,
    SLOT_LABEL,
)
from covey.apps.model import App
from covey.store.api import NodeId

ONEOFF = "run."
"""The processes of containers that run one command begin so, with the run's id behind.

No process of an app file can have such a name.
"""

_SHORT = 6


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the labels of a container or image of this node say."""

    app: str
    deployment: int
    process: str = ""
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Naming:
    """Names for one node: two nodes may share a container engine."""

    node: NodeId

    @property
    def own(self) -> dict[str, str]:
        """The label of everything that this node makes."""
        return {NODE_LABEL: self.node}

    def of_app(self, app: str) -> dict[str, str]:
        """Return the labels of everything that belongs to an app."""
        return {**self.own, APP_LABEL: app}

    def labels(self, app: str, number: int) -> dict[str, str]:
        """Return the labels of whatever a deployment makes."""
        return {**self.of_app(app), DEPLOYMENT_LABEL: str(number)}

    def build_labels(self, app: str, number: int) -> dict[str, str]:
        """Return the labels of one attempt to build an image, and of its stages."""
        return {**self.labels(app, number), BUILD_LABEL: token_hex(8)}

    def container_labels(self, app: str, number: int, process: str, slot: int) -> dict[str, str]:
        """Return the labels of a container."""
        return {**self.labels(app, number), PROCESS_LABEL: process, SLOT_LABEL: str(slot)}

    def container(self, app: str, number: int, process: str, slot: int) -> str:
        """Return the name of a container."""
        return f"covey-{self.node[:_SHORT]}-{app}-{number}-{process}-{slot}"

    def image(self, app: str, number: int) -> str:
        """Return the tag of an image."""
        return f"localhost/covey-{self.node[:_SHORT]}/{app}:{number}"

    def read_image(self, tag: str) -> tuple[str, int] | None:
        """Return the app and the number that a tag of this node was made of; None for others."""
        name, _, number = tag.removeprefix(self.image("", 0).rpartition(":")[0]).partition(":")
        if not number.isdigit() or tag != self.image(name, int(number)):
            return None
        return name, int(number)

    def network(self, app: App) -> str:
        """Return the network of the app's project and environment.

        Both names may contain hyphens and dots: the digest tells `a-b` of `c` from `b` of `a-c`.
        """
        whole = f"{app.project}/{app.environment}"
        digest = hashlib.blake2b(whole.encode(), digest_size=3).hexdigest()
        return f"covey-{self.node[:_SHORT]}-{app.project}-{app.environment}-{digest}"

    def volume(self, app: str, name: str) -> str:
        """Return the name of an app's volume; neither name can contain a dot."""
        return f"covey-{self.node[:_SHORT]}-{app}.{name}"

    def read_volume(self, volume: str) -> tuple[str, str] | None:
        """Return the app and the name that a volume of this node was made of; None for others."""
        app, _, name = volume.removeprefix(f"covey-{self.node[:_SHORT]}-").partition(".")
        return (app, name) if volume == self.volume(app, name) else None


def read_labels(labels: Mapping[str, str]) -> Labelled | None:
    """Return what the labels say, or None if they are not of a container or image of an app."""
    try:
        return Labelled(
            labels[APP_LABEL],
            int(labels[DEPLOYMENT_LABEL]),
            labels.get(PROCESS_LABEL, ""),
            int(labels.get(SLOT_LABEL, "0")),
        )
    except (KeyError, ValueError):
        return None


def is_replica(labels: Mapping[str, str]) -> bool:
    """Whether a container runs a process of a deployment.

    One-off containers do not, nor do those that people make of an app's image by hand: they have
    the image's labels, and no process.
    """
    process = labels.get(PROCESS_LABEL, "")
    return process != "" and not process.startswith(ONEOFF)


def release_process(number: int) -> str:
    """Return the process under which a deployment's release command runs."""
    return f"{ONEOFF}release-{number}"


def pool_of(app: str) -> str:
    """Return the name of the proxy's pool for an app."""
    return f"app-{app}"


def owner_of(app: str) -> str:
    """Return the owner of an app's routes and schedules."""
    return f"app/{app}"


@dataclass(frozen=True, slots=True)
class Places:
    """Directories: `work` for what is being built, `static` for the sites that are served."""

    work: Path
    static: Path

    def work_of(self, app: str, number: int) -> Path:
        """Return the directory in which a deployment is fetched and built."""
        return self.work / f"{app}-{number}"

    def site_of(self, app: str, number: int) -> Path:
        """Return the directory of a static release."""
        return self.static / app / str(number)

    def current_site(self, app: str) -> Path:
        """Return the link to the release in service."""
        return self.static / app / "current"
