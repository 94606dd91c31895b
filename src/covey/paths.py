"""Where Covey keeps its files; imports nothing beyond `os` and `sys`, for the fast path."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOCKET_NAME = "covey.sock"
LOCAL_TCP_PORT = 37842
"""Where the daemon listens on 127.0.0.1 on systems without Unix sockets."""

SOCKET_PATH_LIMIT = 107
"""Most bytes in the path of a Unix socket on Linux (sun_path without its NUL)."""


class Paths:
    """The directories of one node and the files in them, as absolute text paths."""

    __slots__ = ("config_dir", "data_dir", "home", "run_dir", "state_dir")

    def __init__(
        self, config_dir: str, data_dir: str, state_dir: str, run_dir: str, home: str | None = None
    ) -> None:
        self.config_dir = config_dir
        self.data_dir = data_dir
        self.state_dir = state_dir
        self.run_dir = run_dir
        self.home = home

    @property
    def settings_file(self) -> str:
        """The optional `covey.toml`."""
        return os.path.join(self.config_dir, "covey.toml")

    @property
    def database(self) -> str:
        """The encrypted database."""
        return os.path.join(self.data_dir, "covey.db")

    @property
    def keyring(self) -> str:
        """The node's wrapped keys."""
        return os.path.join(self.data_dir, "keyring.json")

    @property
    def backups_dir(self) -> str:
        """Copies of the database made before migrations."""
        return os.path.join(self.data_dir, "backups")

    @property
    def lock_file(self) -> str:
        """The file whose `flock` admits one daemon to a home."""
        return os.path.join(self.data_dir, "lock")

    @property
    def log_file(self) -> str:
        """The newest log file; older ones stand beside it."""
        return os.path.join(self.state_dir, "log", "covey.log")

    @property
    def rendered_dir(self) -> str:
        """Rendered variables by shell, in memory."""
        return os.path.join(self.run_dir, "env")

    @property
    def socket(self) -> str:
        """The daemon's Unix socket, with links resolved so that its path is short."""
        return os.path.join(os.path.realpath(self.run_dir), SOCKET_NAME)

    @property
    def local_token(self) -> str:
        """The token file that guards the local TCP port where there are no Unix sockets."""
        return os.path.join(self.run_dir, "local.token")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Paths) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Paths({parts})"


def find_paths(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Paths:
    """Find the directories for this user: `COVEY_HOME`, else the platform's convention.

    An empty or relative XDG variable is ignored, as the XDG Base Directory Specification asks.
    """
    home = environ.get("COVEY_HOME")
    if home:
        home = os.path.abspath(os.path.expanduser(home))
        config_dir, data_dir, state_dir, run_dir = (
            os.path.join(home, name) for name in ("config", "data", "state", "run")
        )
        return Paths(config_dir, data_dir, state_dir, run_dir, home)
    if platform == "win32":
        roaming = environ.get("APPDATA") or os.path.expanduser("~\\AppData\\Roaming")
        local = environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
        base = os.path.join(local, "Covey")
        return Paths(
            os.path.join(roaming, "Covey"),
            os.path.join(base, "data"),
            os.path.join(base, "state"),
            os.path.join(base, "run"),
        )
    user_home = environ.get("HOME") or os.path.expanduser("~")
    if platform == "darwin":
        base = os.path.join(user_home, "Library", "Application Support", "Covey")
        return Paths(
            base,
            os.path.join(base, "data"),
            os.path.join(base, "state"),
            os.path.join(base, "run"),
        )
    state_dir = os.path.join(_xdg(environ, "XDG_STATE_HOME", user_home, ".local/state"), "covey")
    return Paths(
        os.path.join(_xdg(environ, "XDG_CONFIG_HOME", user_home, ".config"), "covey"),
        os.path.join(_xdg(environ, "XDG_DATA_HOME", user_home, ".local/share"), "covey"),
        state_dir,
        _default_run_dir(environ, state_dir),
    )


def memory_dir(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> str | None:
    """Find this user's own directory on a memory file system, or None where there is none."""
    if platform in {"win32", "darwin"}:
        return None
    return next(_memory_dirs(environ), None)


def _memory_dirs(environ: Mapping[str, str]) -> Iterator[str]:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.access(runtime, os.W_OK):
        yield os.path.join(runtime, "covey")
    uid = os.getuid()
    if os.access(f"/run/user/{uid}", os.W_OK):
        yield f"/run/user/{uid}/covey"
    if os.access("/dev/shm", os.W_OK):  # noqa: S108 - the directory's owner is checked
        yield f"/dev/shm/covey-{uid}"  # noqa: S108


def _default_run_dir(environ: Mapping[str, str], state_dir: str) -> str:
    """Choose the directory in memory, or the one where a daemon is.

    A daemon that started with the machine had no XDG_RUNTIME_DIR, which its user's shells have.
    """
    choices = [
        os.path.join(memory, "default") if memory.startswith("/dev/shm/") else memory  # noqa: S108
        for memory in _memory_dirs(environ)
    ]
    choices.append(os.path.join(state_dir, "run"))
    for choice in choices:
        if os.path.exists(os.path.join(choice, SOCKET_NAME)):
            return choice
    return choices[0]


def _xdg(environ: Mapping[str, str], name: str, user_home: str, fallback: str) -> str:
    value = environ.get(name, "")
    return value if os.path.isabs(value) else os.path.join(user_home, fallback)
