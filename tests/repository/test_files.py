"""Rules that hold for every file of the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 500
GENERATED = ("docs/reference/", "requirements/", "src/covey/operations/commands.json")


def written_by_hand() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [name for name in listed if not name.startswith(GENERATED) and (ROOT / name).is_file()]


FILES = written_by_hand()


def test_the_list_of_files_is_not_empty() -> None:
    assert "pyproject.toml" in FILES


def test_files_are_short() -> None:
    contents = {name: (ROOT / name).read_bytes() for name in FILES}
    lengths = {name: text.count(b"\n") for name, text in contents.items() if b"\0" not in text}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_exceptions_to_the_linters_have_a_code() -> None:
    bare = re.compile(r"#\s*(?:noqa(?!:)|type:\s*ignore(?!\[))")
    found = [
        f"{name}:{number}"
        for name in FILES
        if name.endswith(".py") and name != "tests/repository/test_files.py"
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["dev", ".ci/run"])
def test_scripts_are_executable(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111


def test_help_names_every_command_of_dev() -> None:
    text = (ROOT / "dev").read_text("utf-8")
    cases = text[text.index("case $command in") :]
    commands = set(re.findall(r"^  ([a-z]+)(?:\)| \|)", cases, re.MULTILINE))
    told = subprocess.run(
        [str(ROOT / "dev"), "help"], capture_output=True, text=True, check=True
    ).stdout
    assert commands == set(re.findall(r"^\./dev (\w+)", told, re.MULTILINE))


def test_an_unknown_command_of_dev_is_refused() -> None:
    done = subprocess.run(
        [str(ROOT / "dev"), "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no command nonsense" in done.stderr
