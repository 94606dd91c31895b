"""A tour: every promise of the mesh, one after the other, on one fleet that stays up.

    home 10.213.1.0/24          the wide area          office 10.213.2.0/24
    freya, frigg  ──────────────── sky ────────────────── odin

The LANs reach sky, and not each other. Everything is asked on freya, the laptop.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import covey
from tests.mesh.machines import PORT, Machine, Mesh, all_linked, new_mesh
from tests.surfaces.cli.keyboard import keyboard
from tests.system.harness import eventually
from tests.system.sshd import ssh_server
from tests.system.test_exec import SCREEN, marker, running

RELAYED_AND_DIRECT = ("frigg", "odin")


class Tour:
    """Four machines, and a directory that stands for the disks of all of them."""

    def __init__(self, mesh: Mesh, files: Path) -> None:
        lab = mesh.lab
        home, office = lab.lan("home"), lab.lan("office")
        sky = lab.host("sky", lab.wide)
        self.files = files
        roots = {"COVEY_FILES_ROOTS": str(files), "COVEY_EXEC_RECORD": "always"}
        self.sky = mesh.found(sky, **roots)
        cloud = {"COVEY_CLIENT_CLOUD_URL": f"https://{sky.address}:{PORT}", **roots}
        self.freya, self.frigg, self.odin = (
            mesh.take_in(self.sky, lab.host(name, lan), "--role", "admin", **cloud)
            for name, lan in (("freya", home), ("frigg", home), ("odin", office))
        )
        all_linked(self.freya, self.frigg, self.sky)
        for name in ("sky", "frigg", "odin"):
            eventually(lambda name=name: self._reaches(name))  # type: ignore[misc]

    def _reaches(self, name: str) -> bool:
        return self.freya.run("exec", "-H", name, "--", "true", expect=None).returncode == 0

    def bytes(
        self, *words: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `covey WORDS` on freya with bytes as input and output."""
        return subprocess.run(
            [*self.freya.command, *words],
            input=stdin,
            env=self.freya.environment | environment,
            capture_output=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def tour() -> Iterator[Tour]:
    with new_mesh() as mesh, tempfile.TemporaryDirectory(prefix="covey-files-") as files:
        yield Tour(mesh, Path(files))


@pytest.fixture
def freya(tour: Tour) -> Machine:
    return tour.freya


@pytest.fixture
def files(tour: Tour, request: pytest.FixtureRequest) -> Path:
    made = tour.files / re.sub(r"\W", "-", request.node.name)
    made.mkdir()
    return made


def by_name(found: list[dict[str, Any]], key: str = "name") -> dict[str, dict[str, Any]]:
    return {item[key]: item for item in found}


def test_machines_find_each_other_and_know_how_they_are_connected(freya: Machine) -> None:
    around = by_name(freya.json("fleet", "discover"))
    assert "lan" in around["frigg"]["sources"]
    assert "cloud" in around["sky"]["sources"]
    peers = by_name(freya.json("peers"))
    assert (peers["frigg"]["route"], peers["sky"]["route"]) == ("direct", "direct")
    assert peers["odin"]["route"] == "relayed"
    for name in ("frigg", "sky"):
        assert peers[name]["round_trip_ms"] is not None
        assert peers[name]["last_seen_at"] is not None
    status = freya.json("status", "--fleet")
    assert status["upstream"] == "cloud: sky"
    assert {item["name"] for item in status["fleet"]} == {"frigg", "odin", "sky"}


def test_a_machines_record_keeps_itself_up_to_date(freya: Machine) -> None:
    record = freya.json("fleet", "show", "frigg")
    told = str(record)
    for fact in ("10.213.1.", "Linux", version("covey")):
        assert fact in told


@pytest.mark.parametrize("host", RELAYED_AND_DIRECT)
def test_any_operation_works_on_any_machine(freya: Machine, host: str) -> None:
    freya.run("env", "set", f"FOR_{host.upper()}=hello")
    eventually(lambda: f"FOR_{host.upper()}" in freya.out("env", "list", "-H", host))
    assert freya.json("status", "-H", host)["name"] == host


def test_all_machines_and_those_with_a_tag_answer_side_by_side(freya: Machine) -> None:
    everyone = by_name(freya.json("status", "--all"), "host")
    assert {host: item["value"]["name"] for host, item in everyone.items()} == {
        name: name for name in ("freya", "frigg", "odin", "sky")
    }
    freya.run("fleet", "set-field", "odin", "tags", "storage")
    tagged = by_name(freya.json("status", "--tag", "storage"), "host")
    assert {host: item["route"] for host, item in tagged.items()} == {"odin": "relayed"}
    printed = freya.out("exec", "--all", "--", "uname", "-s")
    assert sorted(printed.splitlines()) == [
        f"{name}: Linux" for name in ("freya", "frigg", "odin", "sky")
    ]
    one_fails = freya.run("exec", "--all", "--", "sh", "-c", "test -e /nowhere", expect=None)
    assert one_fails.returncode != 0


def test_a_viewers_token_may_look_and_not_run(tour: Tour, files: Path) -> None:
    freya = tour.freya
    token = freya.json("token", "create", "onlooker", "--role", "viewer")["token"]
    authority = files / "fleet.pem"
    authority.write_text(freya.out("fleet", "authority"))
    remote = {
        "COVEY_TOKEN": token,
        "COVEY_CA_FILE": str(authority),
        "COVEY_URL": f"https://127.0.0.1:{PORT}",
    }
    assert tour.bytes("status", "-H", "odin", **remote).returncode == 0
    for host in ("freya", "frigg", "odin", "sky"):
        done = tour.bytes("exec", "-H", host, "--", "true", **remote)
        assert (done.returncode, done.stdout) == (4, b""), done.stderr
    for machine in (tour.freya, tour.frigg, tour.odin, tour.sky):
        trail = machine.json("audit", "--operation", "exec.run")
        (kept,) = [item for item in trail if "onlooker" in item["caller"]][:1]
        assert kept["outcome"] == "refused"


@pytest.mark.parametrize("host", RELAYED_AND_DIRECT)
def test_a_command_is_as_if_it_ran_here(tour: Tour, host: str) -> None:
    line = 'printf "%s|" "$@"; cat; echo oops >&2; exit 7'
    words = ["sh", "-c", line, "-", "a b", "$HOME", ""]
    data = os.urandom(1_000_000)
    done = tour.bytes("exec", "-H", host, "--", *words, stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a b|$HOME||" + data, b"oops\n")
    shown = tour.bytes("exec", "-H", host, "--cwd", "/", "--shell", "echo $((6 * 7)) in $PWD")
    assert shown.stdout == b"42 in /\n"
    late = tour.bytes("exec", "-H", host, "--timeout", "0.2", "--", "sleep", "60")
    assert late.returncode == 124
    killed = tour.bytes("exec", "-H", host, "--", "sh", "-c", "kill -KILL $$")
    assert killed.returncode == 128 + signal.SIGKILL


def test_a_variable_of_the_fleet_is_given_by_its_name(tour: Tour) -> None:
    tour.freya.run("env", "set", "GREETING=hello")
    eventually(lambda: tour.odin.value("GREETING") == "hello")
    done = tour.bytes("exec", "-H", "odin", "-e", "GREETING", "--shell", "echo $GREETING")
    assert done.stdout == b"hello\n"


@pytest.mark.parametrize("host", RELAYED_AND_DIRECT)
def test_interrupting_ends_the_whole_tree_over_there(tour: Tour, host: str) -> None:
    mark = marker()
    line = f"sleep {mark} & setsid sleep {mark} & echo up; wait"
    command = [*tour.freya.command, "exec", "-H", host, "--", "sh", "-c", line]
    with subprocess.Popen(command, env=tour.freya.environment, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        assert eventually(lambda: len(running(mark)) == 2)
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 128 + signal.SIGINT
    eventually(lambda: not running(mark))


def test_a_detached_command_is_followed_from_anywhere(tour: Tour) -> None:
    line = "echo one; read word; echo got $word; exit 4"
    words = ["exec", "start", "-H", "odin", "--keep-input", "--json", "--", "sh", "-c", line]
    identifier = json.loads(tour.freya.out(*words))["id"]
    assert tour.freya.json("exec", "list", "-H", "odin")[0]["id"] == identifier
    attached = tour.bytes("exec", "attach", "-H", "odin", identifier, stdin=b"it\n")
    assert (attached.returncode, attached.stdout) == (4, b"one\ngot it\n")
    assert tour.freya.out("exec", "logs", "-H", "odin", identifier) == "one\ngot it"
    mark = marker()
    other = tour.freya.out("exec", "-H", "odin", "--detach", "--", "sleep", mark).split()[0]
    tour.freya.run("exec", "kill", "-H", "odin", "-y", other)
    eventually(lambda: not running(mark))


@pytest.mark.parametrize("host", RELAYED_AND_DIRECT)
def test_a_shell_carries_a_full_screen_program(tour: Tour, host: str) -> None:
    command = [*tour.freya.command, "shell", host]
    with keyboard(command, tour.freya.environment | {"TERM": "xterm"}) as typed:
        program = tour.files / "screen.py"
        program.write_text(SCREEN)
        typed.type(f"{sys.executable} {program}; exit 5\n")
        typed.wait_for("80 by 24")
        typed.resize(30, 100)
        typed.wait_for("100 by 30")
        typed.type("q")
        assert typed.ended() == 5


def test_what_was_run_is_recorded_and_played_again(freya: Machine) -> None:
    freya.run("exec", "-H", "odin", "--", "echo", "for the record")
    made = freya.json("audit", "recordings", "-H", "odin")[0]["id"]
    assert "for the record" in freya.out("audit", "play", made, "-H", "odin")


def test_files_go_anywhere(freya: Machine, files: Path) -> None:
    tree = files / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "data").write_bytes(os.urandom(3_000_000))
    (tree / "deep" / "data").chmod(0o640)
    (tree / "link").symlink_to("deep/data")
    freya.run("cp", str(tree), f"frigg:{files}/there")
    freya.run("cp", f"frigg:{files}/there", f"odin:{files}/further")
    freya.run("cp", f"odin:{files}/further", str(files / "back"))
    back = files / "back" / "deep" / "data"
    assert back.read_bytes() == (tree / "deep" / "data").read_bytes()
    assert back.stat().st_mode & 0o777 == 0o640
    assert (files / "back" / "link").readlink() == Path("deep/data")


def test_directories_are_kept_alike_and_deletion_is_asked_for(freya: Machine, files: Path) -> None:
    source, copy = files / "source", files / "copy"
    source.mkdir()
    (source / "kept").write_text("kept")
    freya.run("sync-dir", str(source), f"odin:{copy}")
    (copy / "extra").write_text("extra")
    freya.run("sync-dir", str(source), f"odin:{copy}")
    assert (copy / "extra").exists()
    freya.run("sync-dir", str(source), f"odin:{copy}", "--delete")
    assert [path.name for path in copy.iterdir()] == ["kept"]


def test_files_are_looked_at_within_the_roots_alone(freya: Machine, files: Path) -> None:
    (files / "note").write_text("a note\n")
    (files / "out").symlink_to("/etc")
    assert "note" in freya.out("files", "ls", f"odin:{files}")
    assert freya.json("files", "stat", f"odin:{files}/note")["size"] == 7
    assert freya.out("files", "cat", f"odin:{files}/note") == "a note"
    for path in (f"{files}/../../../etc/passwd", f"{files}/out/passwd", "/etc/passwd"):
        freya.run("files", "cat", f"odin:{path}", expect=4)
    freya.run("files", "rm", f"odin:{files}/note", "-y")
    assert not (files / "note").exists()


def test_a_port_leads_to_another_machine(tour: Tour, files: Path) -> None:
    """A web server that only odin can reach is asked on freya."""
    (files / "page").write_text("from odin")
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "8080"]
    log = files / "log"
    assert tour.odin.host is not None
    assert tour.freya.host is not None
    with (
        subprocess.Popen(
            [*tour.odin.host.inside, *serve], cwd=files, stderr=subprocess.DEVNULL
        ) as server,
        log.open("w") as out,
        subprocess.Popen(
            [*tour.freya.command, "tunnel", "-L", "5080:127.0.0.1:8080", "-H", "odin"],
            env=tour.freya.environment,
            stdout=out,
        ) as tunnel,
    ):
        fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5080/page').read())"
        here = [*tour.freya.host.inside, sys.executable, "-c", fetch]

        def fetched() -> str:
            return subprocess.run(here, capture_output=True, text=True, check=False).stdout

        try:
            eventually(lambda: fetched() == "b'from odin'\n")
            tunnel.send_signal(signal.SIGINT)
            assert tunnel.wait(20) == 0
        finally:
            server.kill()
            tunnel.kill()


def test_python_has_the_fleet_at_hand(freya: Machine) -> None:
    async def run() -> None:
        async with covey.connect(home=str(freya.home)) as fleet:
            done = await fleet.host("odin").exec("cat", input=b"\0bytes\xff")
            assert done.stdout == b"\0bytes\xff"
            words = [chunk.data async for chunk in fleet.host("frigg").stream("echo", "hi")]
            assert b"".join(words) == b"hi\n"

    asyncio.run(run())


def test_ssh_stands_in_where_an_agent_is_away_and_says_so(tour: Tour, files: Path) -> None:
    assert tour.frigg.host is not None
    with ssh_server(files / "sshd", tour.frigg.host.address, tour.frigg.host.inside) as server:
        tour.freya.run("fleet", "set-field", "frigg", "ssh", server.address)
        tour.frigg.stop()
        done = tour.bytes("exec", "-H", "frigg", "--", "echo", "hi", PATH=server.path)
        assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr
        assert b"Using SSH" in done.stderr
        (files / "source").write_text("by ssh")
        words = ["cp", str(files / "source"), f"frigg:{files}/target"]
        copied = tour.bytes(*words, PATH=server.path)
        assert copied.returncode == 0, copied.stderr
        assert b"Using SSH" in copied.stderr
        assert (files / "target").read_text() == "by ssh"
    gone = tour.bytes("exec", "-H", "frigg", "--", "true", PATH=server.path)
    assert gone.returncode == 6
    assert b"hint:" in gone.stderr
    tour.frigg.start()
    eventually(lambda: tour.freya.run("status", "-H", "frigg", expect=None).returncode == 0)
