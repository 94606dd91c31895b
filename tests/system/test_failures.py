"""Each thing that goes wrong gives its clear error and exit status, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from tests.system.harness import Fleet, Node, eventually

PASSWORD = "correct horse battery staple\n"


def failure(node: Node, *arguments: str, status: int, stdin: str = "") -> str:
    """Run a command that must fail with this status; returns what it says on standard error."""
    done = node.run(*arguments, expect=status, stdin=stdin)
    assert "Traceback" not in done.stdout + done.stderr
    assert re.search(r"^hint: ", done.stderr, re.MULTILINE), done.stderr
    return done.stderr


def test_a_wrong_password_is_refused_and_the_right_one_opens(fleet: Fleet) -> None:
    node = fleet.node("freya")
    node.run("init", "--name", "freya", "--password-stdin", stdin=PASSWORD)
    node.start(expect_state="locked")
    assert "wrong" in failure(node, "unlock", "--password-stdin", status=4, stdin="not it, no\n")
    assert "covey unlock" in failure(node, "env", "list", status=4)
    node.run("unlock", "--password-stdin", stdin=PASSWORD)
    node.run("env", "set", "KEPT=yes")
    node.run("lock")
    assert node.json("status")["state"] == "locked"
    failure(node, "env", "get", "KEPT", status=4)
    node.run("unlock", "--password-stdin", stdin=PASSWORD)
    assert node.out("env", "get", "KEPT") == "yes"


def test_no_daemon_says_how_to_start_one(fleet: Fleet) -> None:
    node = fleet.node("freya")
    assert "covey init" in failure(node, "status", status=6)
    node.init()
    assert re.search(r"covey (up|agent start)", failure(node, "env", "list", status=6))


def test_a_second_daemon_on_the_same_home_is_refused(fleet: Fleet) -> None:
    node = fleet.founder("freya")
    assert "Another Covey daemon" in failure(node, "up", status=5)
    assert node.json("status")["state"] == "ready"


def test_a_second_init_changes_nothing(fleet: Fleet) -> None:
    node = fleet.founder("freya")
    before = (node.home / "data" / "keyring.json").read_bytes()
    failure(node, "init", "--name", "other", "--key-file", str(node.key_file), status=5)
    node.stop()
    failure(node, "init", "--name", "other", "--key-file", str(node.key_file), status=5)
    assert (node.home / "data" / "keyring.json").read_bytes() == before


def test_a_home_that_lost_its_keys_can_start_anew(fleet: Fleet) -> None:
    odin = fleet.founder("odin")
    frigg = fleet.member(odin, "frigg")
    odin.run("env", "set", "OLD=1")
    eventually(lambda: frigg.run("env", "get", "OLD", expect=None).returncode == 0)
    odin.stop()
    (odin.home / "data" / "keyring.json").unlink()
    odin.init()
    odin.start()
    odin.run("env", "set", "NEW=1")


def test_a_token_is_good_once(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    token = freya.out("invite")
    assert re.fullmatch(r"\S+", token)
    fleet.node("frigg").join(token)
    late = fleet.node("late")
    failure(late, "join", token, "--key-file", str(late.key_file), status=4)
    failure(late, "join", token[:-3] + "xyz", "--key-file", str(late.key_file), status=2)
    assert not (late.home / "data" / "keyring.json").exists()
    late.join(freya.out("invite"))


def test_an_expired_token_is_refused(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    token = freya.out("invite", "--expires", "1s")
    made = time.monotonic()
    late = fleet.node("late")
    eventually(lambda: time.monotonic() - made > 2)
    told = failure(late, "join", token, "--key-file", str(late.key_file), status=4)
    assert "expired" in told
    assert not (late.home / "data" / "keyring.json").exists()


def test_an_unreachable_inviter_is_named(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    token = freya.out("invite")
    freya.stop()
    late = fleet.node("late")
    told = failure(late, "join", token, "--key-file", str(late.key_file), status=6)
    assert freya.address in told
    freya.start()
    late.join(token)


def test_an_unreachable_peer_shows_and_stops_nobody(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    eventually(lambda: freya.json("status")["peers_connected"] == 1)
    frigg.kill()
    eventually(lambda: freya.json("peers")[0]["state"] == "unreachable")
    freya.run("env", "set", "A=1")
    report = eventually(
        lambda: [c for c in freya.json("doctor") if c["name"] == "peer frigg" and c["fix"]]
    )
    assert report[0]["state"] == "warning"
    assert freya.json("sync", "--timeout", "1")["unreachable"] == ["frigg"]


def test_an_unknown_setting_names_its_line_and_the_nearest_key(fleet: Fleet) -> None:
    node = fleet.node("freya")
    node.init()
    settings = node.home / "config" / "covey.toml"
    settings.write_text('[server]\n# a comment\nlissten = "127.0.0.1:1"\n')
    told = failure(node, "up", status=2)
    assert "line 3" in told
    assert "server.listen" in told
    failure(node, "config", "check", status=2)


def test_a_tampered_database_is_set_aside_and_refilled_by_the_peers(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    frigg.run("env", "set", "OF_FRIGG=1")
    freya.run("env", "set", "OF_FREYA=2")
    eventually(lambda: frigg.run("env", "get", "OF_FREYA", expect=None).stdout == "2\n")
    eventually(lambda: freya.run("env", "get", "OF_FRIGG", expect=None).stdout == "1\n")
    frigg.stop()
    database = frigg.home / "data" / "covey.db"
    damaged = bytearray(database.read_bytes())
    for at in range(4096 + 100, len(damaged), 4096):
        damaged[at] ^= 0xFF
    database.write_bytes(bytes(damaged))
    frigg.start()
    assert list((frigg.home / "data").glob("covey.db.damaged-*"))
    assert "set aside" in frigg.output
    eventually(lambda: frigg.run("env", "get", "OF_FREYA", expect=None).stdout == "2\n")
    eventually(lambda: frigg.run("env", "get", "OF_FRIGG", expect=None).stdout == "1\n")
    eventually(lambda: frigg.run("env", "set", "AFTER=3", expect=None).returncode == 0)
    eventually(lambda: freya.run("env", "get", "AFTER", expect=None).stdout == "3\n")


def test_a_tampered_keyring_is_told_from_a_wrong_password(fleet: Fleet) -> None:
    node = fleet.node("freya")
    node.init()
    keyring = node.home / "data" / "keyring.json"
    whole = keyring.read_text()
    keyring.write_text(whole.replace('"secrets": "', '"secrets": "A', 1))
    told = failure(node, "up", status=1)
    assert "damaged" in told
    keyring.write_text(whole)
    node.start()


def test_a_full_disk_refuses_writes_and_loses_nothing(fleet: Fleet) -> None:
    disk = fleet.directory / "freya"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount; tests/engines/test_sqlite_faults.py needs no root")
    try:
        freya = fleet.founder("freya")
        freya.run("env", "set", "BEFORE=safe")
        filler = disk / "data" / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            except OSError:
                pass
        big = "v" * 60_000
        failures = [
            done
            for number in range(40)
            if (done := freya.run("env", "set", f"N{number}={big}", expect=None)).returncode
        ]
        assert failures
        assert all("Traceback" not in done.stderr for done in failures)
        assert any(re.search("full|space", done.stderr) for done in failures)
        assert freya.out("env", "get", "BEFORE") == "safe"
        filler.unlink()
        eventually(lambda: freya.run("env", "set", "AFTER=fine", expect=None).returncode == 0)
        freya.kill()
        freya.start()
        assert freya.out("env", "get", "BEFORE") == "safe"
        assert freya.out("env", "get", "AFTER") == "fine"
        freya.stop()
    finally:
        fleet.close()
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_kill_9_under_load_loses_nothing_acknowledged(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    acknowledged: list[str] = []

    def write(worker: int) -> None:
        for number in range(1000):
            name = f"W{worker}_{number}"
            done = freya.run("env", "set", f"{name}={name}", expect=None)
            if done.returncode:
                return
            acknowledged.append(name)

    workers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    eventually(lambda: len(acknowledged) >= 12)
    freya.kill()
    for worker in workers:
        worker.join()
    freya.start()

    def held(node: Node) -> bool:
        names = {item["name"] for item in node.json("env", "list", "--limit", "1000")}
        return set(acknowledged) <= names

    assert held(freya)
    eventually(lambda: held(frigg))


def test_an_emptied_runtime_directory_is_made_anew(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    freya.run("env", "set", "KEPT=yes")
    shutil.rmtree(os.path.realpath(freya.home / "run"))
    eventually(lambda: freya.run("status", expect=None).returncode == 0)
    eventually(lambda: "KEPT" in freya.out("env", "export"))


def test_a_stop_is_graceful_and_quick(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    eventually(lambda: freya.json("status")["peers_connected"] == 1)
    assert freya.stop() == 0
    assert frigg.run("shutdown").returncode == 0
    assert frigg.process is not None
    assert frigg.process.wait(10) == 0
