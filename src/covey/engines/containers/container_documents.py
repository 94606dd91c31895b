"""Containers in the engine's documents: what to make, and what is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from covey.apps.containers import ContainerSpec, ContainerState, ContainerStatus, Mount, Resources

_NANO = 1_000_000_000


def to_create(spec: ContainerSpec, engine: str, *, init: bool) -> dict[str, Any]:
    """Return the document that makes a container."""
    ports = [f"{port}/tcp" for port in spec.ports]
    host: dict[str, Any] = {
        "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}] for port in ports},
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": _log_config(engine, spec.log_bytes),
        "Mounts": [_mount(mount) for mount in spec.mounts],
        "Init": init,
        **_limits(spec.resources),
    }
    document: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": host,
    }
    if spec.shell_command is not None:
        document["Entrypoint"] = ["/bin/sh", "-c"]
        document["Cmd"] = [spec.shell_command]
    elif spec.command is not None:
        document["Cmd"] = list(spec.command)
    if spec.stop_signal is not None:
        document["StopSignal"] = spec.stop_signal
    if spec.network is not None:
        host["NetworkMode"] = spec.network
        endpoint = {"Aliases": list(spec.aliases)}
        document["NetworkingConfig"] = {"EndpointsConfig": {spec.network: endpoint}}
    return document


def _log_config(engine: str, limit: int) -> dict[str, Any]:
    if engine == "podman":
        return {"Type": "k8s-file", "Config": {"max-size": str(limit)}}
    # Docker keeps the full file beside the one that it writes.
    return {"Type": "json-file", "Config": {"max-size": str(max(1, limit // 2)), "max-file": "2"}}


def _mount(mount: Mount) -> dict[str, Any]:
    kind = "bind" if mount.source.startswith("/") else "volume"
    return {
        "Type": kind,
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }


def _limits(resources: Resources) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if resources.cpus is not None:
        found["NanoCpus"] = round(resources.cpus * _NANO)
    if resources.memory_bytes is not None:
        found["Memory"] = resources.memory_bytes
    if resources.pids is not None:
        found["PidsLimit"] = resources.pids
    return found


def container_state(document: Mapping[str, Any]) -> ContainerState:
    """Read a container's document."""
    state = document["State"]
    settings = document.get("NetworkSettings") or {}
    status = _status(state)
    ended = status is ContainerStatus.EXITED
    return ContainerState(
        id=document["Id"],
        name=document["Name"].removeprefix("/"),
        image_id=image_id(document["Image"]),
        labels=document["Config"].get("Labels") or {},
        status=status,
        exit_code=state.get("ExitCode") if ended else None,
        out_of_memory=bool(state.get("OOMKilled")),
        started=moment(state.get("StartedAt")),
        ended=moment(state.get("FinishedAt")) if ended else None,
        ports=_ports(settings) if status is ContainerStatus.RUNNING else {},
        address=_address(settings),
    )


def image_id(text: str) -> str:
    """Return an image's id in one form: engines write it with or without its algorithm."""
    return text if text.startswith("sha256:") else f"sha256:{text}"


def moment(text: str | None) -> datetime | None:
    """Read a time (RFC 3339 with nanoseconds); the year 1 means never."""
    if not text or text.startswith("0001-"):
        return None
    day, _, rest = text.partition(".")
    fraction = rest.rstrip("Z")
    zone = ""
    for sign in "+-":
        fraction, mark, offset = fraction.partition(sign)
        zone = zone or mark + offset
    if not rest:
        return datetime.fromisoformat(text).astimezone(UTC)
    return datetime.fromisoformat(f"{day}.{fraction[:6]:0<6}{zone or '+00:00'}").astimezone(UTC)


def _status(state: Mapping[str, Any]) -> ContainerStatus:
    match str(state.get("Status", "")).lower():
        case "running":
            return ContainerStatus.RUNNING
        case "created" | "configured" | "initialized":
            return ContainerStatus.CREATED
        case "exited" | "stopped" | "dead":
            return ContainerStatus.EXITED
        case _:
            return ContainerStatus.OTHER


def _ports(settings: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    found: dict[int, tuple[str, int]] = {}
    for name, bindings in (settings.get("Ports") or {}).items():
        port, _, protocol = name.partition("/")
        for binding in bindings or ():
            if protocol == "tcp" and binding.get("HostPort"):
                found[int(port)] = (binding["HostIp"] or "127.0.0.1", int(binding["HostPort"]))
                break
    return found


def _address(settings: Mapping[str, Any]) -> str | None:
    addresses = [settings.get("IPAddress")]
    addresses += [one.get("IPAddress") for one in (settings.get("Networks") or {}).values()]
    return next((address for address in addresses if address), None)
