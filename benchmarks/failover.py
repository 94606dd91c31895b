"""From the loss of the cloud to the first write that a peer on the LAN sees, and back again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count

from benchmarks.local_api import LocalApi
from benchmarks.measure import median
from benchmarks.report import Row, main
from tests.mesh.machines import PORT, Machine, Mesh, all_linked, new_mesh
from tests.mesh.netns import Host

ROUNDS = 5
CALM_S = 1.5
OUTAGES_S = (3.0, 12.0)
DEADLINE_S = 60.0
LOOK_EVERY_S = 0.005
WRITE_EVERY_S = 0.05
ELSEWHERE = "192.0.2.1:13500"
"""The address that the clients put on record, where nobody is: what they hear must do."""
UNLIMITED = {"COVEY_API_RATE_LIMIT_PER_MINUTE": "10000000"}


class Writer:
    """Writes variables on one node until it is stopped, and knows which were acknowledged."""

    def __init__(self, node: Machine) -> None:
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.acknowledged: list[str] = []
        self._thread.start()

    def stop(self) -> list[str]:
        """Stop, and return the names that were acknowledged."""
        self._stop.set()
        self._thread.join(DEADLINE_S)
        return self.acknowledged

    def _write(self) -> None:
        with closing(LocalApi(self._node)) as api:
            for number in count():
                name = f"{self._node.name}_{number}".upper()
                status, _ = api.call("PUT", f"/api/v1/env/{name}", {"value": name})
                if status == 200:
                    self.acknowledged.append(name)
                if self._stop.wait(WRITE_EVERY_S):
                    return


def wait_until(probe: Callable[[], bool], what: str) -> None:
    """Wait until something is so, looking often."""
    until = time.monotonic() + DEADLINE_S
    while not probe():
        if time.monotonic() > until:
            raise TimeoutError(f"not so after {DEADLINE_S:.0f} s: {what}")
        time.sleep(LOOK_EVERY_S)


def holds(api: LocalApi, name: str) -> bool:
    """Whether a node answers with a variable."""
    return api.call("GET", f"/api/v1/env/{name}")[0] == 200


def on_the_cloud(api: LocalApi) -> bool:
    """Whether the cloud is what a node holds on to."""
    return str(api.call("GET", "/api/v1/node")[1]["upstream"]) == "cloud: cloud"


class Outages:
    """A cloud that comes and goes, and two of its clients on one LAN."""

    def __init__(self, mesh: Mesh) -> None:
        home = mesh.lab.lan("home")
        self.sky: Host = mesh.lab.host("cloud", mesh.lab.wide)
        self.cloud = mesh.found(self.sky, **UNLIMITED)
        settings = {
            "COVEY_CLIENT_CLOUD_URL": f"https://{self.sky.address}:{PORT}",
            "COVEY_SERVER_ADVERTISE": ELSEWHERE,
            **UNLIMITED,
        }
        self.clients = [
            mesh.take_in(self.cloud, mesh.lab.host(name, home), **settings)
            for name in ("freya", "frigg")
        ]
        all_linked(*self.clients, self.cloud)

    def once(self, name: str, outage_s: float, *, cut: bool) -> tuple[float, float]:
        """Take the cloud away and bring it back; return the seconds of failover and failback."""
        freya, frigg = (LocalApi(client) for client in self.clients)
        with closing(freya), closing(frigg):
            wait_until(lambda: on_the_cloud(freya) and on_the_cloud(frigg), "on the cloud")
            time.sleep(CALM_S)
            began = time.monotonic()
            self._lose(cut=cut)
            status, answer = freya.call("PUT", f"/api/v1/env/{name}", {"value": "x"})
            if status != 200:
                raise RuntimeError(f"the write was refused: {answer}")
            wait_until(lambda: holds(frigg, name), "the peer sees the write")
            failover = time.monotonic() - began
            wait_until(
                lambda: not on_the_cloud(freya) and not on_the_cloud(frigg), "a LAN server serves"
            )
            time.sleep(outage_s)
            self._restore(cut=cut)
            began = time.monotonic()
            with closing(LocalApi(self.cloud)) as cloud:
                wait_until(lambda: holds(cloud, name), "the cloud has the write")
            wait_until(lambda: on_the_cloud(freya) and on_the_cloud(frigg), "on the cloud again")
            return failover, time.monotonic() - began

    def missing(self, names: list[str]) -> int:
        """Count the variables that one of the three does not have in the end."""
        lost = set(names)
        until = time.monotonic() + DEADLINE_S
        while lost and time.monotonic() < until:
            for node in (self.cloud, *self.clients):
                with closing(LocalApi(node)) as api:
                    lost = {name for name in names if not holds(api, name)}
                if lost:
                    break
        return len(lost)

    def _lose(self, *, cut: bool) -> None:
        if cut:
            self.sky.cut()
        else:
            self.cloud.kill()

    def _restore(self, *, cut: bool) -> None:
        if cut:
            self.sky.heal()
        else:
            self.cloud.start()


def run() -> list[Row]:
    """Cut the cloud off and kill it in turn, while both clients write."""
    times: dict[str, list[tuple[float, float]]] = {"cut off": [], "killed": []}
    with new_mesh() as mesh:
        outages = Outages(mesh)
        writers = [Writer(client) for client in outages.clients]
        for number in range(ROUNDS):
            for how, found in times.items():
                name = f"OUTAGE_{how}_{number}".upper().replace(" ", "_")
                outage_s = OUTAGES_S[number % len(OUTAGES_S)]
                found.append(outages.once(name, outage_s, cut=how == "cut off"))
        acknowledged = [name for writer in writers for name in writer.stop()]
        lost = outages.missing(acknowledged)
    rows = []
    for how, found in times.items():
        failovers, failbacks = zip(*found, strict=True)
        rows += [
            Row(
                f"cloud {how}: first write at a LAN peer", median(failovers), "s", 3, _of(failovers)
            ),
            Row(f"cloud {how}: failback", median(failbacks), "s", 5, _of(failbacks)),
        ]
    made = f"of {len(acknowledged):,} that both clients made meanwhile"
    return [*rows, Row("acknowledged writes lost", lost, "", 0, made)]


def _of(samples: tuple[float, ...]) -> str:
    return (
        f"median of {len(samples)}, worst {max(samples):.2f} s; two LAN clients, network namespaces"
    )


if __name__ == "__main__":
    raise SystemExit(main("failover", run))
