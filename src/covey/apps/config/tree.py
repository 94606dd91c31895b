"""The names of a source's files, and the text of the few that tell how it is built."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_NAMES = 5000
MOST_TEXT_BYTES = 256 << 10
_MOST_TEXTS = 60
_DEPTH = 3
_PASSED_OVER = {"node_modules", "__pycache__", "venv", "vendor", "target", "site-packages"}
_TOP = {
    ".node-version",
    ".nvmrc",
    ".python-version",
    "Pipfile",
    "Procfile",
    "angular.json",
    "go.mod",
    "manage.py",
    "package.json",
    "pyproject.toml",
    "requirements.txt",
    "runtime.txt",
    "svelte.config.js",
    "yarn.lock",
}
_PATTERNS = re.compile(
    r"(?:astro|next|nuxt|vite)\.config\.[cm]?[jt]s"
    r"|[^/]+\.go"
    r"|(?:[^/]+/){0,2}(?:__init__|api|app|application|main|server)\.py"
)


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A source as detection sees it: paths of files with `/`, and texts by path."""

    names: frozenset[str]
    texts: Mapping[str, str] = field(default_factory=dict)

    def has(self, *names: str) -> bool:
        """Whether one of the files is there."""
        return any(name in self.names for name in names)

    def first(self, *names: str) -> str | None:
        """Return the first of the names that is there."""
        return next((name for name in names if name in self.names), None)

    def text(self, name: str) -> str:
        """Return a file's text; empty if it is not there or was not read."""
        return self.texts.get(name, "")

    def below(self, directory: str) -> list[str]:
        """Return the names in a directory and in those in it, sorted."""
        return sorted(name for name in self.names if name.startswith(f"{directory}/"))

    def has_directory(self, directory: str) -> bool:
        """Whether a file is known in that directory."""
        return directory == "." or any(name.startswith(f"{directory}/") for name in self.names)


def seen(name: str) -> bool:
    """Whether `read_tree` would look at a file of that path."""
    *directories, _ = parts = name.split("/")
    return (
        len(parts) <= _DEPTH
        and all(part not in {"", ".", ".."} for part in parts)
        and not any(part in _PASSED_OVER or part.startswith(".") for part in directories)
    )


def wanted_texts(names: Iterable[str]) -> tuple[str, ...]:
    """Return which of the files detection reads: never `.env`."""
    found = sorted(name for name in names if name in _TOP or _PATTERNS.fullmatch(name))
    found.sort(key=lambda name: (name.count("/"), name not in _TOP))
    return tuple(found[:_MOST_TEXTS])


def read_tree(root: Path) -> SourceTree:
    """Look at a directory, three levels deep, without following any link."""
    names = frozenset(_walk(root))
    texts = {}
    for name in wanted_texts(names):
        text = _read(root / name)
        if text is not None:
            texts[name] = text
    return SourceTree(names, texts)


def _walk(root: Path) -> Iterator[str]:
    found = 0
    for directory, below, files in os.walk(root):
        here = Path(directory).relative_to(root)
        below[:] = sorted(
            name for name in below if name not in _PASSED_OVER and not name.startswith(".")
        )
        if len(here.parts) >= _DEPTH - 1:
            below.clear()
        for name in sorted(files):
            found += 1
            if found > MOST_NAMES:
                return
            yield (here / name).as_posix()


def _read(path: Path) -> str | None:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return file.read(MOST_TEXT_BYTES).decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError:
        return None
