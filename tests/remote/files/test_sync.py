"""Directories kept alike: what changed is sent, and nothing deleted unasked."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.remote.files.model import Same
from tests.remote.files.machine import (
    BIG,
    Two,
    at_once,
    copy,
    files,
    make_tree,
    snapshot,
)

trees = st.recursive(
    st.binary(max_size=200),
    lambda inner: st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12
        ).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 100),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)


def write(path: Path, tree: object) -> None:
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            write(path / name, inner)
    else:
        assert isinstance(tree, bytes)
        path.write_bytes(tree)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    new=trees.filter(lambda t: isinstance(t, dict)), old=trees.filter(lambda t: isinstance(t, dict))
)
def test_any_tree_synced_over_any_other_is_the_same(new: object, old: object):
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        write(top / "a", new)
        write(top / "b", old)
        here, there = files(top / "a", home=top / "ha"), files(top / "b", home=top / "hb")
        a, b = str(top / "a"), str(top / "b")
        rules = {"contents": True, "sync": True, "delete": True}
        result = at_once(lambda: copy(here, [a], there, b, **rules))
        in_the_way = any(b"in its place" in item.reason.encode() for item in result.failed)
        if not in_the_way:
            assert result.whole.failed == 0
            assert snapshot(top / "b") == snapshot(top / "a")
            again = at_once(lambda: copy(here, [a], there, b, **rules))
            assert (again.whole.copied, again.whole.sent, again.whole.deleted) == (0, 0, 0)


def test_sync_copies_what_changed_and_deletes_on_request_alone(two: Two):
    a, b, here, there = two
    (a / "tree").mkdir()
    make_tree(a / "tree")
    src, dst = str(a / "tree"), str(b / "tree")
    sync = {"contents": True, "sync": True}
    first = at_once(lambda: copy(here, [src], there, dst, dry_run=True, **sync))
    assert first.plan is not None
    assert (first.plan.copy, first.plan.size) == (7, len(BIG) + 15)
    assert list(b.iterdir()) == []
    assert at_once(lambda: copy(here, [src], there, dst, **sync)).whole.copied == 7
    assert snapshot(b / "tree") == snapshot(a / "tree")
    (b / "tree" / "extra").write_bytes(b"e")
    (b / "tree" / "more" / "deep").mkdir(parents=True)
    (a / "tree" / "run.sh").write_bytes(b"#!/bin/sh\ntrue\n")
    result = at_once(lambda: copy(here, [src], there, dst, **sync))
    assert (result.whole.copied, result.whole.deleted) == (1, 0)
    assert (b / "tree" / "extra").exists()
    plan = at_once(lambda: copy(here, [src], there, dst, delete=True, dry_run=True, **sync)).plan
    assert plan is not None
    assert (plan.copy, plan.delete) == (0, 3)
    assert (b / "tree" / "extra").exists()
    result = at_once(lambda: copy(here, [src], there, dst, delete=True, **sync))
    assert (result.whole.copied, result.whole.deleted) == (0, 3)
    assert snapshot(b / "tree") == snapshot(a / "tree")


def test_sync_by_contents(two: Two):
    a, b, here, there = two
    for top in (a, b):
        (top / "same").write_bytes(BIG[:200_000])
        (top / "differs").write_bytes(BIG[:200_000])
    (a / "differs").write_bytes(BIG[1:200_001])
    os.utime(a / "same", (1, 1))
    os.utime(a / "differs", (7, 7))
    os.utime(b / "differs", (7, 7))
    sync = {"contents": True, "sync": True}
    plan = at_once(lambda: copy(here, [str(a)], there, str(b), dry_run=True, **sync)).plan
    assert plan is not None
    assert plan.copy == 1
    result = at_once(lambda: copy(here, [str(a)], there, str(b), checksum=True, **sync))
    assert (result.whole.copied, result.whole.skipped) == (1, 1)
    assert snapshot(a) == snapshot(b)


@pytest.mark.parametrize("change", ["inside", "inserted", "removed", "appended", "truncated"])
def test_a_changed_file_costs_about_what_changed(two: Two, change: str):
    a, b, here, there = two
    (b / "f").write_bytes(BIG)
    new = {
        "inside": BIG[:1_000_000] + b"!" * 100 + BIG[1_000_100:],
        "inserted": BIG[:1_000_000] + b"inserted" + BIG[1_000_000:],
        "removed": BIG[:1_000_000] + BIG[1_000_777:],
        "appended": BIG + b"appended",
        "truncated": BIG[:2_000_001],
    }[change]
    (a / "f").write_bytes(new)
    sync = {"contents": True, "sync": True}
    result = at_once(lambda: copy(here, [str(a)], there, str(b), **sync))
    assert (b / "f").read_bytes() == new
    assert result.whole.sent < 64_000
    assert any(isinstance(item, Same) for item in result.sent)


def test_nothing_is_deleted_when_something_failed(two: Two):
    a, b, here, there = two
    (a / "f").write_bytes(b"x")
    (b / "f").mkdir()
    (b / "extra").write_bytes(b"")
    sync = {"contents": True, "sync": True, "delete": True}
    result = at_once(lambda: copy(here, [str(a)], there, str(b), **sync))
    assert result.end is not None
    assert result.end.deleted == 0
    assert (b / "extra").exists()
