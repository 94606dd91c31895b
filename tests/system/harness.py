"""Real nodes on one machine, each with a home of its own and the installed `covey` command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from covey.engines.caddy.process import find_all
from tests.ports import free_port

T = TypeVar("T")
COVEY = str(Path(sys.executable).with_name("covey"))
DEADLINE_S = 30.0


class CommandFailedError(AssertionError):
    """A `covey` command ended with another status than expected."""


def eventually(probe: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """Return the first truthy result of `probe`; fails with its last one after the deadline."""
    until = time.monotonic() + deadline_s
    found = probe()
    while not found:
        if time.monotonic() > until:
            raise AssertionError(f"still not so after {deadline_s} s: {found!r}")
        time.sleep(0.02)
        found = probe()
    return found


@dataclass
class Node:
    """One home and, while it runs, its daemon."""

    home: Path
    name: str
    port: int
    process: subprocess.Popen[str] | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this node's commands: nothing of the tester's own fleet."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("COVEY_")}
        return {
            **clean,
            "COVEY_HOME": str(self.home),
            "COVEY_SERVER_LISTEN": f"127.0.0.1:{self.port}",
            "NO_COLOR": "1",
            **self.settings,
        }

    @property
    def command(self) -> tuple[str, ...]:
        """The words that run `covey` as this node's user."""
        return (COVEY,)

    @property
    def daemon_command(self) -> tuple[str, ...]:
        """The words that run its daemon."""
        return (*self.command, "up")

    @property
    def key_file(self) -> Path:
        """The key file that unlocks it unattended."""
        return self.home.parent / f"{self.name}.key"

    def run(
        self, *arguments: str, stdin: str = "", expect: int | None = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `covey ARGUMENTS` against this home."""
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if expect is not None and done.returncode != expect:
            raise CommandFailedError(
                f"covey {' '.join(arguments)} ended with {done.returncode}, not {expect}:\n"
                f"{done.stdout}\n{done.stderr}"
            )
        return done

    def out(self, *arguments: str, stdin: str = "") -> str:
        """Return what a command prints, without the last newline."""
        return self.run(*arguments, stdin=stdin).stdout.removesuffix("\n")

    def json(self, *arguments: str) -> Any:
        """Return what a command prints with `--json`."""
        return json.loads(self.out(*arguments, "--json"))

    def init(self) -> str:
        """Make a new fleet, unlocked by a key file; returns what was printed."""
        return self.out("init", "--name", self.name, "--key-file", str(self.key_file))

    def join(self, token: str) -> None:
        """Join the fleet of `token`."""
        self.run("join", token, "--name", self.name, "--key-file", str(self.key_file))

    def start(self, *, expect_state: str = "ready") -> None:
        """Start the daemon and wait until it serves."""
        log = (self.home.parent / f"{self.name}.out").open("a")
        self.process = subprocess.Popen(
            self.daemon_command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        log.close()
        eventually(lambda: self._answers(expect_state))

    def stop(self) -> int:
        """Stop the daemon as a service manager does; returns its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(15)
        self.process = None
        return status

    def kill(self) -> None:
        """End the daemon as a power cut does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(15)
        self.process = None

    @property
    def address(self) -> str:
        """Where its peer port listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What the daemon printed so far."""
        return (self.home.parent / f"{self.name}.out").read_text()

    def _answers(self, state: str) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon of {self.name} has ended:\n{self.output}")
        done = self.run("status", "--json", expect=None)
        return done.returncode == 0 and json.loads(done.stdout)["state"] == state


class Fleet:
    """Nodes under one temporary directory, all ended at the close."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: list[Node] = []

    def node(self, name: str, **settings: str) -> Node:
        """Return a fresh node that is neither made nor started."""
        made = Node(self.directory / name, name, free_port(), settings=settings)
        self.nodes.append(made)
        return made

    def founder(self, name: str, **settings: str) -> Node:
        """Return a running node with a fleet of its own."""
        made = self.node(name, **settings)
        made.init()
        made.start()
        return made

    def member(self, host: Node, name: str, *invite: str, **settings: str) -> Node:
        """Return a running node that joined the fleet of `host`."""
        made = self.node(name, **settings)
        made.join(host.out("invite", *invite))
        made.start()
        return made

    def close(self) -> None:
        """End every daemon that is still up, and the proxies that outlast theirs."""
        for node in self.nodes:
            if node.process is not None:
                node.kill()
            for proxy in find_all(node.home / "data" / "caddy"):
                os.kill(proxy.pid, signal.SIGKILL)


@contextmanager
def new_fleet() -> Iterator[Fleet]:
    """Give a fleet under a short path, as Unix sockets want, and clean up after it."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="covey-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        fleet = Fleet(directory)
        stack.callback(fleet.close)
        yield fleet


def shell(command: Sequence[str], env: dict[str, str], stdin: str = "") -> str:
    """Run a program and return its output."""
    return subprocess.run(
        command, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=True
    ).stdout
