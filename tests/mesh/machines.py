"""Covey nodes on the machines of a laboratory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mesh.netns import Host, Lab
from tests.system.harness import COVEY, Node, eventually

PORT = 13500


@dataclass
class Machine(Node):
    """A node whose commands run in a machine's namespace."""

    host: Host | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The words that run `covey` there."""
        assert self.host is not None
        return (*self.host.inside, COVEY)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands: it listens on all addresses."""
        return {**super().environment, "COVEY_SERVER_LISTEN": f"[::]:{PORT}", **self.settings}

    @property
    def upstream(self) -> str:
        """What it holds on to."""
        return str(self.json("status")["upstream"])

    def linked(self, *others: Machine) -> bool:
        """Whether it has an open session with each of the others."""
        states = {peer["name"]: peer["state"] for peer in self.json("peers")}
        return all(states.get(other.name) in {"level", "syncing"} for other in others)

    def value(self, name: str) -> str | None:
        """Return a variable as this node sees it, or None where there is none."""
        done = self.run("env", "get", name, expect=None)
        return done.stdout.removesuffix("\n") if done.returncode == 0 else None


class Mesh:
    """A laboratory with a fleet in it."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self._directory = directory
        self.machines: list[Machine] = []

    def machine(self, host: Host, **settings: str) -> Machine:
        """Return a machine that is neither in a fleet nor started."""
        made = Machine(self._directory / host.name, host.name, PORT, settings=settings, host=host)
        self.machines.append(made)
        return made

    def found(self, host: Host, **settings: str) -> Machine:
        """Return a running machine with a fleet of its own."""
        made = self.machine(host, **settings)
        made.init()
        made.start()
        return made

    def take_in(self, helper: Machine, host: Host, *invite: str, **settings: str) -> Machine:
        """Return a running machine that joined the fleet of `helper`."""
        made = self.machine(host, **settings)
        made.join(helper.out("invite", *invite))
        made.start()
        return made

    def close(self) -> None:
        """End every daemon."""
        for machine in self.machines:
            if machine.process is not None:
                machine.kill()


@contextmanager
def new_mesh() -> Iterator[Mesh]:
    """Give a laboratory and an empty fleet, and clean up both."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        directory = Path(tempfile.mkdtemp(prefix="covey-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        mesh = Mesh(lab, directory)
        stack.callback(mesh.close)
        yield mesh


def all_linked(*machines: Machine) -> None:
    """Wait until each has a session with each of the others."""
    for machine in machines:
        others = [item for item in machines if item is not machine]
        eventually(lambda m=machine, o=others: m.linked(*o))  # type: ignore[misc]
