"""Paths within the roots: `..` and links lead where they should, and never out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.errors import CoveyError, InvalidRequestError, NotFoundError, RefusedError
from covey.remote.files.roots import Roots

NAMES = ["a", "b", "c"]
part = st.sampled_from([*NAMES, "..", ".", ""])
relative = st.lists(part, min_size=1, max_size=5).map("/".join)
where = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
links = st.lists(
    st.tuples(where, st.one_of(relative, relative.map(lambda p: "/TOP/" + p))), max_size=6
)


def grow(top: Path, directories: Sequence[str], made: Sequence[tuple[str, str]]) -> None:
    for name in directories:
        (top / name).mkdir(parents=True, exist_ok=True)
    for name, target in made:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink() and not path.exists():
            path.symlink_to(target.replace("/TOP", str(top)))


def place(roots: Roots, path: str) -> str | None:
    """Return where a path leads by its descriptor and name; None if it is refused."""
    try:
        with roots.locate(path) as found:
            directory = Path(f"/proc/self/fd/{found.directory}").readlink()
            return str(directory / os.fsdecode(found.name))
    except CoveyError:
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(directories=st.lists(where, max_size=4), made=links, asked=relative)
def test_no_path_through_any_links_leads_out(
    directories: list[str], made: list[tuple[str, str]], asked: str
):
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory).resolve()
        for name in ("in", "out"):
            (top / name).mkdir()
        (top / "out" / "a").mkdir()
        try:
            grow(top / "in", directories, [(n, t.replace("/TOP", f"{top}/in")) for n, t in made])
            grow(top / "in", [], [("c/x", f"{top}/out/a"), ("y", "../../out/a")])
        except OSError:
            return
        for path in (asked, f"{top}/in/{asked}", f"c/x/{asked}", f"y/{asked}", f"{asked}/y/b"):
            found = place(Roots([str(top / "in")]), path)
            if found is None:
                continue
            inside = found == str(top / "in") or found.startswith(f"{top}/in/")
            assert inside
            if os.path.lexists(found):
                assert os.path.realpath(top / "in" / path) == found


def test_the_roots_of_the_settings(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "one" / "two"
    two.mkdir(parents=True)
    (one / "f").write_bytes(b"")
    (tmp_path / "named").symlink_to("one")
    roots = Roots([str(tmp_path / "named"), str(two)])
    assert place(roots, "f") == str(one / "f")
    assert place(roots, "~/f") == str(one / "f")
    assert place(roots, "~") == str(one)
    assert place(roots, ".") == str(one)
    assert place(roots, f"{tmp_path}/named/f") == str(one / "f")
    assert place(roots, f"{tmp_path}/one/f") is None
    assert place(roots, f"{two}/new") == str(two / "new")
    assert place(roots, f"{two}/../f") is None
    assert place(Roots(["/"]), f"{one}/f") == str(one / "f")
    assert place(Roots(["/"]), "/../etc") is None


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "link", "link/x", "/"])
def test_refusals_name_the_setting(tmp_path: Path, path: str):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(RefusedError) as refused, Roots([str(tmp_path / "in")]).locate(path):
        pass
    assert "files.roots" in (refused.value.hint or "")


def test_what_else_is_wrong_is_said(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "f").write_bytes(b"")
    roots = Roots([str(tmp_path)])
    for path, kind in (("a\0b", InvalidRequestError), ("none/x", NotFoundError)):
        with pytest.raises(kind), roots.locate(path):
            pass
    for path in ("loop", "loop/x", "f/x"):
        with pytest.raises(CoveyError), roots.locate(path):
            pass


def test_a_link_at_the_end_is_followed_or_not(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "l").symlink_to("f")
    roots = Roots([str(tmp_path)])
    with roots.locate("l") as found:
        assert found.name == b"f"
    with roots.locate("l", follow=False) as found:
        assert found.name == b"l"


def test_nothing_stays_open(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("a/b/c", "none/x", "a/../../x"):
        place(Roots([str(tmp_path)]), path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
