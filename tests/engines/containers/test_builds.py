"""Builds with real Podman: what goes in, what must not come out, and what is left of a failure."""

from __future__ import annotations

import asyncio
import os
import sys
import tarfile
from pathlib import Path

import pytest

from covey.apps.containers import BuildRequest, Resources
from covey.errors import CoveyError, DeadlineExceededError
from tests.engines.containers.laboratories import NODE, TAG, build, make_podman_engine
from tests.podman import PYTHON, WEB, Podman
from tests.processes import processes_with
from tests.waiting import until

CANARY = "canary-7d1f0c-value"


async def test_takes_args_target_and_sub_directories(podman: Podman, home: Path, app: Path):
    (app / "deploy").mkdir()
    (app / "deploy/Containerfile").write_text(
        f"FROM {WEB} AS first\nARG COLOUR=none\nRUN echo colour=$COLOUR\n"
        "FROM first AS second\nRUN echo never\n"
    )
    engine = make_podman_engine(podman, home)
    said: list[str] = []
    request = BuildRequest(
        app, TAG, NODE, dockerfile="deploy/Containerfile", target="first", args={"COLOUR": "blue"}
    )
    await engine.build(request, said.append)
    assert "colour=blue" in said
    assert "never" not in said
    assert not [line for line in said if "COVEY" in line]
    await engine.close()


async def test_leaves_out_what_is_ignored(podman: Podman, home: Path, app: Path):
    for name in ("kept.txt", "secret.env", "logs/a.log", "logs/keep.log", "node_modules/x/y.js"):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(name)
    (app / "link").symlink_to("kept.txt")
    (app / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (app / "run.sh").chmod(0o755)
    (app / ".dockerignore").write_text("# no\n*.env\nnode_modules\nlogs/*\n!logs/keep.log\n")
    engine = make_podman_engine(podman, home)
    text = f"FROM {WEB}\nCOPY . /app\nRUN cd /app && find . -type f -o -type l | sort && ./run.sh\n"
    said = await build(engine, app, text)
    files = sorted(line for line in said if line.startswith("./"))
    assert files == ["./.dockerignore", "./kept.txt", "./link", "./logs/keep.log", "./run.sh"]
    assert "ran" in said
    await engine.close()


async def test_a_secret_is_seen_by_its_step_alone(podman: Podman, home: Path, app: Path):
    (app / "file.txt").write_text("content")
    engine = make_podman_engine(podman, home)
    text = (
        f"FROM {WEB}\nCOPY . /app\n"
        "RUN --mount=type=secret,id=token wc -c < /run/secrets/token; cat /run/secrets/token\n"
        "RUN sleep 0.5; test ! -s /run/secrets/token && find /app\n"
    )
    seen: list[str] = []
    said: list[str] = []
    request = BuildRequest(app, TAG, NODE, dockerfile_text=text, secrets={"token": CANARY})
    building = asyncio.create_task(engine.build(request, said.append))
    while not building.done():
        seen += processes_with(CANARY)
        await asyncio.sleep(0.02)
    await building
    assert str(len(CANARY)) in said
    assert "***" in "".join(said)
    assert not seen
    assert CANARY not in "\n".join(said)
    assert CANARY not in podman.run("history", "--no-trunc", "--format", "json", TAG)
    assert CANARY not in podman.run("inspect", TAG)
    saved = app.parent / "saved.tar"
    podman.run("save", "--format", "docker-archive", "--output", str(saved), TAG)
    assert CANARY.encode() not in saved.read_bytes()
    with tarfile.open(saved) as layers:
        assert any(member.name.endswith(".tar") for member in layers.getmembers())
    assert not [
        path
        for path in (*home.rglob("*"), *podman.root.rglob("*"))
        if path.is_file() and not path.is_symlink() and CANARY.encode() in path.read_bytes()
    ]
    await engine.close()


async def test_uses_its_cache_unless_told_not_to(podman: Podman, home: Path, app: Path):
    (app / "file.txt").write_text("content")
    engine = make_podman_engine(podman, home)
    text = f"FROM {WEB}\nCOPY . /app\nRUN date +%s%N > /when; cat /when\n"
    await build(engine, app, text)
    os.utime(app / "file.txt", (5, 5))
    assert any("cache" in line.lower() for line in await build(engine, app, text))
    assert not any("cache" in line.lower() for line in await build(engine, app, text, cache=False))
    await engine.close()


async def test_a_failure_leaves_nothing_and_says_its_last_lines(
    podman: Podman, home: Path, app: Path
):
    engine = make_podman_engine(podman, home)
    before = podman.leftovers()
    text = f"FROM {WEB}\nRUN echo one > /one\nRUN echo this is why; exit 3\n"
    with pytest.raises(CoveyError) as failure:
        await build(engine, app, text)
    assert "exit status 3" in failure.value.message
    assert "this is why" in failure.value.message
    assert podman.leftovers() == before
    await engine.close()
    assert podman.processes() == {}


async def test_a_base_that_cannot_be_fetched_is_told_as_such(podman: Podman, home: Path, app: Path):
    engine = make_podman_engine(podman, home)
    with pytest.raises(CoveyError, match=r"registry\.invalid") as told:
        await build(engine, app, "FROM registry.invalid/nobody/nothing:1\n")
    assert "reaches the image's registry" in str(told.value.hint)
    await engine.close()


@pytest.mark.parametrize("ends, lasting", [("cancelled", "sleep 54321"), ("late", "sleep 54320")])
async def test_a_build_that_is_cut_short_leaves_nothing(
    podman: Podman, home: Path, app: Path, ends: str, lasting: str
):
    engine = make_podman_engine(podman, home)
    await engine.version()
    before = podman.leftovers()
    said: list[str] = []
    text = f"FROM {WEB}\nRUN echo one > /one\nRUN echo started; {lasting}\n"
    request = BuildRequest(
        app, TAG, NODE, dockerfile_text=text, timeout_s=None if ends == "cancelled" else 3
    )
    building = asyncio.create_task(engine.build(request, said.append))
    await until(lambda: building.done() or processes_with(lasting))
    if ends == "cancelled":
        building.cancel()
    expected = asyncio.CancelledError if ends == "cancelled" else DeadlineExceededError
    with pytest.raises(expected):
        await building
    assert processes_with(lasting) == []
    assert podman.leftovers() == before
    await engine.close()
    assert list((home / "state").rglob("*.json")) == []


async def test_a_build_whose_container_lost_its_description_leaves_nothing(
    podman: Podman, home: Path, app: Path
):
    engine = make_podman_engine(podman, home)
    await engine.version()
    lasting = "sleep 54318"
    request = BuildRequest(app, TAG, NODE, dockerfile_text=f"FROM {WEB}\nRUN {lasting}\n")
    building = asyncio.create_task(engine.build(request, lambda _: None))
    await until(lambda: building.done() or processes_with(lasting))
    place = "overlay-containers/*/userdata/buildah.json"
    [description] = (podman.root / "storage").glob(place)
    description.unlink()
    podman.run("create", "--name", "my-working-container", WEB)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert processes_with(lasting) == []
    assert podman.run("ps", "-a", "--external", "--format", "{{.Names}}").split() == [
        "my-working-container"
    ]
    await engine.close()


async def test_the_next_daemon_clears_what_a_killed_one_left(podman: Podman, home: Path, app: Path):
    before = podman.leftovers()
    script = f"""
import asyncio, os, sys
from pathlib import Path
from tests.engines.containers.laboratories import NODE, TAG, build, make_podman_engine
from tests.podman import Podman
from covey.apps.containers import BuildRequest
podman = Podman(Path({str(podman.root)!r}), {dict(podman.environ)!r}, "")
engine = make_podman_engine(podman, Path({str(home)!r}))
text = "FROM {WEB}\\nRUN echo one > /one\\nRUN sleep 54322\\n"
request = BuildRequest(Path({str(app)!r}), {TAG!r}, {NODE!r}, dockerfile_text=text)
asyncio.run(engine.build(request, print))
"""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.DEVNULL
    )
    await until(lambda: processes_with("sleep 54322"))
    daemon.kill()
    await daemon.wait()
    engine = make_podman_engine(podman, home)
    assert await engine.list_images(NODE) == []
    assert processes_with("sleep 54322") == []
    assert podman.leftovers() == before
    await engine.close()
    await until(lambda: podman.processes() == {})


async def test_memory_is_limited(podman: Podman, home: Path, app: Path):
    engine = make_podman_engine(podman, home)
    text = f'FROM {PYTHON}\nRUN python3 -c "print(len(chr(120) * (300 << 20)))"\n'
    with pytest.raises(CoveyError):
        await build(engine, app, text, resources=Resources(memory_bytes=64 << 20))
    said = await build(engine, app, text, resources=Resources(cpus=1.5, memory_bytes=1 << 30))
    assert str(300 << 20) in said
    await engine.close()


async def test_steps_do_not_reach_what_listens_on_this_machine_alone(
    podman: Podman, home: Path, app: Path
):
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = make_podman_engine(podman, home)
    with pytest.raises(CoveyError):
        await build(engine, app, f"FROM {WEB}\nRUN nc -w 2 127.0.0.1 {port} </dev/null\n")
    server.close()
    await engine.close()
