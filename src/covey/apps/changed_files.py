"""Which pushes matter to an app, by the patterns of its file and the files that were changed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

from covey.ignore_files.gitignore import GitIgnore


def names_any(patterns: Sequence[str], changed: Collection[str]) -> bool:
    """Whether patterns as in .gitignore name one of the files, or a directory that it is in.

    The last that names it decides, and `!` takes it out; if all of them do so, from everything.
    """
    lines = list(patterns)
    if all(line.startswith("!") for line in lines):
        lines = ["*", *lines]
    known = [GitIgnore(line.encode("utf-8", "surrogateescape")) for line in reversed(lines)]
    return any(_is_named(known, os.fsencode(path)) for path in changed)


def _is_named(known: Sequence[GitIgnore], path: bytes) -> bool:
    above = [path[: at.start()] for at in re.finditer(b"/", path)]
    for pattern in known:
        found = pattern.decide(path, is_directory=False)
        for place in above:
            if found is None:
                found = pattern.decide(place, is_directory=True)
        if found is not None:
            return found
    return False
