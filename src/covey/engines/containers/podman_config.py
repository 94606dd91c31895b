"""A private containers.conf for Covey's own Podman service: the user's, and what the host needs."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from covey.engines.containers.host_limits import HostLimits


def write_podman_config(target: Path, limits: HostLimits, environ: Mapping[str, str]) -> bool:
    """Write what the service is to read to `target`; return False if the user's own will do.

    CONTAINERS_CONF replaces all other files, so the user's are merged into it, as Podman does.
    """
    present: dict[str, Any] = {}
    for path in config_files(environ):
        _merge(present, _read(path))
    wanted = limits.podman_settings(present)
    if not wanted:
        return False
    _merge(present, wanted)
    content = tomli_w.dumps(present).encode()
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    return True


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """List the files that Podman would read, in its order (containers.conf(5))."""
    if named := environ.get("CONTAINERS_CONF"):
        return [Path(named)]
    found = [Path("/usr/share/containers/containers.conf"), Path("/etc/containers/containers.conf")]
    found += sorted(Path("/etc/containers/containers.conf.d").glob("*.conf"))
    if os.geteuid() != 0:
        home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")  # noqa: PTH118 - may be empty
        own = Path(home) / "containers"
        found += [own / "containers.conf", *sorted((own / "containers.conf.d").glob("*.conf"))]
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # Podman itself tells of a broken file


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        present = base.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(present, value)
        else:
            base[key] = value
