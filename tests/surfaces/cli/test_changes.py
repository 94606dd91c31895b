"""Waiting for changes of a directory, whatever becomes of its files meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from covey.surfaces.cli import upload
from covey.surfaces.cli.upload import Changes


class Sleeps:
    """What happens during each sleep, in order; one more than expected is an error."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def __call__(self, _seconds: float) -> None:
        self._steps.pop(0)()

    @property
    def over(self) -> bool:
        return not self._steps


def nothing() -> None:
    """Let time pass alone."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    made = tmp_path / "top"
    made.mkdir()
    (made / "a").write_text("1")
    return made


def wait(changes: Changes, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    sleeps = Sleeps(*steps)
    monkeypatch.setattr(upload.time, "sleep", sleeps)
    changes.wait()
    assert sleeps.over


def test_a_file_that_changes_or_goes_is_a_change(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = Changes(top)
    wait(changes, monkeypatch, nothing, lambda: os.utime(top / "a", ns=(0, 1)), nothing)
    wait(changes, monkeypatch, (top / "a").unlink, nothing)
    wait(changes, monkeypatch, lambda: (top / "b").write_text(""), nothing)


def test_a_directory_alone_is_no_change(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = Changes(top)
    make = (top / "sub").mkdir
    wait(changes, monkeypatch, make, nothing, lambda: (top / "sub" / "b").write_text(""), nothing)


def test_waiting_goes_on_while_the_directory_cannot_be_read(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = Changes(top)
    away = top.with_name("away")
    wait(changes, monkeypatch, lambda: top.rename(away), nothing)
    wait(changes, monkeypatch, nothing, nothing, lambda: shutil.move(away, top), nothing)


def test_a_look_leaves_the_state_of_the_commit_alone(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = pygit2.init_repository(str(top))
    (top / ".gitignore").write_text("*.log\n")
    repository.index.add_all()
    repository.index.write()
    ada = pygit2.Signature("Ada", "ada@example.org")
    repository.create_commit("HEAD", ada, ada, "First", repository.index.write_tree(), [])

    def fail(*_arguments: object, **_more: object) -> None:
        raise AssertionError

    monkeypatch.setattr(pygit2.Repository, "status", fail)
    changes = Changes(top)
    touch = (top / "x.log").touch
    wait(changes, monkeypatch, touch, nothing, (top / "a").unlink, nothing)
