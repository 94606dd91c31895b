"""Pushes that meet others, and clients and nodes that leave in the middle of one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from covey.apps.begun_pushes import note_push
from covey.apps.pkt_line import RefUpdate
from covey.apps.pushes import Pushes
from covey.engines.git.serving import GitPrograms
from covey.errors import StorageError
from tests.surfaces.http.git_site import Site


def push_aside(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["git", "push", *arguments, site.url(), "main"],
        cwd=site.work.path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def set_event(site: Site, event: asyncio.Event | None) -> None:
    async def go_on() -> None:
        assert event is not None
        event.set()

    site.running.run(go_on())


def test_of_two_pushes_at_a_time_the_last_commit_is_deployed_last(site: Site) -> None:
    first = site.work.commit({"a": "1"})

    async def hold() -> None:
        site.target.before = asyncio.Event()

    site.running.run(hold())
    pushing = [push_aside(site)]
    branch = site.repositories / "shop.git" / "refs" / "heads" / "main"
    site.running.eventually(lambda: branch.exists() and branch.read_text().strip() == first)
    for text in ("2", "3"):
        commit = site.work.commit({"a": text})
        pushing.append(push_aside(site))
        site.running.eventually(lambda: branch.read_text().strip() == commit)  # noqa: B023
    set_event(site, site.target.before)
    said = [process.communicate(timeout=60)[1] for process in pushing]
    assert [process.returncode for process in pushing] == [0, 0, 0], said
    assert [push[2] for push in site.target.pushes] == [first, commit]
    assert "another push came meanwhile" in said[1]


def test_a_client_that_leaves_before_the_answer_has_pushed_nevertheless(site: Site) -> None:
    commit = site.work.commit({"a": "1"})

    async def hold() -> None:
        site.target.before = asyncio.Event()

    site.running.run(hold())
    pushing = push_aside(site)
    branch = site.repositories / "shop.git" / "refs" / "heads" / "main"
    site.running.eventually(branch.exists)
    os.killpg(pushing.pid, signal.SIGKILL)
    pushing.communicate(timeout=10)
    set_event(site, site.target.before)
    site.running.eventually(lambda: site.target.ended == 1)
    assert [push[2] for push in site.target.pushes] == [commit]


def test_a_node_that_stops_asks_for_what_was_pushed_before(site: Site) -> None:
    commit = site.work.commit({"a": "1"})
    pushes = Pushes(site.repositories, GitPrograms(8 << 20), site.target)

    async def push_and_stop() -> None:
        site.target.before = asyncio.Event()
        site.target.gate = asyncio.Event()
        update = RefUpdate("refs/heads/main", "0" * 40, commit)
        push = note_push(site.work.path / ".git", update, "ada")
        pushes._begin("shop", site.work.path / ".git", push)
        stopping = asyncio.create_task(pushes.stop())
        await asyncio.sleep(0)
        site.target.before.set()
        await stopping

    site.running.run(push_and_stop())
    assert [push[2] for push in site.target.pushes] == [commit]
    assert site.target.ended == 0


def test_a_node_that_was_killed_asks_for_what_was_pushed_before(site: Site) -> None:
    site.target.wanted = False
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    commit = site.work.commit({"a": "2"})
    site.git("push", site.url(), "main")
    repository = site.repositories / "shop.git"
    notes = repository / "covey-pushes"
    assert list(notes.iterdir()) == []
    site.target.wanted = True

    async def owed(new: str) -> None:
        note_push(repository, RefUpdate("refs/heads/main", "0" * 40, new), "ada")
        (notes / "torn").write_bytes(b"{")
        pushes = Pushes(site.repositories, GitPrograms(8 << 20), site.target)
        pushes.start()
        await pushes.stop()
        assert list(notes.iterdir()) == []

    site.running.run(owed(site.work.git("rev-parse", "HEAD^")))
    assert site.target.pushes == []
    for _ in range(2):  # the second time, only the note was left
        site.running.run(owed(commit))
    assert [(push[2], push[4]) for push in site.target.pushes] == [(commit, "ada")]


def test_a_push_makes_no_repository_of_an_app_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        note_push(tmp_path / "gone.git", RefUpdate("refs/heads/main", "0" * 40, "1" * 40), "ada")
    assert list(tmp_path.iterdir()) == []


def test_a_push_that_cannot_be_noted_is_refused_whole(site: Site) -> None:
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main:side")
    (site.repositories / "shop.git" / "covey-pushes").write_text("in the way")
    site.git("push", site.url(), "main", status=None)
    assert "refs/heads/main" not in site.refs()
    assert site.target.pushes == []


def test_a_client_that_leaves_does_not_end_the_deployment(site: Site) -> None:
    site.work.commit({"a": "1"})

    async def hold() -> None:
        site.target.gate = asyncio.Event()

    site.running.run(hold())
    pushing = subprocess.Popen(
        ["git", "push", site.url(), "main"],
        cwd=site.work.path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert pushing.stderr is not None
    for line in pushing.stderr:
        if "serving" in line:
            break
    pushing.kill()
    pushing.wait(10)
    pushing.stderr.close()
    assert site.target.gate is not None

    async def release() -> None:
        assert site.target.gate is not None
        site.target.gate.set()

    site.running.run(release())
    site.running.eventually(lambda: site.target.ended == 1)
    assert "refs/heads/main" in site.refs()


def test_a_push_that_breaks_off_leaves_nothing(site: Site) -> None:
    site.work.commit({"a": "1"})
    site.git("push", site.url(), "main")
    before = site.refs()
    site.target.pushes.clear()
    with socket.create_connection(("127.0.0.1", site.running.port), 10) as client:
        command = f"{'0' * 40} {'1' * 40} refs/heads/main\0report-status side-band-64k"
        line = f"{len(command) + 4:04x}{command}0000PACK".encode()
        client.sendall(
            b"POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer developer\r\nContent-Length: 100000\r\n\r\n" + line
        )
    objects = site.repositories / "shop.git" / "objects"
    site.running.eventually(lambda: not list(objects.glob("tmp_objdir*")))
    assert site.refs() == before
    assert site.target.pushes == []
