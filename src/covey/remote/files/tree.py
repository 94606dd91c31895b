"""What copying one tree over another comes to: a plan, pure, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from covey.errors import InvalidRequestError
from covey.remote.files.failures import shown
from covey.remote.files.model import Entry, FileKind

MOST_ENTRIES = 2_000_000
_LONGEST_NAME = 255


class Placing(StrEnum):
    """What the destination's path means.

    `into`: the directory that the tree is put in; `as`: the name that the one top gets; `auto`:
    into if it is a directory or ends with `/`, or several tops come, else as.
    """

    AUTO = "auto"
    INTO = "into"
    AS = "as"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a tree is received.

    `sync` leaves what has the same size and time; `checksum` compares contents instead; `delete`
    removes what is not in the tree; `preserve` takes over modes and times.
    """

    sync: bool = False
    checksum: bool = False
    delete: bool = False
    dry_run: bool = False
    preserve: bool = True


@dataclass(frozen=True, slots=True)
class Existing:
    """What stands at the destination already."""

    kind: FileKind
    size: int
    mode: int
    mtime_ns: int
    target: bytes = b""


@dataclass(slots=True)
class TreePlan:
    """What is to be done, in the order in which it is safe.

    `compare` are files whose contents are compared first; they are counted as copies.
    """

    directories: list[Entry] = field(default_factory=list)
    links: list[Entry] = field(default_factory=list)
    copies: list[Entry] = field(default_factory=list)
    compare: list[Entry] = field(default_factory=list)
    skips: list[Entry] = field(default_factory=list)
    deletions: list[bytes] = field(default_factory=list)
    refusals: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Most bytes that will have to come."""
        return sum(entry.size for entry in (*self.copies, *self.compare))


def check_path(path: bytes) -> None:
    """Refuse a relative path that could lead elsewhere; raises `InvalidRequestError`."""
    if not path:
        return
    for part in path.split(b"/"):
        if part in {b"", b".", b".."} or b"\0" in part or len(part) > _LONGEST_NAME:
            raise InvalidRequestError(
                f"{shown(path)} is not a path below the tree that is copied.",
                hint="The sending side does not keep to the protocol.",
            )


def check_tree(entries: Iterable[Entry]) -> None:
    """Refuse a tree that contradicts itself; raises `InvalidRequestError`."""
    kinds: dict[bytes, FileKind] = {}
    numbers: set[int] = set()
    for entry in entries:
        check_path(entry.path)
        parent = entry.path.rpartition(b"/")[0]
        inside = bool(parent) or (bool(entry.path) and b"" in kinds)
        if inside and kinds.get(parent) is not FileKind.DIRECTORY:
            raise InvalidRequestError(
                f"{shown(entry.path)} is in no directory of the tree that is copied."
            )
        if entry.path in kinds or entry.number in numbers:
            raise InvalidRequestError(f"{shown(entry.path)} comes twice.")
        kinds[entry.path] = entry.kind
        numbers.add(entry.number)


def plan_tree(
    entries: Iterable[Entry], existing: Mapping[bytes, Existing], rules: Rules
) -> TreePlan:
    """Decide for each entry; `existing` is what stands at the destination by relative path."""
    plan = TreePlan()
    offered: set[bytes] = set()
    for entry in entries:
        offered.add(entry.path)
        found = existing.get(entry.path)
        match entry.kind:
            case FileKind.DIRECTORY:
                _directory(plan, entry, found, rules)
            case FileKind.SYMLINK:
                _link(plan, entry, found)
            case FileKind.FILE:
                _file(plan, entry, found, rules)
            case FileKind.OTHER:
                plan.refusals.append(
                    (entry.path, "it is neither a file nor a directory nor a link")
                )
    if rules.delete:
        # The deepest first, so that directories are empty when their turn comes.
        extra = [path for path in existing if path and path not in offered]
        plan.deletions = sorted(extra, key=lambda path: (-path.count(b"/"), path))
    return plan


def _directory(plan: TreePlan, entry: Entry, found: Existing | None, rules: Rules) -> None:
    if found is not None and found.kind is not FileKind.DIRECTORY and not rules.sync:
        plan.refusals.append((entry.path, f"a {found.kind.value} is in its place"))
        return
    plan.directories.append(entry)


def _link(plan: TreePlan, entry: Entry, found: Existing | None) -> None:
    if found is not None and found.kind is FileKind.SYMLINK and found.target == entry.target:
        plan.skips.append(entry)
    elif found is not None and found.kind is FileKind.DIRECTORY:
        plan.refusals.append((entry.path, "a directory is in its place"))
    else:
        plan.links.append(entry)


def _file(plan: TreePlan, entry: Entry, found: Existing | None, rules: Rules) -> None:
    if found is None:
        plan.copies.append(entry)
    elif found.kind is FileKind.DIRECTORY:
        plan.refusals.append((entry.path, "a directory is in its place"))
    elif found.kind is not FileKind.FILE or not rules.sync or found.size != entry.size:
        plan.copies.append(entry)
    elif rules.checksum and entry.size:
        plan.compare.append(entry)
    elif rules.checksum or found.mtime_ns == entry.mtime_ns:
        plan.skips.append(entry)
    else:
        plan.copies.append(entry)
