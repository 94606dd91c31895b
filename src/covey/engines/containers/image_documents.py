"""Images in the engine's documents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from covey.apps.containers import ImageState
from covey.engines.containers.container_documents import image_id, moment


def image_state(document: Mapping[str, Any]) -> ImageState:
    """Read an image's document."""
    config = document.get("Config") or {}
    exposed = [name.split("/")[0] for name in config.get("ExposedPorts") or {}]
    return ImageState(
        id=image_id(document["Id"]),
        tags=_tags(document),
        labels=config.get("Labels") or {},
        created=moment(document.get("Created")) or datetime.fromtimestamp(0, UTC),
        size_bytes=document.get("Size") or 0,
        exposed_ports=tuple(sorted(int(port) for port in exposed if port.isdigit())),
    )


def listed_image(document: Mapping[str, Any]) -> ImageState:
    """Read an image of a listing, which tells no ports."""
    return ImageState(
        id=image_id(document["Id"]),
        tags=_tags(document),
        labels=document.get("Labels") or {},
        created=datetime.fromtimestamp(document.get("Created") or 0, UTC),
        size_bytes=document.get("Size") or 0,
    )


def _tags(document: Mapping[str, Any]) -> tuple[str, ...]:
    named = (tag for tag in document.get("RepoTags") or () if tag != "<none>:<none>")
    return tuple(whole_name(tag) for tag in named)


def registry_of(name: str) -> str:
    """Return the registry that an image's name means."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return "docker.io"


def whole_name(name: str) -> str:
    """Return an image's name with its registry, which Docker leaves out where it is its own."""
    if name.startswith(f"{registry_of(name)}/"):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


def split_tag(tag: str) -> tuple[str, str]:
    """Split `registry:5000/name:tag` into the name and the tag, `latest` if it has none."""
    name, mark, version = tag.rpartition(":")
    if not mark or "/" in version:
        return tag, "latest"
    return name, version
