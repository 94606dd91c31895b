"""The command tree: words to operations, aliases and local commands; pure and cheap to build."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from covey.operations.command_document import Command, CommandDocument
from covey.surfaces.cli.menu import ALIASES, FRONT_ENDS, GROUPS, INNER, LOCAL, LocalCommand

Words = tuple[str, ...]


@dataclass(slots=True)
class Node:
    """A word of the command line: a command, a group, or a group with a default command."""

    words: Words
    operation: Command | None = None
    local: LocalCommand | None = None
    children: dict[str, Node] = field(default_factory=dict)
    default: Node | None = None

    @property
    def name(self) -> str:
        """The last word."""
        return self.words[-1] if self.words else "covey"

    @property
    def is_group(self) -> bool:
        """Whether more words may follow."""
        return bool(self.children)

    @property
    def summary(self) -> str:
        """One line on what it does."""
        if self.is_group:
            return GROUPS.get(" ".join(self.words), _listed(self.children))
        if self.local is not None:
            return self.local.summary
        return self.operation.summary if self.operation is not None else ""


def build_tree(document: CommandDocument) -> Node:
    """Build the tree of all commands."""
    root = Node(())
    for command in document.commands:
        local = FRONT_ENDS.get(command.name)
        if local is None and (command.duplex or command.name in INNER):
            continue
        _place(root, Node(command.path, operation=command, local=local))
    for words, local in LOCAL.items():
        operation = getattr(find(root, words), "operation", None)
        _place(root, Node(words, operation=operation, local=local))
    for alias, target in ALIASES.items():
        found = find(root, target)
        if found is None:
            continue
        group = root.children.get(alias)
        if group is not None and group.is_group:
            group.default = found
        elif group is None:
            root.children[alias] = Node(
                (alias,), operation=found.operation, local=found.local, children=found.children
            )
    return root


def find(root: Node, words: Words) -> Node | None:
    """Return the node with these words, or None."""
    node: Node | None = root
    for word in words:
        node = node.children.get(word) if node is not None else None
    return node


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in node.children.values():
        yield from walk(child)


def _place(root: Node, node: Node) -> None:
    parent = root
    for depth in range(1, len(node.words)):
        words = node.words[:depth]
        parent = parent.children.setdefault(words[-1], Node(words))
    present = parent.children.get(node.name)
    if present is not None:
        node.children = present.children
    parent.children[node.name] = node


def _listed(children: dict[str, Node]) -> str:
    return "Commands: " + ", ".join(sorted(children)) + "."
