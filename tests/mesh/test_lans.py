"""LANs with a cloud between them: who finds whom, who serves, and what happens when wires break.

Nothing here tells the machines of each other's place but what they hear on their LAN: the address
that each of them puts on record is one where nobody is.
"""

from __future__ import annotations

import threading

import pytest

from tests.mesh.machines import PORT, Machine, Mesh, all_linked
from tests.mesh.netns import Host
from tests.system.harness import CommandFailedError, eventually

NOWHERE = {"COVEY_SERVER_ADVERTISE": "192.0.2.1:13500"}


def cloud_at(host: Host) -> dict[str, str]:
    """Return the settings of a client of this cloud."""
    return {"COVEY_CLIENT_CLOUD_URL": f"https://{host.address}:{PORT}"}


def peer(machine: Machine, other: Machine) -> dict[str, str]:
    """Return what a machine tells of its connection to another."""
    found: dict[str, str] = next(p for p in machine.json("peers") if p["name"] == other.name)
    return found


def link_source(machine: Machine, other: Machine) -> str | None:
    """Return which source a connection came from, or None while there is none."""
    found = next((p for p in machine.json("peers") if p["name"] == other.name), None)
    return None if found is None else found["source"]


def holds(machine: Machine, upstream: str) -> None:
    """Wait until a machine holds on to this."""
    eventually(lambda: machine.upstream == upstream)


class Writer:
    """Writes variables, one after the other, and knows which were acknowledged."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.acknowledged: list[str] = []
        self._thread.start()

    def stop(self) -> list[str]:
        """Stop, and return the names that were acknowledged."""
        self._stop.set()
        self._thread.join(60)
        return self.acknowledged

    def _write(self) -> None:
        while not self._stop.is_set():
            name = f"{self._machine.name.upper()}_{len(self.acknowledged)}"
            try:
                self._machine.run("env", "set", f"{name}={name.lower()}")
            except CommandFailedError:
                continue
            self.acknowledged.append(name)


def names_on(machine: Machine) -> set[str]:
    """Return the names of all variables on a machine."""
    return {item["name"] for item in machine.json("env", "list", "--limit", "1000")}


def test_machines_find_each_other_on_two_lans_with_a_cloud_between(mesh: Mesh) -> None:
    lab = mesh.lab
    home, office = lab.lan("home"), lab.lan("office")
    sky = lab.host("cloud", lab.wide)
    cloud = mesh.found(sky)
    settings = {**cloud_at(sky), **NOWHERE}
    freya = mesh.take_in(cloud, lab.host("freya", home), **settings)
    frigg = mesh.take_in(cloud, lab.host("frigg", home), **settings)
    odin = mesh.take_in(cloud, lab.host("odin", office), **settings)
    all_linked(freya, frigg)
    assert "lan" in {link_source(freya, frigg), link_source(frigg, freya)}
    for machine in (freya, frigg, odin):
        holds(machine, "cloud: cloud")
    # The LANs do not reach each other: what passes between them passes through the cloud.
    assert peer(odin, freya)["state"] == peer(freya, odin)["state"] == "unreachable"
    odin.run("env", "set", "FROM_ODIN=far away")
    eventually(lambda: freya.value("FROM_ODIN") == "far away")
    seen = {item["name"]: item for item in freya.json("fleet", "discover")}
    assert "lan" in seen["frigg"]["sources"]
    assert "cloud" in seen["cloud"]["sources"]
    assert seen["frigg"]["standing"] == seen["cloud"]["standing"] == "member"
    found = peer(freya, frigg)
    assert found["route"] == "direct"
    assert found["round_trip_ms"] is not None
    status = freya.json("status", "--fleet")
    assert {item["name"] for item in status["fleet"]} == {"cloud", "frigg", "odin"}


def test_writes_go_on_through_the_death_of_the_cloud_and_none_is_lost(mesh: Mesh) -> None:
    lab = mesh.lab
    home = lab.lan("home")
    sky = lab.host("cloud", lab.wide)
    cloud = mesh.found(sky)
    settings = {**cloud_at(sky), **NOWHERE}
    freya = mesh.take_in(cloud, lab.host("freya", home), **settings)
    frigg = mesh.take_in(cloud, lab.host("frigg", home), **settings)
    all_linked(freya, frigg, cloud)
    writers = [Writer(freya), Writer(frigg)]
    try:
        eventually(lambda: all(len(writer.acknowledged) > 3 for writer in writers))
        cloud.kill()
        server = eventually(lambda: serving(freya, frigg))
        before = [len(writer.acknowledged) for writer in writers]
        eventually(
            lambda: all(
                len(writer.acknowledged) > count + 3
                for writer, count in zip(writers, before, strict=True)
            )
        )
        cloud.start()
        for machine in (freya, frigg):
            holds(machine, "cloud: cloud")
        assert server in {"freya", "frigg"}
    finally:
        written = {name for writer in writers for name in writer.stop()}
    for machine in (cloud, freya, frigg):
        eventually(lambda m=machine: written <= names_on(m))  # type: ignore[misc]
    assert names_on(cloud) == names_on(freya) == names_on(frigg)


def serving(*machines: Machine) -> str | None:
    """Return the LAN's server once all of these machines agree on it."""
    held = {machine.name: machine.upstream for machine in machines}
    servers = [name for name, upstream in held.items() if upstream == "serving"]
    if len(servers) != 1:
        return None
    others = [upstream for name, upstream in held.items() if name != servers[0]]
    return servers[0] if all(item == f"lan: {servers[0]}" for item in others) else None


def test_a_silent_cut_is_noticed_and_healed(mesh: Mesh) -> None:
    """No packet tells of a pulled plug: the other end just answers no more."""
    lab = mesh.lab
    home = lab.lan("home")
    sky = lab.host("cloud", lab.wide)
    cloud = mesh.found(sky)
    settings = {**cloud_at(sky), **NOWHERE}
    freya = mesh.take_in(cloud, lab.host("freya", home), **settings)
    frigg = mesh.take_in(cloud, lab.host("frigg", home), **settings)
    all_linked(freya, frigg, cloud)
    sky.cut()
    freya.run("env", "set", "WHILE_CUT=freya")
    eventually(lambda: frigg.value("WHILE_CUT") == "freya")
    eventually(lambda: serving(freya, frigg))
    # Until TCP itself would have waited for longer than a return to the cloud may take.
    eventually(lambda: peer(freya, cloud)["state"] == "unreachable")
    sky.heal()
    for machine in (freya, frigg):
        holds(machine, "cloud: cloud")
    eventually(lambda: cloud.value("WHILE_CUT") == "freya")


@pytest.mark.timeout(240)
def test_three_lans_each_settle_on_one_server_when_joined_and_split_too(mesh: Mesh) -> None:
    lab = mesh.lab
    lans = [lab.lan(name) for name in ("home", "office", "shed")]
    sky = lab.host("cloud", lab.wide)
    cloud = mesh.found(sky)
    settings = {**cloud_at(sky), **NOWHERE}
    machines = {
        lan.name: [
            mesh.take_in(cloud, lab.host(f"{lan.name}{n}", lan), **settings) for n in range(2)
        ]
        for lan in lans
    }
    for group in machines.values():
        all_linked(*group)
    cloud.stop()
    for group in machines.values():
        eventually(lambda g=group: serving(*g))  # type: ignore[misc]
    home, office = machines["home"], machines["office"]
    lab.join(lans[0], lans[1])
    both = [*home, *office]
    server = eventually(lambda: serving(*both), 60)
    assert server == min(both, key=lambda machine: machine.json("status")["node_id"]).name
    lab.split(lans[0])
    for group in machines.values():
        eventually(lambda g=group: serving(*g), 60)  # type: ignore[misc]
    cloud.start()
    for group in machines.values():
        for machine in group:
            holds(machine, "cloud: cloud")


def test_several_that_start_at_once_settle_by_their_modes(mesh: Mesh) -> None:
    lab = mesh.lab
    home = lab.lan("home")
    first = mesh.found(lab.host("freya", home))
    others = [
        mesh.take_in(first, lab.host(name, home), **settings)
        for name, settings in (
            ("frigg", {"COVEY_SERVER_MODE": "client-only"}),
            ("loki", {"COVEY_SERVER_MODE": "server-preferred"}),
            ("odin", {}),
        )
    ]
    machines = [first, *others]
    for machine in machines:
        machine.kill()
    starts = [threading.Thread(target=machine.start) for machine in machines]
    for start in starts:
        start.start()
    for start in starts:
        start.join(60)
    assert eventually(lambda: serving(*machines), 60) == "loki"
    others[1].kill()
    left = [machine for machine in machines if machine.name != "loki"]
    able = [machine for machine in left if machine.name != "frigg"]
    expected = min(able, key=lambda machine: machine.json("status")["node_id"]).name
    assert eventually(lambda: serving(*left), 60) == expected


def test_a_machine_that_moves_is_found_where_it_is_now(mesh: Mesh) -> None:
    lab = mesh.lab
    home, office = lab.lan("home"), lab.lan("office")
    sky = lab.host("cloud", lab.wide)
    cloud = mesh.found(sky)
    freya = mesh.take_in(cloud, lab.host("freya", home), **cloud_at(sky))
    odin = mesh.take_in(cloud, lab.host("odin", office), **cloud_at(sky))
    laptop = mesh.take_in(cloud, lab.host("laptop", home), **cloud_at(sky))
    all_linked(freya, laptop)
    place = laptop.host
    assert place is not None
    before = place.address
    place.move(office)
    eventually(lambda: link_source(odin, laptop) is not None, 60)
    holds(laptop, "cloud: cloud")

    def recorded() -> bool:
        node = cloud.json("fleet", "show", "laptop")["node"]
        hosts = [address.rpartition(":")[0] for address in node["addresses"]]
        return place.address in hosts and before not in hosts

    eventually(recorded, 60)
    laptop.run("env", "set", "MOVED=yes")
    eventually(lambda: odin.value("MOVED") == "yes")
    eventually(lambda: freya.value("MOVED") == "yes")


def test_a_bad_line_is_slow_and_loses_nothing(mesh: Mesh) -> None:
    lab = mesh.lab
    home = lab.lan("home")
    freya = mesh.found(lab.host("freya", home))
    far = lab.host("frigg", home, loss=0.05, delay_s=0.04)
    frigg = mesh.take_in(freya, far)
    all_linked(freya, frigg)
    names = [f"NAME_{number}" for number in range(30)]
    for name in names:
        freya.run("env", "set", f"{name}={name * 20}")
    eventually(lambda: set(names) <= names_on(frigg), 60)
    assert far.wire is not None
    assert far.wire.lost > 0
    measured = eventually(lambda: peer(frigg, freya)["round_trip_ms"])
    assert float(measured) >= 80


def test_members_find_each_other_over_ipv6_alone(mesh: Mesh) -> None:
    lab = mesh.lab
    home = lab.lan("home")
    places = [lab.host(name, home) for name in ("freya", "frigg")]
    freya = mesh.found(places[0])
    frigg = mesh.take_in(freya, places[1])
    all_linked(freya, frigg)
    for machine in (freya, frigg):
        machine.stop()
    for place in places:
        place.drop_ipv4()
    for machine in (freya, frigg):
        machine.start()
    all_linked(freya, frigg)
    assert ":" in peer(freya, frigg)["address"].rpartition(":")[0]
