"""Plans for trees, and trees that are refused."""

from __future__ import annotations

import pytest

from covey.errors import InvalidRequestError
from covey.remote.files.model import Entry, FileKind
from covey.remote.files.tree import Existing, Rules, check_path, check_tree, plan_tree

D, F, L, O = FileKind.DIRECTORY, FileKind.FILE, FileKind.SYMLINK, FileKind.OTHER  # noqa: E741


def entry(number: int, path: bytes, kind: FileKind = F, size: int = 1, time: int = 1) -> Entry:
    return Entry(number, path, kind, size, 0o644, time)


@pytest.mark.parametrize(
    "path", [b"..", b"a/../b", b"/a", b"a//b", b"a/", b"./a", b"a\0b", b"a" * 256, b"a/."]
)
def test_paths_that_lead_elsewhere(path: bytes):
    with pytest.raises(InvalidRequestError):
        check_path(path)


def test_paths_that_do_not():
    for path in (b"", b"a", b"a/b", b"..a/b..", b"\xff"):
        check_path(path)


@pytest.mark.parametrize(
    "tree",
    [
        [entry(1, b"a/b")],
        [entry(1, b"a", L), entry(2, b"a/b")],
        [entry(1, b"a", F), entry(2, b"a/b")],
        [entry(1, b"a"), entry(2, b"a")],
        [entry(1, b"a"), entry(1, b"b")],
        [entry(1, b"", F), entry(2, b"b")],
        [entry(1, b"a/b"), entry(2, b"a", D)],
    ],
)
def test_trees_that_contradict_themselves(tree: list[Entry]):
    with pytest.raises(InvalidRequestError):
        check_tree(tree)


def test_a_plan_for_each_case():
    tree = [
        entry(0, b"", D),
        entry(1, b"new"),
        entry(2, b"same"),
        entry(3, b"older"),
        entry(4, b"larger", size=2),
        entry(5, b"link", L),
        entry(6, b"pipe", O),
        entry(7, b"blocked"),
    ]
    there = {
        b"same": Existing(F, 1, 0o644, 1),
        b"older": Existing(F, 1, 0o644, 0),
        b"larger": Existing(F, 1, 0o644, 1),
        b"blocked": Existing(D, 0, 0o755, 1),
        b"blocked/in": Existing(F, 0, 0o755, 1),
        b"extra": Existing(D, 0, 0o755, 1),
        b"extra/a": Existing(D, 0, 0o755, 1),
        b"extra/a/b": Existing(F, 0, 0o755, 1),
    }
    plan = plan_tree(tree, there, Rules(sync=True, delete=True))
    assert [item.path for item in plan.copies] == [b"new", b"older", b"larger"]
    assert [item.path for item in plan.skips] == [b"same"]
    assert [item.path for item in plan.links] == [b"link"]
    assert [path for path, _ in plan.refusals] == [b"pipe", b"blocked"]
    assert plan.deletions == [b"extra/a/b", b"blocked/in", b"extra/a", b"extra"]
    assert plan.size == 4
    plain = plan_tree(tree, there, Rules())
    assert [item.path for item in plain.copies] == [b"new", b"same", b"older", b"larger"]
    assert plain.deletions == []
    compared = plan_tree(tree, there, Rules(sync=True, checksum=True))
    assert [item.path for item in compared.compare] == [b"same", b"older"]
