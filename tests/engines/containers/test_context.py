"""A build's context as it is sent: what it holds, and that it holds nothing of this machine."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import pytest

from covey.engines.containers.context import GENERATED, Context, read_context
from covey.errors import InvalidRequestError, NotFoundError


def packed(context: Context) -> dict[str, tarfile.TarInfo]:
    async def read() -> bytes:
        return b"".join([piece async for piece in context.packed()])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(read()))) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_a_generated_file_is_sent_and_left_out_of_images(tmp_path: Path):
    (tmp_path / ".dockerignore").write_text("*.log\n")
    (tmp_path / "a.log").write_text("x")
    (tmp_path / "b.txt").write_text("x" * 1000)
    context = read_context(tmp_path, "Dockerfile", "FROM scratch\n", {})
    assert context.dockerfile == GENERATED
    assert set(packed(context)) == {GENERATED, ".dockerignore", "b.txt"}
    assert context.own[".dockerignore"] == f"*.log\n{GENERATED}\n".encode()


def test_an_ignored_dockerfile_is_sent_nevertheless(tmp_path: Path):
    (tmp_path / "build").mkdir()
    (tmp_path / "build/Containerfile").write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text("*\n")
    names = set(packed(read_context(tmp_path, "build/Containerfile", None, {})))
    assert names == {"build/Containerfile", ".dockerignore"}


def test_modes_links_and_long_names_stay(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    long = "d" * 120 + "/" + "f" * 120
    (tmp_path / long).parent.mkdir()
    (tmp_path / long).write_text("x")
    (tmp_path / "run").write_text("x")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("/etc/hostname")
    members = packed(read_context(tmp_path, "Dockerfile", None, {}))
    assert members["run"].mode == 0o755
    assert members["link"].issym()
    assert members["link"].linkname == "/etc/hostname"
    assert members[long].size == 1
    assert {member.uid for member in members.values()} == {0}


def test_links_out_of_the_directory_give_nothing_of_this_machine(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_text("private\n")
    inside = tmp_path / "app"
    inside.mkdir()
    (inside / ".dockerignore").symlink_to(outside)
    context = read_context(inside, "Dockerfile", "FROM scratch\n", {})
    assert not [content for content in context.own.values() if b"private" in content]


@pytest.mark.parametrize("name", ["../Dockerfile", "/etc/passwd", "a/../../x"])
def test_a_dockerfile_outside_is_refused(tmp_path: Path, name: str):
    with pytest.raises(InvalidRequestError):
        read_context(tmp_path, name, None, {})


def test_a_missing_dockerfile_is_not_found(tmp_path: Path):
    with pytest.raises(NotFoundError):
        read_context(tmp_path, "Dockerfile", None, {})
