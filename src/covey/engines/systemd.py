"""systemd: a hardened unit that runs the daemon, for one user or for the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from covey.errors import CoveyError, InvalidRequestError, NotFoundError, RefusedError
from covey.paths import Paths, find_paths

UNIT = "covey.service"
SYSTEM_DIR = Path("/etc/systemd/system")

_TIMEOUT = 30
_PROTECTION = """\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
UMask=0077
"""
# These need a system manager: a user's manager has no right to set up the namespaces.
_SYSTEM_PROTECTION = """\
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
KeyringMode=private
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictNamespaces=yes
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes into the unit file; `user` and `writable` matter to a system unit alone.

    `confined` protects the machine from the daemon, and so from the commands that it runs for
    members: they can neither gain rights (sudo) nor, in a system unit, write into homes.
    """

    command: tuple[str, ...]
    home: str | None
    system: bool
    user: str | None = None
    writable: tuple[str, ...] = ()
    confined: bool = True

    def text(self) -> str:
        """Return the unit file (systemd.service(5), systemd.exec(5))."""
        words = (*self.command, "up", "--locked")
        lines = [
            "[Unit]",
            "Description=Covey, the private cloud of your machines",
            "Wants=network-online.target" if self.system else "",
            "After=network-online.target" if self.system else "",
            "StartLimitIntervalSec=60",
            "StartLimitBurst=5",
            "",
            "[Service]",
            "Type=exec",
            f"ExecStart={' '.join(_program_word(part) for part in words)}",
            "Restart=on-failure",
            "RestartSec=2",
            "TimeoutStopSec=15",
            # Attached commands end with their line to the daemon; detached ones outlive it.
            "KillMode=process",
            "LimitNOFILE=65536",
            "LimitCORE=0",
            f"Environment={_quoted(f'COVEY_HOME={self.home}')}" if self.home else "",
            f"User={self.user}" if self.system and self.user else "",
            _PROTECTION.rstrip() if self.confined else "",
        ]
        if self.system and self.confined:
            lines.append(_SYSTEM_PROTECTION.rstrip())
            lines.extend(f"ReadWritePaths={_quoted(path)}" for path in self.writable)
        wanted_by = "multi-user.target" if self.system else "default.target"
        lines += ["", "[Install]", f"WantedBy={wanted_by}"]
        return "\n".join(_without_gaps(lines)) + "\n"


@dataclass(frozen=True, slots=True)
class Report:
    """What was installed or removed."""

    path: str
    active: bool
    next_steps: tuple[str, ...] = ()


class SystemdManager:
    """Installs the daemon as a unit; raises `CoveyError` where there is no systemd."""

    def __init__(self, paths: Paths | None = None) -> None:
        self._paths = paths or find_paths()

    def preview(self, *, system: bool, user: str | None, confined: bool) -> str:
        """Return the text of the unit that `install` would write."""
        return self._unit(system=system, user=user, confined=confined).text()

    def install(self, *, system: bool, user: str | None, confined: bool, start: bool) -> Report:
        """Write and enable the unit, and start it if asked."""
        unit = self._unit(system=system, user=user, confined=confined)
        _require_systemd(system=system)
        path = _unit_path(system=system)
        _write(path, unit.text())
        _systemctl(system, "daemon-reload")
        _systemctl(system, "enable", UNIT)
        if start:
            _systemctl(system, "restart", UNIT)
        steps = []
        if not system and not _lingers():
            steps.append("loginctl enable-linger (so that it runs while you are logged out)")
        if confined:
            steps.append(
                "to let members' commands use sudo and write anywhere, install --unconfined"
            )
        return Report(str(path), _is_active(system=system), tuple(steps))

    def uninstall(self, *, system: bool) -> Report:
        """Stop, disable and remove the unit; raises `NotFoundError` if there is none."""
        path = _unit_path(system=system)
        if not path.exists():
            other = "" if system else " For the machine's: covey agent uninstall --system"
            raise NotFoundError(
                f"No service is installed ({path}).", hint=f"Nothing needs to be done.{other}"
            )
        _require_systemd(system=system)
        _systemctl(system, "disable", "--now", UNIT)
        try:
            path.unlink(missing_ok=True)
        except PermissionError as error:
            raise _needs_root() from error
        _systemctl(system, "daemon-reload")
        return Report(str(path), active=False)

    def installed(self) -> str | None:
        """Return the path of the user's or else the machine's unit file, or None."""
        for system in (False, True):
            path = _unit_path(system=system)
            if path.exists():
                return str(path)
        return None

    def _unit(self, *, system: bool, user: str | None, confined: bool) -> Unit:
        if user is not None and not system:
            raise InvalidRequestError(
                "--user is for a unit of the whole machine.", hint="Add --system, or leave it out."
            )
        paths = self._paths
        account = user or (os.environ.get("SUDO_USER") if system else None)
        if system and account is not None:
            import pwd  # noqa: PLC0415 - not on Windows

            try:
                owner = pwd.getpwnam(account)
            except KeyError as error:
                raise NotFoundError(
                    f"There is no user {account} on this machine.",
                    hint=f"Make one: useradd --system --create-home {account}",
                ) from error
            if paths.home is None:
                # The other user's own directories, not those of whoever calls sudo.
                paths = find_paths({"HOME": owner.pw_dir})
        writable = (
            [paths.home] if paths.home else [paths.config_dir, paths.data_dir, paths.state_dir]
        )
        memory = "/dev/shm"  # noqa: S108 - the memory file system, not a file in it
        return Unit(
            command=_own_command(),
            home=paths.home,
            system=system,
            user=account,
            writable=(*(f"-{path}" for path in writable), f"-{memory}", "-/run/user"),
            confined=confined,
        )


def _own_command() -> tuple[str, ...]:
    if getattr(sys, "frozen", False):
        return (sys.executable,)
    return (sys.executable, "-P", "-m", "covey")


def _quoted(text: str) -> str:
    """Quote one word of a unit file (systemd.syntax(7)); `%` stands for itself."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = escaped == text and not any(char.isspace() or char in "';" for char in text)
    return text if plain else f'"{escaped}"'


def _program_word(text: str) -> str:
    """Quote one word of a command line, the one place where `$` names a variable."""
    return _quoted(text).replace("$", "$$")


def _without_gaps(lines: list[str]) -> list[str]:
    """Drop the lines that were left out, but keep the empty one before each section."""
    kept = []
    for at, line in enumerate(lines):
        if line or (at + 1 < len(lines) and lines[at + 1].startswith("[")):
            kept.append(line)
    return kept


def _unit_path(*, system: bool) -> Path:
    if system:
        return SYSTEM_DIR / UNIT
    config = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(config) if Path(config).is_absolute() else Path.home() / ".config"
    return base / "systemd" / "user" / UNIT


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{UNIT}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
                file.flush()
                os.fsync(file.fileno())
            Path(fresh).replace(path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
    except PermissionError as error:
        raise _needs_root() from error
    except OSError as error:
        raise CoveyError(
            f"The unit {path} cannot be written: {error.strerror}.",
            hint="See what would be written: covey agent install --dry-run",
        ) from error


def _needs_root() -> RefusedError:
    return RefusedError(
        "A service of the whole machine needs root.",
        hint="Run it by sudo, or install it for your user alone: without --system",
    )


def _require_systemd(*, system: bool) -> None:
    if sys.platform != "linux" or shutil.which("systemctl") is None:
        raise CoveyError(
            "This machine has no systemd.",
            hint="Run `covey up` by the service manager that it has; it stays in the foreground.",
        )
    if not Path("/run/systemd/system").is_dir():
        raise CoveyError(
            "systemd does not run this machine (a container, perhaps).",
            hint="Run `covey up` by what starts the container. The unit: add --dry-run",
        )
    if not system and not os.environ.get("XDG_RUNTIME_DIR"):
        raise CoveyError(
            "Your user has no systemd session here.",
            hint="Log in directly instead of by su or sudo, or install it with --system.",
        )


def _systemctl(system: bool, *words: str) -> None:  # noqa: FBT001 - which of two managers
    command = ["systemctl", *([] if system else ["--user"]), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CoveyError(
            f"{' '.join(command)} did not work: {error}.", hint="Look at: systemctl status"
        ) from error
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()
        if system and os.geteuid() != 0:
            raise _needs_root()
        raise CoveyError(
            f"{' '.join(command)} failed: {reason[-1] if reason else 'no reason given'}.",
            hint=f"Look at: journalctl {'' if system else '--user '}-u {UNIT}",
        )


def _is_active(*, system: bool) -> bool:
    command = ["systemctl", *([] if system else ["--user"]), "is-active", "--quiet", UNIT]
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)
    return done.returncode == 0


def _lingers() -> bool:
    import pwd  # noqa: PLC0415 - not on Windows

    return Path(f"/var/lib/systemd/linger/{pwd.getpwuid(os.getuid()).pw_name}").exists()
