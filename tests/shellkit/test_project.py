from __future__ import annotations

import os
from pathlib import Path

import pytest

from covey.shellkit.names import is_label, is_variable_name
from covey.shellkit.project import ProjectFileError, find_project, parse_project


def test_names_project_and_environment() -> None:
    found = parse_project("# shop\nproject = \"shop\" # here\r\nenvironment='dev'\n[apps]\n")
    assert found is not None
    assert (found.project, found.environment) == ("shop", "dev")


def test_other_lines_are_left_to_other_readers() -> None:
    found = parse_project('name = "x"\nproject = "shop"\n[app]\nproject = "../../etc"\n')
    assert found is not None
    assert (found.project, found.environment) == ("shop", None)


def test_a_file_that_names_no_project_is_no_project() -> None:
    assert parse_project("") is None
    assert parse_project('[app]\nproject = "shop"\n') is None


@pytest.mark.parametrize(
    "text, line",
    [
        ('project = "../etc"', 1),
        ('project = ".."', 1),
        ('project = "$(touch x)"', 1),
        ('project = "`id`"', 1),
        ('project = "a b"', 1),
        ('project = ""', 1),
        ("project = shop", 1),
        ('project = "shop', 1),
        ('project = "shop" extra', 1),
        ('project = "Shop"', 1),
        (f'project = "{"a" * 64}"', 1),
        ('\nproject = "a"\nproject = "b"', 3),
        ('project = "a"\nenvironment = "x/y"', 2),
    ],
)
def test_a_malformed_name_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ProjectFileError, match=f"line {line}:"):
        parse_project(text)


def test_an_environment_needs_its_project() -> None:
    with pytest.raises(ProjectFileError, match="without project"):
        parse_project('environment = "dev"')


def test_the_nearest_file_above_wins(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    (inner / "c").mkdir(parents=True)
    (tmp_path / ".covey.toml").write_text('project = "outer"\n')
    (inner / ".covey.toml").write_text('project = "inner"\n')
    (inner / "c" / ".covey.toml").mkdir()
    nearest = find_project(str(inner / "c"))
    assert nearest is not None
    assert (nearest.project, nearest.path) == ("inner", str(inner / ".covey.toml"))
    above = find_project(str(tmp_path / "a"))
    assert above is not None
    assert above.project == "outer"


def test_no_file_up_to_the_root_is_no_project(tmp_path: Path) -> None:
    assert find_project(str(tmp_path)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_ignored_aloud(tmp_path: Path) -> None:
    file = tmp_path / ".covey.toml"
    file.write_text('project = "shop"\n')
    os.chown(file, 12345, 12345)
    with pytest.raises(ProjectFileError, match="another user"):
        find_project(str(tmp_path))


def test_labels() -> None:
    assert is_label("a")
    assert is_label("shop-2.x_y")
    assert not any(map(is_label, ["", "-a", ".a", "A", "a/b", "a\n", "é", "a" * 64]))


def test_variable_names() -> None:
    assert is_variable_name("_")
    assert is_variable_name("Api_Key2")
    assert is_variable_name("A" * 255)
    bad = ["", "2A", "A-B", "A B", "A=B", "É", "A\n", "A" * 256, "__COVEY_NAMES", "COVEY_HOME"]
    assert not any(map(is_variable_name, bad))
