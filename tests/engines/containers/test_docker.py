"""What only a real Docker can show: builds with BuildKit and without, and where it is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.apps.containers import BuildRequest, Resources
from covey.engines.containers import docker_build
from covey.engines.containers.engine import make_engine
from covey.errors import CoveyError, DeadlineExceededError
from covey.paths import Paths
from covey.settings_hosting import AppsSettings
from tests.docker import Docker
from tests.engines.containers.laboratories import NODE, TAG, build, make_docker_engine
from tests.images import WEB
from tests.processes import processes_with
from tests.waiting import until

CANARY = "canary-4e8b21-value"


async def test_secrets_and_arguments_are_seen_by_their_steps_alone(
    docker: Docker, home: Path, app: Path
):
    (app / "file.txt").write_text("content")
    engine = make_docker_engine(docker, home)
    text = (
        f"FROM {WEB}\nARG COLOUR\nARG PATH_TOO=x\nRUN echo colour=$COLOUR; sleep 0.3\n"
        "RUN --mount=type=secret,id=token wc -c < /run/secrets/token; cat /run/secrets/token\n"
        "RUN test ! -e /run/secrets/token\nCOPY . /app\n"
    )
    said: list[str] = []
    seen: list[str] = []
    request = BuildRequest(
        app,
        TAG,
        NODE,
        dockerfile_text=text,
        secrets={"token": CANARY},
        args={"COLOUR": "blue-3c", "PATH_TOO": "y"},
    )
    building = asyncio.create_task(engine.build(request, said.append))
    while not building.done():
        seen += processes_with(CANARY, "blue-3c")
        await asyncio.sleep(0.01)
    await building
    whole = "\n".join(said)
    assert "colour=blue-3c" in whole
    assert str(len(CANARY)) in whole
    assert "***" in whole
    assert CANARY not in whole
    assert seen == []
    assert CANARY not in docker.run("history", "--no-trunc", TAG)
    assert CANARY not in docker.run("inspect", TAG)
    saved = app.parent / "saved.tar"
    docker.run("save", "--output", str(saved), TAG)
    assert CANARY.encode() not in saved.read_bytes()
    await engine.close()


def test_arguments_that_docker_itself_would_obey_are_not_put_in_its_environment(tmp_path: Path):
    args = {"DOCKER_HOST": "tcp://x", "PATH": "/evil", "LD_PRELOAD": "/evil.so", "COLOUR": "blue"}
    request = BuildRequest(tmp_path, TAG, NODE, args=args)
    words, environ = docker_build.docker_command(request, "Dockerfile", tmp_path / "ids")
    assert environ["COLOUR"] == "blue"
    assert not {"DOCKER_HOST", "PATH", "LD_PRELOAD"} & set(environ)
    assert "DOCKER_HOST=tcp://x" in words
    assert "COLOUR" in words


async def test_without_buildkit_secrets_are_refused_and_builds_work(
    docker: Docker, home: Path, app: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(docker_build, "find_program", lambda *_: None)
    engine = make_docker_engine(docker, home)
    before = docker.leftovers()
    with pytest.raises(CoveyError, match="BuildKit") as refusal:
        await build(engine, app, f"FROM {WEB}\n", secrets={"token": CANARY})
    assert "docker-buildx" in str(refusal.value.hint)
    with pytest.raises(CoveyError, match="this is why"):
        await build(engine, app, f"FROM {WEB}\nRUN echo a > /a\nRUN echo this is why; exit 3\n")
    assert docker.leftovers() == before
    said = await build(engine, app, f"FROM {WEB}\nARG A\nRUN echo got $A\n", args={"A": "blue"})
    assert "got blue" in said
    image = await engine.image(TAG)
    assert image is not None
    assert image.labels.items() >= NODE.items()
    await engine.close()


@pytest.mark.parametrize("program", [True, False], ids=["buildkit", "api"])
@pytest.mark.parametrize("ends", ["cancelled", "late"])
async def test_a_build_that_is_cut_short_leaves_nothing(
    docker: Docker,
    home: Path,
    app: Path,
    ends: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    program: bool,
):
    if not program:
        monkeypatch.setattr(docker_build, "find_program", lambda *_: None)
    engine = make_docker_engine(docker, home)
    before = docker.leftovers()
    text = f"FROM {WEB}\nRUN echo one > /one\nRUN echo started; sleep 54323\n"
    request = BuildRequest(
        app, TAG, NODE, dockerfile_text=text, timeout_s=None if ends == "cancelled" else 3
    )
    building = asyncio.create_task(engine.build(request, lambda _: None))
    await until(lambda: building.done() or processes_with("sleep 54323"))
    if ends == "cancelled":
        building.cancel()
    with pytest.raises(asyncio.CancelledError if ends == "cancelled" else DeadlineExceededError):
        await building
    await until(lambda: not processes_with("sleep 54323"))
    await until(lambda: docker.leftovers() == before)
    await engine.close()
    assert list((home / "state").rglob("*.json")) == []


async def test_a_build_says_that_its_limits_are_not_kept(docker: Docker, home: Path, app: Path):
    engine = make_docker_engine(docker, home)
    said = await build(engine, app, f"FROM {WEB}\n", resources=Resources(memory_bytes=64 << 20))
    assert any("takes no limits" in line for line in said)
    await engine.close()


async def test_a_directory_of_an_image_is_copied_out(docker: Docker, home: Path, app: Path):
    engine = make_docker_engine(docker, home)
    before = docker.leftovers()
    await engine.copy_out(WEB, "/www", app / "out")
    assert (app / "out/index.html").read_text() == "hello\n"
    assert docker.leftovers() == before
    await engine.close()


async def test_is_found_where_docker_host_says(docker: Docker, home: Path):
    paths = Paths(*(str(home / name) for name in ("config", "data", "state", "run")))
    settings = AppsSettings(engine="docker")
    engine = make_engine(
        settings, paths, {"PATH": "/usr/bin", "DOCKER_HOST": f"unix://{docker.socket}"}
    )
    facts = await engine.describe()
    assert (facts.engine, facts.service, facts.socket) == ("docker", "system", docker.socket)
    assert facts.version[0].isdigit()
    assert facts.needs == ()
    assert facts.settings == ""
    assert not (home / "run").exists()
    await engine.close()
