"""Volumes and networks of the engine, each made once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from covey.engines.containers.api import Api, RefusalError
from covey.engines.containers.failures import delete, doing, find, is_taken
from covey.engines.containers.images import label_filter
from covey.errors import ConflictError

_CONFLICT = 409


async def make_volume(api: Api, name: str, labels: Mapping[str, str]) -> None:
    """Make a volume; one with the same labels is left, another raises `ConflictError`."""
    with doing(f"make the volume {name}"):
        present = await find(api, f"/volumes/{name}")
        if present is None:
            await api.call("POST", "/volumes/create", body={"Name": name, "Labels": dict(labels)})
            present = await api.call("GET", f"/volumes/{name}")
    _same("volume", name, present, labels)


async def labelled_volumes(api: Api, labels: Mapping[str, str]) -> list[str]:
    """List the names of the volumes that have all these labels."""
    with doing("list the volumes"):
        told = await api.call("GET", "/volumes", {"filters": label_filter(labels)})
    return sorted(one["Name"] for one in told.get("Volumes") or () if _has(one, labels))


async def drop_volume(api: Api, name: str) -> None:
    """Remove a volume that nothing uses; a missing one is no error."""
    with doing(f"remove the volume {name}"):
        await delete(api, f"/volumes/{name}")


async def make_network(api: Api, name: str, labels: Mapping[str, str], *, bridge: bool) -> None:
    """Make a network; one with the same labels is left, another raises `ConflictError`.

    With `bridge` its interface is named after it: Podman's own numbering knows nothing of the
    networks of other users of this machine.
    """
    with doing(f"make the network {name}"):
        present = await find(api, f"/networks/{name}")
        if present is None:
            document: dict[str, Any] = {
                "Name": name,
                "Driver": "bridge",
                "CheckDuplicate": True,
                "Labels": dict(labels),
            }
            if bridge:
                interface = hashlib.blake2b(name.encode(), digest_size=5).hexdigest()
                document["Options"] = {"com.docker.network.bridge.name": f"cvy-{interface}"}
            try:
                await api.call("POST", "/networks/create", body=document)
            except RefusalError as error:
                if error.status != _CONFLICT and not is_taken(error):
                    raise
            present = await api.call("GET", f"/networks/{name}")
    _same("network", name, present, labels)


async def labelled_networks(api: Api, labels: Mapping[str, str]) -> list[str]:
    """List the names of the networks that have all these labels."""
    with doing("list the networks"):
        told = await api.call("GET", "/networks", {"filters": label_filter(labels)})
    return sorted(one["Name"] for one in told or () if _has(one, labels))


async def drop_network(api: Api, name: str) -> None:
    """Remove a network that nothing uses; a missing one is no error."""
    with doing(f"remove the network {name}"):
        await delete(api, f"/networks/{name}")


def _has(document: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return labels.items() <= (document.get("Labels") or {}).items()


def _same(kind: str, name: str, document: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    if (document.get("Labels") or {}) != dict(labels):
        raise ConflictError(
            f"There is a {kind} {name} already, which is not this app's.",
            hint=f"Remove it if nothing needs it, or give the app's {kind} another name.",
        )
