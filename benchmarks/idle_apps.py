"""Memory of a node with ten apps that nobody asks, beside what the peers publish of themselves."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.idle import resident_mb
from benchmarks.report import Row, main
from tests.images import WEB
from tests.podman import new_podman
from tests.system.harness import eventually, new_fleet
from tests.system.hosting import Host, new_host

APPS = 10
SETTLE_S = 30
PUBLISHED = (
    Row("Rivetr, idle", 80, "MB", None, "30 to 80 MB, as it says: github.com/KwaminaWhyte/rivetr"),
    Row(
        "Dokploy without an app, its own container",
        487,
        "MB",
        None,
        "464 MiB, as a user measured it: github.com/Dokploy/dokploy/issues/3755",
    ),
    Row("Dokku, a machine of at least", 1, "GB", None, "dokku.com/docs"),
    Row(
        "CapRover, a machine of",
        1,
        "GB",
        None,
        "512 MB might not be enough: caprover.com/docs/get-started.html",
    ),
    Row(
        "Coolify, a machine of at least", 2, "GB", None, "coolify.io/docs/get-started/installation"
    ),
    Row("Dokploy, a machine of at least", 2, "GB", None, "docs.dokploy.com/docs/core/installation"),
)
"""What the peers published until November 2026; none of it is measured here."""


def deploy_all(host: Host) -> None:
    """Have ten apps serve, each at a host of its own."""
    for number in range(APPS):
        name = f"idle-{number}"
        host.node.run("apps", "create", name, "--image", WEB)
        host.node.run("apps", "deploy", name, "--quiet")
        eventually(partial(host.get, name))


def caddies(home: Path) -> list[int]:
    """Return the processes of the proxies of a node."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        is_caddy = words[0].endswith(b"/caddy")
        if is_caddy and str(home).encode() in environ + b" ".join(words):
            found.append(int(entry.name))
    return found


def weigh(host: Host) -> tuple[float, float]:
    """Return the resident MB of the daemon and of its Caddy."""
    time.sleep(SETTLE_S)
    assert host.node.process is not None
    proxies = [resident_mb(pid) for pid in caddies(host.node.home)]
    assert len(proxies) == 1
    return resident_mb(host.node.process.pid), proxies[0]


def run() -> list[Row]:
    """Weigh a node that has just deployed its apps, and once more after a start."""
    root = Path(tempfile.mkdtemp(prefix="cvp-", dir="/tmp"))
    with new_podman(root) as podman, new_fleet() as fleet, new_host(fleet, podman) as host:
        deploy_all(host)
        deployed, caddy = weigh(host)
        host.node.stop()
        host.node.start()
        started, caddy_later = weigh(host)
    caddy = max(caddy, caddy_later)
    return [
        Row(f"{APPS} idle apps, daemon after a start", started, "MB"),
        Row(f"{APPS} idle apps, daemon after their deployment", deployed, "MB"),
        Row(f"{APPS} idle apps, Caddy", caddy, "MB"),
        Row(f"{APPS} idle apps, daemon and Caddy", max(started, deployed) + caddy, "MB"),
        *PUBLISHED,
    ]


if __name__ == "__main__":
    raise SystemExit(main("idle_apps", run))
