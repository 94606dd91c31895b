"""A real interactive shell on a pseudo-terminal, driven line by line."""

from __future__ import annotations

import os
import pty
import select
import shlex
import threading
import time
from collections.abc import Mapping
from pathlib import Path

_COMMANDS = {
    "bash": ["bash", "--noprofile", "--rcfile"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_WAIT_S = 30.0


class Terminal:
    """An interactive shell whose rc file is `rc`; `run` returns when the next prompt is due."""

    def __init__(self, shell: str, rc: str, directory: Path, environ: Mapping[str, str]) -> None:
        self.shell = shell
        self._files = directory / "terminal"
        self._files.mkdir()
        self._count = 0
        self.output = b""
        command = list(_COMMANDS[shell])
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._files),
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "PS1": "> ",
            **environ,
        }
        match shell:
            case "bash":
                rc_file = self._files / "bashrc"
                command.append(str(rc_file))
            case "zsh":
                rc_file = self._files / ".zshrc"
                env["ZDOTDIR"] = str(self._files)
                rc = "unsetopt zle prompt_cr prompt_sp global_rcs\n" + rc
            case _:
                rc_file = self._files / "rc.fish"
                command += ["-C", f"source {shlex.quote(str(rc_file))}"]
        rc_file.write_text(rc)
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], command, env)
        threading.Thread(target=self._drain, daemon=True).start()
        self.run("true")

    def run(self, line: str) -> None:
        """Type one line and wait until it was carried out."""
        self._count += 1
        done = self._files / f"done{self._count}"
        self._type(f"{line}\n")
        # Typed as a line of its own, it runs after the prompt at which the hook acts.
        self._type(f": > {done}\n")
        self._await(done, line)

    def exported(self) -> dict[str, str]:
        """Return the environment that a program started at the next prompt sees."""
        self.run("true")
        self._count += 1
        target = self._files / f"env{self._count}"
        self.run(f"env -0 > {target}")
        pairs = target.read_bytes().split(b"\0")[:-1]
        return dict(pair.decode().split("=", 1) for pair in pairs)

    def shown(self, expression: str) -> str:
        """Return what the shell makes of a double-quoted expression."""
        self._count += 1
        target = self._files / f"shown{self._count}"
        self.run(f'printf "%s" "{expression}" > {target}')
        return target.read_text()

    def close(self) -> None:
        """End the shell."""
        self._type("exit\nexit\n")
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                return
            select.select([], [], [], 0.01)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        raise AssertionError(f"{self.shell} did not end: {self.output[-2000:]!r}")

    def _type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _await(self, path: Path, what: str) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not path.exists():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.shell} hangs at {what!r}: {self.output[-2000:]!r}")
            select.select([], [], [], 0.002)

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            self.output = (self.output + data)[-65536:]
