"""Every `covey` command line in the pages exists, with its options, in the reference."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.surfaces.cli.menu import ALIASES
from tests.docs.markdown import ROOT, blocks, pages

REFERENCE = ROOT / "docs/reference/command-line.md"
PAGES = [page for page in pages() if REFERENCE.parent not in page.parents]
PROMPT = re.compile(r"^\w*\$ ")
END = re.compile(r"^[|&;<>]+$|^\d?[<>]")


def references() -> dict[tuple[str, ...], str]:
    """Return the help of each command by its words."""
    found: dict[tuple[str, ...], str] = {}
    for block in blocks(REFERENCE):
        usage = re.match(r"Usage: covey((?: [a-z][a-z-]*)*)", block.text)
        if usage is not None:
            found[tuple(usage[1].split())] = block.text
    return found


HELP = references()


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words after each `covey` that stands where a command does.

    With prompts in the text, only what stands after one was typed.
    """
    lines = text.replace("\\\n", " ").splitlines()
    prompted = [line.partition("$ ")[2] for line in lines if PROMPT.match(line)]
    for typed in prompted or lines:
        lexer = shlex.shlex(typed, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        words = list(lexer)
        starts = [number for number, word in enumerate(words) if word == "covey"]
        for start in starts:
            if start and not END.match(words[start - 1]) and words[start - 1] != "exec":
                continue
            rest = words[start + 1 :]
            stop = next((n for n, word in enumerate(rest) if END.match(word)), len(rest))
            yield rest[:stop]


def fault(words: list[str]) -> str | None:
    """Say what is wrong with a command line, if anything is."""
    if words and not any(len(p) > 1 and tuple(words[: len(p)]) == p for p in HELP):
        words = [*ALIASES.get(words[0], words[:1]), *words[1:]]
    path = max((p for p in HELP if tuple(words[: len(p)]) == p), key=len)
    rest = words[len(path) :]
    if not path and rest and not rest[0].startswith("-"):
        return f"there is no command {rest[0]}"
    own = rest[: rest.index("--")] if "--" in rest else rest
    known = set(re.findall(r"--[a-z][a-z-]*", HELP[path] + HELP[()]))
    unknown = {word.partition("=")[0] for word in own if word.startswith("--")} - known
    return f"{' '.join(path)} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    wrong = [
        f"{block}: covey {' '.join(words)}: {problem}"
        for block in blocks(page)
        if block.language in {"sh", "console"}
        for words in command_lines(block.text)
        if (problem := fault(words)) is not None
    ]
    assert wrong == []


def test_a_wrong_command_is_noticed() -> None:
    (words,) = command_lines("freya$ covey env sett NAME=1 > out")
    assert words == ["env", "sett", "NAME=1"]
    assert fault(["nonsense"]) == "there is no command nonsense"
    assert fault(["status", "--nonsense"]) == "node status has no --nonsense"
    assert fault(["env", "run", "--redact", "--", "make", "--nonsense"]) is None
    assert fault(["exec", "--cwd", "/", "--", "ls", "--nonsense"]) is None
    assert fault(["exec", "logs", "--follow", "1"]) is None
