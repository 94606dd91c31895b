"""Files from machine to machine, with real daemons, kills at every stage, and a real sshd."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import COVEY, Fleet, Node, eventually, new_fleet
from tests.system.sshd import ssh_server
from tests.system.test_exec import covey, reaches


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Node, Path]]:
    """A node that reaches two others, and a directory that all of them share with it."""
    with new_fleet() as fleet:
        shared = fleet.directory / "files"
        shared.mkdir()
        roots = {"COVEY_FILES_ROOTS": str(shared)}
        freya = fleet.founder("freya", **roots)
        for name in ("frigg", "odin"):
            fleet.member(freya, name, **roots)
            eventually(lambda name=name: reaches(freya, name))  # type: ignore[misc]
        yield freya, shared


@pytest.fixture
def freya(place: tuple[Node, Path]) -> Node:
    return place[0]


@pytest.fixture
def files(place: tuple[Node, Path], request: pytest.FixtureRequest) -> Path:
    made = place[1] / request.node.name.replace("[", "-").replace("]", "")
    made.mkdir()
    return made


def tree(directory: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a copy keeps of a tree."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("directory", about.st_mode)
        else:
            found[name] = (about.st_mode, about.st_mtime_ns, path.read_bytes())
    return found


def plant(directory: Path) -> Path:
    """Make a tree with what trees have."""
    top = directory / "tree"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty").touch()
    (top / "größe 1").write_bytes(os.urandom(100_000))
    (top / "deep" / "run").write_text("#!/bin/sh\n")
    (top / "deep" / "run").chmod(0o750)
    (top / "deep" / "er" / "link").symlink_to("../run")
    (top / "deep" / "er" / "nowhere").symlink_to("/does/not/exist")
    with (top / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    os.utime(top / "empty", ns=(1, 1_500_000_000_123_456_789))
    return top


def test_a_tree_arrives_as_it_is_and_comes_back(freya: Node, files: Path) -> None:
    top = plant(files)
    freya.run("cp", str(top), f"frigg:{files}/there")
    assert tree(files / "there") == tree(top)
    assert (files / "there" / "sparse").stat().st_blocks < 8 << 11
    freya.run("cp", f"frigg:{files}/there", str(files / "back"))
    assert tree(files / "back") == tree(top)


def test_files_pass_between_two_other_machines(freya: Node, files: Path) -> None:
    top = plant(files)
    freya.run("cp", f"frigg:{top}/deep", f"odin:{files}/copy")
    assert tree(files / "copy") == tree(top / "deep")
    freya.run("cp", f"frigg:{top}/empty", f"odin:{top}/sparse", f"frigg:{files}/")
    assert (files / "sparse").read_bytes() == (top / "sparse").read_bytes()


def test_directories_are_kept_alike(freya: Node, files: Path) -> None:
    top, copy = plant(files), files / "copy"
    freya.run("sync-dir", str(top), f"frigg:{copy}")
    assert tree(copy) == tree(top)
    (top / "empty").write_text("not any more")
    (copy / "extra").write_text("mine")
    told = freya.json("sync-dir", str(top), f"frigg:{copy}")
    assert (told["copied"], told["deleted"]) == (1, 0)
    assert (copy / "extra").exists()
    planned = freya.out("sync-dir", str(top), f"frigg:{copy}", "--delete", "--dry-run")
    assert (copy / "extra").exists(), planned
    freya.run("sync-dir", str(top), f"frigg:{copy}", "--delete")
    assert tree(copy) == tree(top)


def test_only_what_changed_is_sent(freya: Node, files: Path) -> None:
    source, copy = files / "a", files / "b"
    source.mkdir()
    data = bytearray(os.urandom(8 << 20))
    (source / "big").write_bytes(data)
    freya.run("sync-dir", str(source), f"frigg:{copy}")
    data[4 << 20 : (4 << 20) + 10] = b"0123456789"
    (source / "big").write_bytes(data)
    told = freya.json("sync-dir", str(source), f"frigg:{copy}")
    assert (copy / "big").read_bytes() == data
    assert told["sent"] < 1 << 20


def test_files_are_looked_at_read_and_removed(freya: Node, files: Path) -> None:
    (files / "note").write_bytes(b"a\xff\n" * 100_000)
    assert "note" in freya.out("files", "ls", f"frigg:{files}")
    assert freya.json("files", "stat", f"frigg:{files}/note")["size"] == 300_000
    read = covey(freya, "files", "cat", f"frigg:{files}/note")
    assert read.stdout == b"a\xff\n" * 100_000
    freya.run("files", "rm", f"frigg:{files}/note", "-y")
    assert not (files / "note").exists()
    assert freya.run("files", "cat", f"frigg:{files}/note", expect=3).stderr


def test_what_is_outside_of_the_roots_stays_there(freya: Node, files: Path) -> None:
    (files / "out").symlink_to("/etc")
    for path in ("/etc/passwd", f"{files}/../../../etc/passwd", f"{files}/out/passwd"):
        done = freya.run("files", "cat", f"frigg:{path}", expect=None)
        assert (done.returncode, done.stdout) == (4, ""), path
    refused = freya.run("cp", str(files), "frigg:/etc/covey-test", expect=None)
    assert refused.returncode == 4
    assert not Path("/etc/covey-test").exists()


def test_a_missing_source_or_host_is_named(freya: Node, files: Path) -> None:
    assert "none" in freya.run("cp", str(files / "none"), f"frigg:{files}/x", expect=3).stderr
    assert "fricka" in freya.run("cp", str(files), f"fricka:{files}/x", expect=3).stderr
    assert freya.run("cp", str(files), expect=2).stderr


def temporary(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name.startswith(".covey-")]


@pytest.mark.parametrize("victim", ["freya", "frigg", "client"])
def test_a_kill_in_the_middle_leaves_no_half_file(fleet: Fleet, victim: str) -> None:
    shared = fleet.directory / "files"
    shared.mkdir()
    roots = {"COVEY_FILES_ROOTS": str(shared)}
    freya = fleet.founder("freya", **roots)
    frigg = fleet.member(freya, "frigg", **roots)
    eventually(lambda: reaches(freya, "frigg"))
    source, target = shared / "source", shared / "target"
    with source.open("wb") as file:
        for _ in range(300):
            file.write(os.urandom(1 << 20))
    words = [COVEY, "cp", str(source), f"frigg:{target}"]
    with subprocess.Popen(words, env=freya.environment, stderr=subprocess.PIPE) as client:
        eventually(lambda: sum(path.stat().st_size for path in temporary(shared)) > 8 << 20)
        match victim:
            case "client":
                client.kill()
            case "freya":
                freya.kill()
            case _:
                frigg.kill()
        client.communicate(timeout=30)
        assert client.returncode in {6, -9}
    assert not target.exists()
    for node in (freya, frigg):
        if node.process is None:
            node.start()
    eventually(lambda: reaches(freya, "frigg"))
    began = time.monotonic()
    told = freya.json("cp", str(source), f"frigg:{target}")
    assert target.read_bytes() == source.read_bytes()
    assert told["sent"] < source.stat().st_size, f"it began anew, {time.monotonic() - began} s"
    eventually(lambda: not temporary(shared))


def test_ssh_stands_in_for_an_agent_that_is_away(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a b").write_bytes(b"x\0y")
    with ssh_server(tmp_path / "sshd") as server:
        freya.run("fleet", "set-field", "frigg", "ssh", server.address)
        frigg.stop()
        there = covey(freya, "cp", str(source), f"frigg:{tmp_path}/there", path=server.path)
        assert there.returncode == 0, there.stderr
        assert b"Using SSH" in there.stderr
        assert (tmp_path / "there" / "a b").read_bytes() == b"x\0y"
        back = covey(
            freya, "cp", f"frigg:{tmp_path}/there", str(tmp_path / "back"), path=server.path
        )
        assert back.returncode == 0
        assert (tmp_path / "back" / "a b").read_bytes() == b"x\0y"
    gone = covey(freya, "cp", str(source), f"frigg:{tmp_path}/again", path=server.path)
    assert gone.returncode == 6
    assert b"hint:" in gone.stderr
