"""What this machine allows to containers, and the Podman settings that follow from it."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

_CAP_SYS_RESOURCE = 24
_PODMAN_NOFILE = 1 << 20
_EXEC_EXIT_DELAY_S = 1


@dataclass(frozen=True, slots=True)
class HostLimits:
    """The facts that decide how Podman must be set up.

    `nofile` and `nproc` are the hard limits of a process that Podman starts: Podman lowers its own
    nproc to the kernel's `pid_max` when it reads its configuration.
    """

    root: bool
    may_raise: bool
    nofile: int
    nproc: int
    unified_cgroups: bool
    systemd: bool
    runtimes: frozenset[str]

    @property
    def ulimits(self) -> tuple[str, ...]:
        """The default ulimits that containers need here; none where Podman's own will do.

        As root Podman asks for 2^20 open files, which the kernel refuses above the hard limit
        to whom has no CAP_SYS_RESOURCE. Without root it asks for what it may have.
        """
        if not self.root or self.may_raise or self.nofile >= _PODMAN_NOFILE:
            return ()
        return (f"nofile={self.nofile}:{self.nofile}", f"nproc={self.nproc}:{self.nproc}")

    @property
    def runtime(self) -> str | None:
        """The runtime that containers need here; None where Podman's own choice will do."""
        return "runc" if not self.unified_cgroups and "runc" in self.runtimes else None

    @property
    def cgroup_manager(self) -> str | None:
        """Who must make the control groups here; None where Podman's own choice will do."""
        return None if self.systemd else "cgroupfs"

    @property
    def needs(self) -> tuple[str, ...]:
        """Why a Podman with its own settings would not start containers here."""
        found = []
        if self.ulimits:
            found.append(
                f"at most {self.nofile} open files and no CAP_SYS_RESOURCE: explicit ulimits"
            )
        if self.runtime is not None and "crun" in self.runtimes:
            found.append("control groups version 1: runc instead of crun")
        return tuple(found)

    def podman_settings(self, present: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings to lay over `present`, the user's own containers.conf."""
        containers: dict[str, Any] = {}
        engine: dict[str, Any] = {}
        mine = present.get("containers", {}).get("default_ulimits", ())
        if self.ulimits and not _covers(mine):
            containers["default_ulimits"] = list(self.ulimits)
        theirs = present.get("engine", {})
        if self.runtime is not None and theirs.get("runtime", "crun") == "crun":
            engine["runtime"] = self.runtime
        if self.cgroup_manager is not None and "cgroup_manager" not in theirs:
            engine["cgroup_manager"] = self.cgroup_manager
        if "exit_command_delay" not in theirs:
            # Else each exec leaves two processes behind for five minutes.
            engine["exit_command_delay"] = _EXEC_EXIT_DELAY_S
        wanted = {"containers": containers, "engine": engine}
        return {name: table for name, table in wanted.items() if table}


def _covers(ulimits: object) -> bool:
    return isinstance(ulimits, list | tuple) and {"nofile", "nproc"} <= {
        str(item).split("=")[0] for item in ulimits
    }


def read_host_limits(
    proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> HostLimits:
    """Read what this machine allows to this process and what it starts."""
    return HostLimits(
        root=os.geteuid() == 0,
        may_raise=bool(_effective_capabilities(proc) >> _CAP_SYS_RESOURCE & 1),
        nofile=_hard(resource.RLIMIT_NOFILE),
        nproc=min(_hard(resource.RLIMIT_NPROC), _number(proc / "sys/kernel/pid_max", 32768)),
        unified_cgroups=(cgroups / "cgroup.controllers").exists(),
        systemd=Path("/run/systemd/system").is_dir(),
        runtimes=frozenset(name for name in ("crun", "runc") if find_program(name)),
    )


def find_program(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Find a program on PATH or where system programs are, which a user's PATH may leave out."""
    places = [*environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/sbin", "/usr/local/bin"]
    for place in places:
        path = os.path.join(place, name)  # noqa: PTH118 - an empty place is the current directory
        if os.path.isabs(path) and os.access(path, os.X_OK):  # noqa: PTH117 - as above
            return path
    return None


def _hard(kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return (1 << 63) - 1 if hard == resource.RLIM_INFINITY else hard


def _number(path: Path, otherwise: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return otherwise


def _effective_capabilities(proc: Path) -> int:
    try:
        status = (proc / "self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("CapEff:"))[7:], 16)
    except (OSError, ValueError, StopIteration):
        return 0


class Facts(msgspec.Struct, frozen=True):
    """What was found, for `covey doctor`."""

    engine: str
    version: str
    socket: str
    service: str
    """`own` for one that Covey started, `system` for one that was there."""
    settings: str = ""
    """The containers.conf that Covey made for its own service."""
    needs: tuple[str, ...] = ()
    init: bool | None = None
    """Whether containers get an init that reaps zombies; None until one was made."""
