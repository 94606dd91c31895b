"""Starting a command: its session, terminal, user, directory and the program itself."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

_LOWEST_FREE = 3
_HIGHEST = 1 << 16
_FAILED = 127
_CAN_SPAWN = hasattr(os, "posix_spawn") and sys.platform == "linux"
_DEFAULTED = [
    getattr(signal, name)
    for name in (
        *("SIGCHLD", "SIGPIPE", "SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGXFSZ", "SIGALRM"),
        *("SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2"),
    )
    if hasattr(signal, name)
]


class StartError(Exception):
    """A command did not start: `stage` is session, user, directory or program."""

    def __init__(self, stage: str, number: int) -> None:
        super().__init__(stage)
        self.stage = stage
        self.number = number


def start(request: dict[str, Any], stdio: Sequence[int]) -> int:
    """Start the command that the request describes and return its process id.

    It leads a session of its own; with `tty` its standard input becomes the session's terminal.
    Raises `StartError`.
    """
    if request["tty"] or request["account"] is not None or not _CAN_SPAWN:
        return _fork(request, stdio)
    return _spawn(request, stdio)


def _spawn(request: dict[str, Any], stdio: Sequence[int]) -> int:
    """Start without copying this process (posix_spawn(3)): half the time of a fork."""
    os.umask(request["umask"])
    try:
        os.chdir(request["cwd"])
    except (OSError, ValueError) as error:
        raise StartError("directory", getattr(error, "errno", 0) or 0) from error
    actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)]
    environment = request["env"]

    def start_program(program: str, words: list[str]) -> int:
        return os.posix_spawn(
            program,
            words,
            environment,
            file_actions=actions,
            setsid=True,
            setsigdef=_DEFAULTED,
            setsigmask=(),
        )

    try:
        return _first_found(request, start_program)
    except (OSError, ValueError) as error:
        raise StartError("program", getattr(error, "errno", 0) or 0) from error
    finally:
        os.chdir("/")


def _fork(request: dict[str, Any], stdio: Sequence[int]) -> int:
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise StartError("session", error.errno or 0) from error
    if pid == 0:
        _become(request, stdio, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read()
    if report:
        os.waitpid(pid, 0)
        stage, _, number = report.decode().partition(" ")
        raise StartError(stage, int(number or 0))
    return pid


def _become(request: dict[str, Any], stdio: Sequence[int], report: int) -> NoReturn:
    stage = "session"
    try:
        os.setsid()
        # Above the standard three, so that putting those in place overwrites none of them.
        sources = [_moved(fd) for fd in stdio]
        report = _moved(report)
        for target, source in enumerate(sources):
            os.dup2(source, target)
        if request["tty"]:
            _take_terminal()
        _restore_signals()
        os.umask(request["umask"])
        stage = "user"
        _become_user(request)
        stage = "directory"
        os.chdir(request["cwd"])
        stage = "program"
        _close_others(report)
        environment = request["env"]
        _first_found(request, lambda program, words: _execute(program, words, environment))
    except OSError as error:
        os.write(report, f"{stage} {error.errno or 0}".encode())
    except BaseException:  # noqa: BLE001 - the child must never return into the keeper's code
        os.write(report, f"{stage} 0".encode())
    os._exit(_FAILED)


def _moved(fd: int) -> int:
    """Return a copy of a descriptor that is none of the standard three."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LOWEST_FREE)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _DEFAULTED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _become_user(request: dict[str, Any]) -> None:
    account = request["account"]
    if account is None:
        return
    os.initgroups(account["name"], account["gid"])
    os.setgid(account["gid"])
    os.setuid(account["uid"])


def _close_others(report: int) -> None:
    os.closerange(_LOWEST_FREE, report)
    os.closerange(report + 1, _highest())


def _highest() -> int:
    try:
        return max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    except (OSError, ValueError):
        return _HIGHEST


def _execute(program: str, words: list[str], environment: dict[str, str]) -> int:
    os.execve(program, words, environment)  # noqa: S606 - what this file is for


def _first_found(request: dict[str, Any], begin: Callable[[str, list[str]], int]) -> int:
    """Begin the program; one without a slash is looked for in the command's own PATH."""
    argv = request["argv"]
    words = [argv[0] if request["arg0"] is None else request["arg0"], *argv[1:]]
    program = argv[0]
    if "/" in program:
        return begin(program, words)
    last: OSError = FileNotFoundError(2, os.strerror(2), program)
    for directory in os.get_exec_path(request["env"]):
        try:
            return begin(os.path.join(directory, program), words)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            last = error
    raise last


if sys.platform == "win32":
    raise ImportError("commands are kept on POSIX systems only")
