"""Nobody but members is talked to, whatever is announced on the LAN."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engines.fake_tailscaled import machine, status, tailscaled
from tests.mesh.machines import PORT, Machine, Mesh, all_linked
from tests.mesh.netns import Host
from tests.surfaces.http.certificates import issue
from tests.system.harness import eventually

NOWHERE = {"COVEY_SERVER_ADVERTISE": "192.0.2.1:13500"}
ANNOUNCER = Path(__file__).with_name("announcer.py")
SERVER = Path(__file__).with_name("tls_server.py")


@contextmanager
def announced(host: Host, name: str, **properties: str) -> Iterator[None]:
    """Announce a Covey node at a host, as whoever is on the LAN may."""
    words = [f"{key}={value}" for key, value in properties.items()]
    running = subprocess.Popen(
        [*host.inside, sys.executable, str(ANNOUNCER), name, host.address, str(PORT), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stdin is not None
    try:
        assert running.stdout.readline() == b"announced\n"
        yield
    finally:
        running.stdin.close()
        running.wait(15)
        running.stdout.close()


@contextmanager
def listening(host: Host, certificate: Path) -> Iterator[list[bytes]]:
    """Serve TLS at a host with some certificate, and keep what callers say inside of it."""
    running = subprocess.Popen(
        [*host.inside, sys.executable, str(SERVER), host.address, str(PORT), str(certificate)],
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    heard: list[bytes] = []
    out = running.stdout
    reader = threading.Thread(target=lambda: heard.extend(iter(out.readline, b"")))
    assert out.readline() == b"listening\n"
    reader.start()
    try:
        yield heard
    finally:
        running.terminate()
        running.wait(15)
        reader.join(5)
        out.close()


def discovered(machine: Machine) -> dict[str, dict[str, object]]:
    """Return who is around, by name."""
    return {item["name"]: item for item in machine.json("fleet", "discover")}


def test_an_impostor_on_the_lan_gets_nothing_and_learns_nothing(mesh: Mesh, tmp_path: Path) -> None:
    """It repeats a genuine announcement and serves with a certificate of its own."""
    lab = mesh.lab
    home = lab.lan("home")
    freya = mesh.found(lab.host("freya", home))
    frigg = mesh.take_in(freya, lab.host("frigg", home))
    all_linked(freya, frigg)
    thief = lab.host("thief", home)
    certificate = issue(tmp_path, "thief")
    record = txt_of(thief, "frigg")
    frigg.stop()
    freya.run("env", "set", "KEPT=secret")
    with listening(thief, certificate.pem) as heard, announced(thief, "frigg-thief", **record):
        eventually(lambda: any(thief.address in str(m) for m in discovered(freya).values()))
        # It is dialled, since the announcement looks like frigg's, and fails in the handshake.
        eventually(lambda: b"refused\n" in heard)
        assert freya.json("status")["peers_connected"] == 0
        frigg.start()
        eventually(lambda: frigg.value("KEPT") == "secret")
    assert set(heard) == {b"refused\n"}


def txt_of(host: Host, name: str) -> dict[str, str]:
    """Listen on the LAN for what a machine announces, as anybody there can."""
    words = [*host.inside, sys.executable, str(ANNOUNCER), "--listen", name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_an_announcement_tells_strangers_nothing(mesh: Mesh) -> None:
    home = mesh.lab.lan("home")
    freya = mesh.found(mesh.lab.host("freya", home))
    listener = mesh.lab.host("listener", home)
    record = txt_of(listener, "freya")
    found = freya.json("status")
    assert set(record) == {"v", "t", "m", "x"}
    assert found["node_id"][:8] not in str(record)
    assert found["fleet_id"][:8] not in str(record)


def test_another_fleet_on_the_lan_is_shown_and_left_alone(mesh: Mesh) -> None:
    home = mesh.lab.lan("home")
    freya = mesh.found(mesh.lab.host("freya", home))
    stranger = mesh.found(mesh.lab.host("stranger", home))
    assert stranger.host is not None

    def shown() -> dict[str, object] | None:
        return next(
            (item for name, item in discovered(freya).items() if name.startswith("stranger")), None
        )

    found = eventually(shown)
    assert found["standing"] == "stranger"
    assert found["sources"] == ["lan"]
    assert f"{stranger.host.address}:{PORT}" in str(found["addresses"])
    assert "covey invite" in str(found["hint"])
    assert freya.json("status")["peers_connected"] == 0
    assert all(stranger.host.address not in str(route) for route in freya.json("peers"))
    assert found["problem"] is None


def test_without_the_shared_secret_a_certificate_is_not_enough(mesh: Mesh, tmp_path: Path) -> None:
    lab = mesh.lab
    home = lab.lan("home")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for path in (right, wrong):
        path.write_text(os.urandom(32).hex())
    freya = mesh.found(lab.host("freya", home), COVEY_FLEET_SHARED_SECRET_FILE=str(right))
    frigg = mesh.take_in(freya, lab.host("frigg", home))
    odin = mesh.take_in(freya, lab.host("odin", home), COVEY_FLEET_SHARED_SECRET_FILE=str(wrong))
    loki = mesh.take_in(freya, lab.host("loki", home), COVEY_FLEET_SHARED_SECRET_FILE=str(right))
    all_linked(freya, loki)
    for refused in (frigg, odin):
        eventually(lambda m=refused: problem_with(m, freya))  # type: ignore[misc]
    assert freya.json("status")["peers_connected"] == 1
    odin.stop()
    odin.settings["COVEY_FLEET_SHARED_SECRET_FILE"] = str(right)
    odin.start()
    all_linked(freya, loki, odin)


def problem_with(machine: Machine, other: Machine) -> str | None:
    """Return why the addresses of another machine do not answer."""
    assert other.host is not None
    at = f"{other.host.address}:{PORT}"
    found = [item for item in machine.json("fleet", "discover") if at in item["addresses"]]
    return next((item["problem"] for item in found if item["problem"]), None)


def test_the_tailnet_shows_members_by_their_addresses_and_others_as_unknown(
    mesh: Mesh, tmp_path: Path
) -> None:
    """Here a plain LAN plays the tailnet: what is tested is what Tailscale is asked and told of."""
    lab = mesh.lab
    home = lab.lan("home")
    cloud = mesh.found(lab.host("cloud", lab.wide))
    freya = mesh.take_in(cloud, lab.host("freya", home), **NOWHERE)
    place = lab.host("frigg", home)
    other = lab.host("printer", home)
    assert freya.host is not None
    path = tmp_path / "tailscaled.sock"
    me = machine("nFrigg", "frigg", place.address)
    peers = [
        machine("nFreya", "freya-in-the-tailnet", freya.host.address),
        machine("nPrinter", "printer", other.address),
        machine("nShared", "shared", "100.64.0.9", ShareeNode=True),
    ]
    with tailscaled(path, status(me, *peers)):
        frigg = mesh.machine(
            place,
            **NOWHERE,
            COVEY_DISCOVERY_MDNS="false",
            COVEY_DISCOVERY_TAILSCALE_SOCKET=str(path),
        )
        frigg.join(cloud.out("invite"))
        # Freya's record names an address where nobody is: the tailnet alone leads there.
        frigg.start()
        eventually(lambda: frigg.linked(freya))
        found = discovered(frigg)
        assert "tailscale" in str(found["freya"]["sources"])
        assert found["printer"]["standing"] == "unknown"
        assert "shared" not in found
        details = eventually(
            lambda: [d for d in [freya.json("fleet", "show", "frigg")] if d["tailscale"]]
        )
        assert details[0]["tailscale"] == "frigg.tail1234.ts.net"


def test_an_added_address_is_dialled_now_and_after_a_restart(mesh: Mesh) -> None:
    lab = mesh.lab
    home = lab.lan("home")
    alone = {"COVEY_DISCOVERY_MDNS": "false"}
    freya = mesh.found(lab.host("freya", home), **alone)
    frigg = mesh.take_in(freya, lab.host("frigg", home), **alone)
    odin = mesh.take_in(freya, lab.host("odin", home), **alone)
    assert frigg.host is not None
    added = odin.json("fleet", "add", frigg.host.address)
    assert added["connected"]
    all_linked(frigg, odin)
    odin.stop()
    odin.start()
    all_linked(frigg, odin)
    assert odin.json("fleet", "add", "10.213.1.250")["problem"]
    odin.run("fleet", "forget", "10.213.1.250", "--yes")
    odin.run("fleet", "forget", "10.213.1.250", "--yes", expect=3)
    odin.run("fleet", "add", "not an address", expect=2)
