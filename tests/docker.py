"""A Docker of its own for tests: a daemon with private storage, processes, mounts and bridge.

    from tests.docker import Docker

    async def test_it(docker: Docker): ...      # the session's, from tests/conftest.py

It runs in a process and a mount namespace of its own and dies with the test process: nothing of
it is left, and no other Docker of the machine, nor its firewall rules, is touched.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.images import PYTHON, WEB, image_tar
from tests.subnets import choose_block

_UNPACKED = Path(__file__).parent.parent / ".dev/docker"
_TIMEOUT_S = 60
_START_S = 30
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_FIRST_WITHOUT_KEY = 23

# A containerd of the system would be taken instead of an own one, if it were seen.
_START = 'if [ -d /run/containerd ]; then mount -t tmpfs none /run/containerd; fi; exec "$@"'


@dataclass(frozen=True)
class Docker:
    """One isolated Docker below `root`; `environ` names its socket, settings and programs."""

    root: Path
    environ: Mapping[str, str]

    @property
    def socket(self) -> str:
        """Where its API listens."""
        return str(self.root / "docker.sock")

    def run(self, *words: str, check: bool = True) -> str:
        """Run `docker` and return what it prints; it must succeed unless `check` is false."""
        environ = {**os.environ, **self.environ}
        done = subprocess.run(
            ["docker", *words],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout

    def add_image(self, tar: Path, tag: str, *changes: str) -> None:
        """Make an image of a root file system."""
        words = [word for change in (f"ENV {_PATH}", *changes) for word in ("--change", change)]
        self.run("import", *words, str(tar), tag)

    def leftovers(self) -> dict[str, set[str]]:
        """List everything in it, to be compared before and after."""
        listing = {
            "containers": ("ps", "-a", "-q", "--no-trunc"),
            "images": ("images", "-a", "-q", "--no-trunc"),
            "volumes": ("volume", "ls", "-q"),
            "networks": ("network", "ls", "-q", "--no-trunc"),
        }
        return {kind: set(self.run(*words).split()) for kind, words in listing.items()}

    def clear(self) -> None:
        """Remove all containers, volumes and networks, and all images but those to start from."""
        base = {WEB, PYTHON.removeprefix("docker.io/library/")}
        listed = self.run("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        tags = dict(line.split() for line in listed.splitlines() if "<none>" not in line)
        kept = {tags[tag] for tag in base if tag in tags}
        found = self.leftovers()
        own = set(self.run("network", "ls", "-q", "--no-trunc", "--filter", "type=custom").split())
        for words, names in (
            (("rm", "--force", "--volumes"), found["containers"]),
            (("volume", "rm", "--force"), found["volumes"]),
            (("network", "rm"), own),
            (("rmi", "--force"), found["images"] - kept),
        ):
            if names:
                self.run(*words, *sorted(names), check=False)
        # A tag may have been given to an image that stays.
        if more := [tag for tag in tags if tag not in base and tags[tag] in kept]:
            self.run("rmi", *more, check=False)


@contextmanager
def new_docker(root: Path, tars: Path | None = None) -> Iterator[Docker]:
    """Run an isolated Docker with the images to start from; it vanishes in the end."""
    assert os.geteuid() == 0, "Docker's daemon runs as root alone: run these tests as root."
    environ = _environ(root)
    daemon = shutil.which("dockerd", path=environ["PATH"])
    assert daemon, "install docker.io (./dev test unpacks it)"
    docker = Docker(root, environ)
    bridge = f"cvd-{os.getpid()}"
    second, third = choose_block(232, 8)
    _forget_dead_bridges()
    _ip("link", "add", bridge, "type", "bridge")
    process: subprocess.Popen[bytes] | None = None
    try:
        _ip("address", "add", f"10.{second}.{third}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        pool = f"base=10.{second}.{third + 16}.0/20,size=24"
        process = _start(docker, daemon, bridge, pool)
        _wait_for(docker, process)
        web, python = (image_tar(tars or root, name) for name in ("web", "python"))
        serve = 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]'
        docker.add_image(web, WEB, serve, "EXPOSE 8080", "WORKDIR /www")
        docker.add_image(python, PYTHON, 'CMD ["python3"]')
        yield docker
        docker.clear()
    finally:
        if process is not None:
            process.kill()
            process.wait(_TIMEOUT_S)
        _ip("link", "delete", bridge)
        _remove_groups(root)
        shutil.rmtree(root, ignore_errors=True)


def _environ(root: Path) -> dict[str, str]:
    places = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/bin"]
    plugins = []
    if shutil.which("dockerd", path=os.pathsep.join(places)) is None:
        places = [str(_UNPACKED / "usr/sbin"), str(_UNPACKED / "usr/bin"), *places]
        plugins = [str(_UNPACKED / "usr/libexec/docker/cli-plugins")]
    (root / "client").mkdir(parents=True)
    (root / "client/config.json").write_text(json.dumps({"cliPluginsExtraDirs": plugins}))
    return {
        "PATH": os.pathsep.join(places),
        "DOCKER_HOST": f"unix://{root / 'docker.sock'}",
        "DOCKER_CONFIG": str(root / "client"),
    }


def _start(docker: Docker, daemon: str, bridge: str, pool: str) -> subprocess.Popen[bytes]:
    root = docker.root
    environ = {**os.environ, **docker.environ}
    environ.pop("DOCKER_HOST")
    _write_settings(daemon, root, environ)
    words = [
        daemon,
        f"--host=unix://{docker.socket}",
        f"--config-file={root / 'daemon.json'}",
        f"--data-root={root / 'data'}",
        f"--exec-root={root / 'exec'}",
        f"--pidfile={root / 'pid'}",
        f"--cgroup-parent=/covey-test/{root.name}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--bridge={bridge}",
        f"--default-address-pool={pool}",
        # What it publishes goes through its own small proxy, so the machine's rules stay.
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--oom-score-adjust=0",  # its own choice needs CAP_SYS_RESOURCE
        "--log-level=warn",
    ]
    init = shutil.which("docker-init", path=environ["PATH"])
    assert init, "install docker.io (./dev test unpacks it)"
    prctl = ctypes.CDLL(None).prctl
    with (root / "log").open("wb") as log:
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation=slave", "--pid", "--fork"),
                *("--kill-child=KILL", "--mount-proc", "sh", "-c", _START, "sh"),
                *(init, "--", *words),
            ],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: prctl(_DEATH_SIGNAL, signal.SIGKILL),  # noqa: PLW1509 - one call
        )


def _write_settings(daemon: str, root: Path, environ: Mapping[str, str]) -> None:
    words = [daemon, "--version"]
    told = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    old = int(told.stdout.split("version ")[1].split(".")[0]) < _FIRST_WITHOUT_KEY
    key = {"deprecated-key-path": str(root / "key.json")} if old else {}
    (root / "daemon.json").write_text(json.dumps(key))


def _wait_for(docker: Docker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while not docker.run("version", "--format", "{{.Server.Version}}", check=False).strip():
        said = (docker.root / "log").read_text(errors="replace")[-2000:]
        assert process.poll() is None, f"dockerd ended: {said}"
        assert time.monotonic() < deadline, f"dockerd does not answer: {said}"
        time.sleep(0.05)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _forget_dead_bridges() -> None:
    """Remove the bridges of test processes that were killed."""
    for place in Path("/sys/class/net").glob("cvd-*"):
        pid = place.name.removeprefix("cvd-")
        if pid.isdigit() and not Path("/proc", pid).exists():
            subprocess.run(["ip", "link", "delete", place.name], check=False, capture_output=True)


def _remove_groups(root: Path) -> None:
    for top in [*Path("/sys/fs/cgroup").glob("*/covey-test"), Path("/sys/fs/cgroup/covey-test")]:
        for directory, _, _ in os.walk(top / root.name, topdown=False):
            Path(directory).rmdir()
