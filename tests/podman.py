"""A Podman of its own for tests: private storage, networks and settings, with images to start from.

    from tests.podman import WEB, Podman, new_podman

    async def test_it(podman: Podman): ...      # the session's, from tests/conftest.py

Daemons that tests start get `podman.environ` beside their own environment: Covey starts a Podman
service with it, whatever engine runs on the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from covey.engines.containers.host_limits import read_host_limits
from covey.engines.containers.podman_config import write_podman_config
from tests.images import PYTHON, WEB, image_tar
from tests.subnets import choose_block, stop_dead_forwarding

_PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT_S = 60
_END_S = 10.0


@dataclass(frozen=True)
class Podman:
    """One isolated Podman below `root`; `environ` names its storage and settings."""

    root: Path
    environ: Mapping[str, str]
    subnet: str

    def run(self, *words: str, check: bool = True) -> str:
        """Run `podman` and return what it prints; it must succeed unless `check` is false."""
        done = subprocess.run(
            ["podman", *words],
            env={**os.environ, **self.environ, "CONTAINERS_CONF": str(self.root / "cli.conf")},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout

    def add_image(self, tar: Path, tag: str, *changes: str) -> None:
        """Make an image of a root file system."""
        words = [word for change in (f"ENV {_PATH}", *changes) for word in ("--change", change)]
        self.run("import", "--quiet", *words, str(tar), tag)

    def containers(self, *filters: str) -> list[str]:
        """List the names of all containers, running or not."""
        words = [word for one in filters for word in ("--filter", one)]
        return self.run("ps", "-a", "--format", "{{.Names}}", *words).split()

    def leftovers(self) -> dict[str, set[str]]:
        """List everything in it, to be compared before and after."""
        listing = {
            "containers": ("ps", "-a", "--external", "--format", "{{.ID}}"),
            "images": ("images", "-a", "--no-trunc", "--format", "{{.ID}}"),
            "volumes": ("volume", "ls", "--format", "{{.Name}}"),
            "networks": ("network", "ls", "--format", "{{.Name}}"),
        }
        return {kind: set(self.run(*words).split()) for kind, words in listing.items()}

    def clear(self) -> None:
        """Remove all containers, volumes and networks, and all images but those to start from."""
        self.run("rm", "--all", "--force", "--time", "0", check=False)
        self.run("volume", "prune", "--force", check=False)
        self.run("network", "prune", "--force", check=False)
        listed = json.loads(self.run("images", "--format", "json") or "[]")
        for image in listed:
            if not {WEB, PYTHON} & set(image.get("Names") or ()):
                self.run("rmi", "--force", image["Id"], check=False)

    def processes(self) -> dict[int, str]:
        """Return the commands of its monitors and services by their process ids.

        The name server, aardvark-dns, is not among them: all Podmans of a machine share one.
        """
        return {pid: _command(pid) for pid in _pids() if str(self.root) in _words(pid)}

    def close(self) -> None:
        """End and remove everything."""
        with suppress(subprocess.TimeoutExpired):
            self.run("rm", "--all", "--force", "--time", "0", check=False)
            self.run("network", "prune", "--force", check=False)
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _END_S
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.02)
        for place in sorted(_mounts(self.root), key=len, reverse=True):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def new_podman(
    root: Path, tars: Path | None = None, *, with_python: bool = True
) -> Iterator[Podman]:
    """Make an isolated Podman with the images to start from; it vanishes in the end.

    `tars` is a directory where the images' tars are kept for the next one.
    """
    assert shutil.which("podman"), "install podman (./dev setup)"
    stop_dead_forwarding()
    podman = _prepare(root)
    try:
        serve = 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]'
        web = image_tar(tars or root, "web")
        podman.add_image(web, WEB, serve, "EXPOSE 8080", "WORKDIR /www")
        if with_python:
            podman.add_image(image_tar(tars or root, "python"), PYTHON, 'CMD ["python3"]')
        yield podman
    finally:
        podman.close()


def _prepare(root: Path) -> Podman:
    for name in ("networks", "storage", "run", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    second, third = choose_block(216, 16)
    subnet = f"10.{second}.{third}.0/24"
    network = f"ct-{root.name[-20:]}-{second}-{third}"
    _write_network(root / "networks", network, f"10.{second}.{third}")
    settings = {
        "containers": {"log_driver": "k8s-file"},
        "engine": {
            "static_dir": str(root / "storage/libpod"),
            "tmp_dir": str(root / "run/libpod"),
            "volume_path": str(root / "storage/volumes"),
            "events_logger": "file",
        },
        "network": {
            "network_backend": "netavark",
            "network_config_dir": str(root / "networks"),
            "default_network": network,
            "default_subnet": subnet,
            "default_subnet_pools": [
                {"base": f"10.{second}.{third + block}.0/20", "size": 24} for block in (0, 16)
            ],
        },
    }
    storage = {
        "storage": {
            "driver": "overlay",
            "graphroot": str(root / "storage"),
            "runroot": str(root / "run"),
        }
    }
    (root / "containers.conf").write_bytes(tomli_w.dumps(settings).encode())
    (root / "storage.conf").write_bytes(tomli_w.dumps(storage).encode())
    environ = {
        "CONTAINERS_CONF": str(root / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(root / "storage.conf"),
    }
    write_podman_config(root / "cli.conf", read_host_limits(), environ)
    return Podman(root, environ, subnet)


def _write_network(directory: Path, name: str, prefix: str) -> None:
    """Describe the default network: else all of the machine would share one bridge, `podman0`."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    network = {
        "name": name,
        "id": digest,
        "driver": "bridge",
        "network_interface": f"cvt-{digest[:10]}",
        "created": "2026-01-01T00:00:00Z",
        "subnets": [{"subnet": f"{prefix}.0/24", "gateway": f"{prefix}.1"}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }
    (directory / f"{name}.json").write_text(json.dumps(network))


def _mounts(root: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in lines]
    return [place for place in places if place.startswith(f"{root}/")]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def _words(pid: int) -> str:
    """Return a process's command and environment, unless it is this one."""
    if pid == os.getpid():
        return ""
    found = b""
    for name in ("cmdline", "environ"):
        with suppress(OSError):
            found += Path(f"/proc/{pid}/{name}").read_bytes()
    program = found.split(b"\0", 1)[0]
    mine = (b"podman", b"conmon", b"netavark", b"runc", b"crun")
    return found.decode(errors="replace") if program.endswith(mine) else ""
