"""Patterns of branches, tags, paths and repositories, matched in time linear in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def matches(text: str, pattern: str) -> bool:
    """Whether a pattern fits a whole path: `*` and `?` stay within a segment, `**` does not.

    A pattern that ends in `/` means all that is below.
    """
    if pattern.endswith("/"):
        pattern += "**"
    return _fits(text.split("/"), pattern.split("/"), "**", _segment_fits)


def any_matches(texts: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of `texts` fits the patterns: the last that fits it decides, `!` excludes.

    When there are only patterns that exclude, they take from everything.
    """
    if patterns and all(item.startswith("!") for item in patterns):
        patterns = ("**", *patterns)
    return any(_chosen(text, patterns) for text in texts)


def _chosen(text: str, patterns: Sequence[str]) -> bool:
    for pattern in reversed(patterns):
        if matches(text, pattern.removeprefix("!")):
            return not pattern.startswith("!")
    return False


def _segment_fits(text: str, pattern: str) -> bool:
    return _fits(text, pattern, "*", lambda given, wanted: wanted in {"?", given})


def _fits(items: Sequence[T], pattern: Sequence[T], star: T, fits: Callable[[T, T], bool]) -> bool:
    """Match greedily: on a mismatch, only the last star so far takes one item more."""
    at, place = 0, 0
    star_place, star_at = -1, 0
    while at < len(items):
        if place < len(pattern) and pattern[place] == star:
            star_place, star_at = place, at
            place += 1
        elif place < len(pattern) and fits(items[at], pattern[place]):
            at, place = at + 1, place + 1
        elif star_place >= 0:
            star_at += 1
            at, place = star_at, star_place + 1
        else:
            return False
    return all(item == star for item in pattern[place:])
