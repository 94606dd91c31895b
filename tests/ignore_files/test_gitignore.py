"""Which paths a .gitignore names, as git's own tests of its wildcards have it (t3070)."""

from __future__ import annotations

import pytest

from covey.ignore_files.gitignore import GitIgnore


@pytest.mark.parametrize(
    "pattern, path, ignored",
    [
        ("foo", "foo", True),
        ("foo", "deep/foo", True),
        ("/foo", "deep/foo", False),
        ("a/foo", "x/a/foo", False),
        ("foo/", "foo", None),
        ("???", "foo", True),
        ("??", "foo", False),
        ("*/*/*", "foo/bb/aa/rr", False),
        ("**/**/**", "foo/bb/aa/rr", True),
        ("**/bar", "deep/foo/bar", True),
        ("foo/**/bar", "foo/bar", True),
        ("foo/**/bar", "foo/a/b/bar", True),
        ("foo**bar", "foo/baz/bar", False),
        ("foo**/bar", "foox/y/bar", True),  # the plain beginning is taken off first
        ("x*o**/bar", "xoo/y/bar", False),
        ("foo/*", "foo/bar/baz", False),
        ("foo/**", "foo/bar/baz", True),
        ("foo/**", "foo", False),
        ("t[a-g]n", "ten", True),
        ("t[!a-g]n", "ten", False),
        ("t[^a-g]n", "ton", True),
        ("a[]]b", "a]b", True),
        ("a[]-]b", "a-b", True),
        ("a[!/]b", "a/b", False),
        ("[[:alpha:]][[:digit:]]", "a1", True),
        ("[[:nothing:]]", "a", False),
        ("[[:alpha:]", "a", False),
        ("[a-", "a", False),
        ("[\\]-^]x", "^x", True),
        ("a\\", "a", False),
        ("\\#x", "#x", True),
        ("#x", "#x", False),
        ("\\!x", "!x", True),
        ("x  ", "x", True),
        ("x\\ ", "x ", True),
        ("x\\\\ ", "x\\", True),
        ("x\r", "x", True),
        ("x\vy", "x", False),
        ("\ufeffx", "x", True),
        ("caf??", "café", True),  # two bytes
        ("", "x", False),
        ("/", "x", False),
        ("!", "x", False),
        ("**", "a/b", True),
    ],
)
def test_matches_as_git_does(pattern: str, path: str, *, ignored: bool | None) -> None:
    found = GitIgnore(pattern.encode()).decide(path.encode(), is_directory=False)
    assert bool(found) is bool(ignored)


def test_the_last_pattern_that_names_a_path_decides() -> None:
    rules = GitIgnore(b"*.log\n!keep.log\nbuild/\n")
    assert rules.decide(b"x.log", is_directory=False) is True
    assert rules.decide(b"keep.log", is_directory=False) is False
    assert rules.decide(b"build", is_directory=False) is None
    assert rules.decide(b"build", is_directory=True) is True


def test_case_counts_unless_it_is_said_that_it_does_not() -> None:
    assert GitIgnore(b"*.LOG").decide(b"x.log", is_directory=False) is None
    assert GitIgnore(b"*.LOG", ignore_case=True).decide(b"x.log", is_directory=False) is True
