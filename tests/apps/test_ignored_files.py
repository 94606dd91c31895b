"""What a build leaves out besides what its source says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from covey.apps.building import Builder, add_ignored
from covey.apps.layout import Places
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


def test_no_site_has_hidden_files_whether_it_was_built_or_not(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("index.html", ".npmrc", "a/.env.local", ".well-known/x", "Dockerfile", "a/b.js"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("token")
    (source / "out").symlink_to("/etc/passwd")
    places = Places(tmp_path / "work", tmp_path / "static")
    nothing = cast("Any", None)
    here = cast("Any", SimpleNamespace(places=places))
    builder = Builder(nothing, nothing, nothing, nothing, here, nothing)
    builder._keep_site("shop", 3, source)
    kept = places.site_of("shop", 3)
    files = {str(path.relative_to(kept)) for path in kept.rglob("*") if not path.is_dir()}
    assert files == {"index.html", ".well-known/x", "a/b.js"}
