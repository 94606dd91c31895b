"""What may follow on a command line: commands, options, choices, and names that the node knows.

The shells call `covey __complete WORD… CURRENT`. Each line of the answer is a value, and after a
tab what it is; a line that begins with a colon tells the shell to complete files or commands.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from covey.operations.command_document import load_commands
from covey.surfaces.cli.menu import HIDDEN
from covey.surfaces.cli.tree import Node, build_tree

if TYPE_CHECKING:
    import click

    from covey.surfaces.cli.session import Session

FILES = ":files"
DIRECTORIES = ":directories"
COMMANDS = ":commands"

Candidate = tuple[str, str]

_PATIENCE_SECONDS = 2

_FILE_NAMES = frozenset({"path", "file", "paths", "files", "key_file", "token_file"})
_GLOBAL: tuple[Candidate, ...] = (
    ("--host", "Do it on this host, or several"),
    ("--all", "Do it on every host"),
    ("--tag", "Do it on every host with this tag"),
    ("--parallel", "Most hosts at one time"),
    ("--json", "Print JSON"),
    ("--quiet", "Print names alone"),
    ("--url", "Talk to the node at this URL"),
    ("--token-file", "The file with the token for --url"),
    ("--no-color", "Print without colours"),
    ("--help", "Show the help"),
)
_TAKE_VALUE = frozenset({"-H", "--host", "--tag", "--parallel", "--url", "--token-file"})
_HOST_FLAGS = frozenset({"-H", "--host"})


def print_completions(words: Sequence[str]) -> int:
    """Print what may stand where the last word is; never fails, since a shell's prompt waits."""
    _give_up_after(_PATIENCE_SECONDS)
    try:
        current = words[-1] if words else ""
        lines = [
            f"{value}\t{about}" if about else value
            for value, about in candidates(list(words[:-1]), current)
            if value.startswith((":", current))
        ]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except Exception:  # noqa: BLE001 - a completion that fails offers nothing
        return 1
    return 0


def candidates(before: Sequence[str], current: str) -> Iterator[Candidate]:
    """Yield what may follow the words `before`, given the beginning of the current one."""
    root = build_tree(load_commands())
    node, rest = _descend(root, before)
    if before and before[-1] in _HOST_FLAGS and "--" not in before:
        yield from _hosts(current)
    elif current.startswith("--host=") and "--" not in before:
        for names, about in _hosts(current.removeprefix("--host=")):
            yield f"--host={names}", about
    elif "--" in rest:
        yield (COMMANDS, "") if rest[-1] == "--" else (FILES, "")
    elif node.is_group and node.default is None and rest:
        return
    elif node.is_group:
        yield from _of_group(node, current, at_root=node is root)
        if node.default is not None and current.startswith("-"):
            yield from _of_command(node.default, rest, current)
    else:
        yield from _of_command(node, rest, current)


def _descend(root: Node, words: Sequence[str]) -> tuple[Node, list[str]]:
    """Follow the words to a command, leaving out global options; returns the words after it."""
    node, rest, skip = root, list[str](), False
    for word in words:
        if skip:
            skip = False
        elif node.is_group and word in node.children:
            node = node.children[word]
        elif node.is_group and word.startswith("-"):
            skip = word in _TAKE_VALUE
            if node.default is not None and not skip:
                rest.append(word)
        else:
            rest.append(word)
    return node, rest


def _of_group(node: Node, current: str, *, at_root: bool) -> Iterator[Candidate]:
    if current.startswith("-"):
        yield from _GLOBAL
        return
    for name in sorted(node.children):
        if not (at_root and name in HIDDEN):
            yield name, node.children[name].summary


def _hosts(current: str) -> Iterator[Candidate]:
    """Yield the names of hosts that may follow those that stand before the last comma."""
    from covey.surfaces.cli.complete_names import names_for
    from covey.surfaces.cli.session import Locals, Session

    before, comma, _ = current.rpartition(",")
    named = set(before.split(","))
    session = Session(load_commands(), Locals(_no_locals, _no_locals))
    try:
        for name, about in names_for(session, "fleet.list", "host"):
            if name not in named:
                yield f"{before}{comma}{name}", about
    finally:
        session.close()


def _of_command(node: Node, rest: list[str], current: str) -> Iterator[Candidate]:
    from covey.surfaces.cli.session import Locals, Session

    session = Session(load_commands(), Locals(_no_locals, _no_locals))
    try:
        yield from _of_built(session, node, rest, current)
    finally:
        session.close()


def _of_built(session: Session, node: Node, rest: list[str], current: str) -> Iterator[Candidate]:
    import click

    from covey.surfaces.cli.groups import build_command

    command = build_command(session, node)
    options = [param for param in command.params if isinstance(param, click.Option)]
    flags = {name: option for option in options for name in (*option.opts, *option.secondary_opts)}
    previous = flags.get(rest[-1]) if rest else None
    if previous is not None and not previous.is_flag:
        yield from _values(session, node, previous)
        return
    if current.startswith("--") and "=" in current:
        flag, _, _ = current.partition("=")
        if flag in flags:
            for value, about in _values(session, node, flags[flag]):
                yield (value if value.startswith(":") else f"{flag}={value}"), about
        return
    if current.startswith("-"):
        used = {flags[word] for word in rest if word in flags and not flags[word].multiple}
        for option in options:
            if option not in used:
                yield max(option.opts, key=len), option.help or ""
        yield "--help", "Show the help"
        return
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    given = sum(1 for _ in _positional(rest, flags))
    if arguments and (given < len(arguments) or arguments[-1].nargs == -1):
        yield from _values(session, node, arguments[min(given, len(arguments) - 1)])


def _positional(rest: Iterable[str], flags: dict[str, click.Option]) -> Iterator[str]:
    skip = False
    for word in rest:
        if skip:
            skip = False
        elif word in flags:
            skip = not flags[word].is_flag
        elif not word.startswith("-"):
            yield word


def _values(session: Session, node: Node, param: click.Parameter) -> Iterator[Candidate]:
    import click

    described = getattr(param.type, "param", None)
    if isinstance(param.type, click.Choice):
        yield from ((str(choice), "") for choice in param.type.choices)
    elif described is not None and described.choices:
        yield from ((choice, "") for choice in described.choices)
    elif param.name in _FILE_NAMES or isinstance(param.type, click.Path):
        yield FILES, ""
    else:
        from covey.surfaces.cli.complete_names import names_for

        operation = node.operation.name if node.operation else ".".join(node.words)
        yield from names_for(session, operation, param.name or "")


def _give_up_after(seconds: int) -> None:
    """End the process if the node does not answer: a prompt must not hang."""
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(1))
        signal.alarm(seconds)


def _no_locals() -> NoReturn:
    raise AssertionError("completion builds commands and never runs them")
