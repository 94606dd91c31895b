"""Help pages: what it does, how to write it, what it takes, and examples; pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from covey.surfaces.cli.menu import HIDDEN, SECTIONS
from covey.surfaces.cli.tree import Node

WIDTH = 80

GLOBAL_OPTIONS: tuple[tuple[str, str], ...] = (
    ("-H, --host NAME[,NAME…]", "Do it on this host of the fleet, or on several."),
    ("--all", "Do it on every host."),
    ("--tag TAG", "Do it on every host with this tag."),
    ("--parallel N", "Most hosts that work at one time. Default: 16."),
    ("--json", "Print JSON."),
    ("-q, --quiet", "Print names alone, and nothing for a change."),
    ("--url URL", "Talk to the node at this https URL. Or COVEY_URL."),
    ("--token-file PATH", "The file with the token for --url. Or COVEY_TOKEN."),
    ("--no-color", "Print without colours. Or NO_COLOR."),
)
"""The options that every command takes, as help shows them."""

HELP_OPTION = ("-h, --help", "Show this page.")

HOST_FLAGS = frozenset({"--host", "--all", "--tag", "--parallel"})
"""Those of them that choose the hosts of an operation."""

_GAP = 2
_LEFT_LIMIT = 28

Rows = Sequence[tuple[str, str]]


def root_page(root: Node) -> str:
    """Return the page of `covey --help`."""
    lines = ["Usage: covey [OPTIONS] COMMAND …", ""]
    lines += _text("Turn the machines that you own into one private cloud.")
    shown: set[str] = set()
    for title, names in SECTIONS:
        present = [name for name in names if name in root.children]
        shown.update(present)
        lines += _section(title, [(name, root.children[name].summary) for name in present])
    more = sorted(root.children.keys() - shown - HIDDEN)
    lines += _section("More", [(name, root.children[name].summary) for name in more])
    options = [*GLOBAL_OPTIONS, ("--version", "Print the version."), HELP_OPTION]
    lines += _section("Options, before or after any command", options)
    lines += _examples(("init", "set GREETING=hello", "run -- make deploy"))
    lines += ["", "Help on a command: covey COMMAND --help"]
    return _page(lines)


def group_page(path: str, node: Node) -> str:
    """Return a group's page: its commands, and what it does when none is named."""
    lines = [f"Usage: {path} [OPTIONS] COMMAND …", "", *_text(node.summary)]
    lines += _section(
        "Commands", [(name, node.children[name].summary) for name in sorted(node.children)]
    )
    if node.default is not None:
        default = " ".join(node.default.words)
        lines += ["", *_text(f"Without a command, as `covey {default}`: {node.default.summary}")]
    lines += ["", f"Help on a command: {path} COMMAND --help"]
    return _page(lines)


def command_page(
    usage: str,
    summary: str,
    description: str,
    *,
    arguments: Rows,
    options: Rows,
    examples: Sequence[str],
    also: Sequence[str],
) -> str:
    """Return a command's page; `usage` is what follows the word Usage.

    `also` are the flags that the command shares with others.
    """
    lines = _wrap(f"Usage: {usage}", hanging="       ")
    for text in (summary, description):
        if text:
            lines += ["", *_text(text)]
    lines += _section("Arguments", arguments)
    lines += _section("Options", [*options, HELP_OPTION])
    lines += _examples(examples)
    lines += ["", *_wrap(f"Also: {', '.join(also)}.", hanging="      ")]
    return _page(lines)


def _section(title: str, rows: Rows) -> list[str]:
    """Return a heading and its rows in two columns; a long left cell stands on its own line."""
    if not rows:
        return []
    widest = max((len(left) for left, _ in rows if len(left) <= _LEFT_LIMIT), default=_LEFT_LIMIT)
    indent = " " * (_GAP + widest + _GAP)
    lines = ["", f"{title}:"]
    for left, right in rows:
        wrapped = _wrap(right, width=WIDTH - len(indent)) if right else [""]
        if len(left) > widest:
            lines.append(f"{' ' * _GAP}{left}")
        else:
            lines.append(f"{' ' * _GAP}{left:{widest}}{' ' * _GAP}{wrapped.pop(0)}".rstrip())
        lines += [f"{indent}{line}" for line in wrapped if line]
    return lines


def _examples(examples: Sequence[str]) -> list[str]:
    """Return the examples, never wrapped, so that they can be copied."""
    return ["", "Examples:", *(f"  covey {example}" for example in examples)] if examples else []


def _text(text: str) -> list[str]:
    """Wrap paragraphs; indented lines stay as they are."""
    lines: list[str] = []
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip() and not line.startswith(" "):
            paragraph.append(line)
            continue
        lines += _wrap(" ".join(paragraph)) if paragraph else []
        paragraph = []
        lines.append(line.rstrip())
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _wrap(text: str, *, width: int = WIDTH, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
