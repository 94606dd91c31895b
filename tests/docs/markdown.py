"""The fenced blocks, links and anchors of the project's Markdown."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)$")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^()\s]+)\)", re.DOTALL)
_HEADING = re.compile(r"^#+ +(?P<text>.+?) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `language` is the first word after the fence, `marks` are the others."""

    path: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every Markdown page that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in their order."""
    opened: re.Match[str] | None = None
    start = 0
    lines: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if opened is None:
            if match is not None:
                opened, start, lines = match, number, []
        elif match is not None and match["fence"] == opened["fence"] and not match["info"].strip():
            language, *marks = opened["info"].split() or [""]
            yield Block(path, start, language, tuple(marks), "\n".join(lines))
            opened = None
        else:
            lines.append(line.removeprefix(opened["indent"]))
    if opened is not None:
        raise AssertionError(f"{path}:{start}: this block is never closed")


def prose(path: Path) -> str:
    """Return a page without its fenced blocks and inline code."""
    kept: list[str] = []
    inside = False
    for line in path.read_text("utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return re.sub(r"`[^`\n]*`", "", "\n".join(kept))


def links(path: Path) -> list[str]:
    """Return the targets of a page's links."""
    return [match["target"] for match in _LINK.finditer(prose(path))]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for match in _HEADING.finditer(text):
        words = re.sub(r"[^\w\- ]", "", match["text"].lower())
        found.add(words.replace(" ", "-"))
    return found
