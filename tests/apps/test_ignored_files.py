"""What a build leaves out besides what its source says."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.apps.building import add_ignored
from covey.engines.containers.context import read_context
from covey.errors import InvalidRequestError
from covey.ignore_files.dockerignore import DockerIgnore


@pytest.mark.parametrize(
    "present",
    [
        (),
        (".dockerignore",),
        (".containerignore",),
        (".dockerignore", ".containerignore"),
        ("Containerfile.dockerignore", ".containerignore"),
    ],
)
def test_what_is_left_out_goes_to_the_file_that_counts(
    tmp_path: Path, present: tuple[str, ...]
) -> None:
    for name in present:
        (tmp_path / name).write_text("*.log")
    add_ignored(tmp_path, "Containerfile", (".env", ".git"))
    found = DockerIgnore(read_context(tmp_path, "Containerfile", "FROM scratch", {}).ignore_text)
    assert found.leaves_out(".env")
    assert found.leaves_out("x.log") is bool(present)


def test_a_link_to_patterns_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "patterns").write_text("*.log\n")
    (tmp_path / ".dockerignore").symlink_to("patterns")
    add_ignored(tmp_path, "Dockerfile", (".env",))
    assert (tmp_path / ".dockerignore").read_text() == "*.log\n.env\n"
    assert (tmp_path / "patterns").read_text() == "*.log\n"


def test_a_directory_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").mkdir()
    with pytest.raises(InvalidRequestError):
        add_ignored(tmp_path, "Dockerfile", (".env",))
