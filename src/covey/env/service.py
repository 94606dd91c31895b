"""Changing variables: set, unset, roll back, copy, settle conflicts; each change in one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from covey.env.expansion import ExpansionError, check_expandable, looks_expandable
from covey.env.model import (
    Kind,
    Stored,
    check_name,
    check_note,
    check_value,
    decode_stored,
    split_record_key,
)
from covey.env.records import EnvRecords, Write
from covey.env.resolve import Layered
from covey.env.results import Applied, SecretName
from covey.env.scope import Place, Scope
from covey.env.values import Resolved, ValueSource
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.shellkit.assignable import VITAL
from covey.store.api import RecordStore, Version, VersionId


@dataclass(frozen=True, slots=True)
class Assignment:
    """One variable to be set; None for `kind` or `note` keeps what the variable had."""

    scope: Scope
    name: str
    value: str = field(repr=False)
    kind: Kind | None = None
    expand: bool = False
    note: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """One variable to be unset."""

    scope: Scope
    name: str
    expected: str | None = None


class EnvService:
    """The fleet's variables as this node sees them.

    `host_name` returns this node's name: what is resolved without naming a host is resolved for it.
    Writes raise what the record store raises.
    """

    def __init__(
        self, store: RecordStore, host_name: Callable[[], str], values: ValueSource
    ) -> None:
        self.store = store
        self.records = EnvRecords(store)
        self.values = values
        self._host_name = host_name

    def place(self, project: str | None, environment: str | None, host: str | None) -> Place:
        """Return the place that a request names; raises `InvalidRequestError` for bad names."""
        place = Place(project or None, environment or None, host or self._host_name())
        place.scopes()
        return place

    async def resolve(self, place: Place, only: str | None = None) -> Resolved:
        """Return the values of a place, or one; `only` raises `NotFoundError` if it is not set."""
        layers = self.records.at(place)
        if only is not None and only not in layers:
            check_name(only)
            raise self.records.missing(only, _where(place))
        return await self.values.resolve(layers, only)

    async def set(self, wanted: Assignment, author: str) -> tuple[Layered, str | None]:
        """Set one variable; returns it as stored, and a hint when it may not mean what it says."""
        write = self._assign(wanted, author)
        [version] = await self.records.write([write])
        return _stored_as(write, version), _hint(wanted)

    async def unset(self, removal: Removal) -> Version:
        """Remove one variable; raises `NotFoundError` if it is not set in that scope."""
        [version] = await self.records.write([self._remove(removal)])
        return version

    async def apply(self, changes: Sequence[Assignment | Removal], author: str) -> Applied:
        """Make all changes or none; raises `InvalidRequestError` if one variable comes twice."""
        seen: set[tuple[Scope, str]] = set()
        for change in changes:
            if (change.scope, change.name) in seen:
                raise InvalidRequestError(
                    f"{change.name[:80]} comes twice for {change.scope}.",
                    hint="Give each variable of a scope once.",
                )
            seen.add((change.scope, change.name))
        writes = [
            self._assign(change, author) if isinstance(change, Assignment) else self._remove(change)
            for change in changes
        ]
        await self.records.write(writes)
        hints = [_hint(change) for change in changes if isinstance(change, Assignment)]
        return Applied(
            set=[change.name for change in changes if isinstance(change, Assignment)],
            unset=[change.name for change in changes if isinstance(change, Removal)],
            hints=[hint for hint in hints if hint is not None],
        )

    async def replace(
        self, scope: Scope, entries: Iterable[Assignment], author: str
    ) -> tuple[list[str], list[str]]:
        """Set many variables of one scope in one commit; the last of a name counts.

        Returns the names that changed and those that were so already.
        """
        latest = {entry.name: entry for entry in entries}
        present = dict(self.records.in_scope(scope))
        writes: list[Write] = []
        same: list[str] = []
        for entry in latest.values():
            write = self._assign(entry, author, present.get(entry.name))
            before = present.get(entry.name)
            if before is not None and write[2] is not None and _equal(before.stored, write[2]):
                same.append(entry.name)
            else:
                writes.append(write)
        await self.records.write(writes)
        return sorted(write[1] for write in writes), sorted(same)

    async def rollback(
        self, scope: Scope, name: str, version: str, author: str, expected: str | None = None
    ) -> Layered | None:
        """Make an earlier version the present one again; None if that version was a deletion.

        Raises `NotFoundError` for an unknown version, `ConflictError` for a compacted one.
        """
        found = self.version(scope, name, version)
        if found.deleted:
            await self.records.write([(scope, name, None, _id(expected))])
            return None
        stored = _with_author(self.content(name, found), author)
        write: Write = (scope, name, stored, _id(expected))
        [written] = await self.records.write([write])
        return _stored_as(write, written)

    def current(self, scope: Scope, name: str, history: Sequence[Version]) -> frozenset[VersionId]:
        """Return the versions that nothing supersedes: one, or those in conflict."""
        for where, other, versions in self.conflicts():
            if (where, other) == (scope, name):
                return frozenset(one.id for one in versions)
        present = self.records.get(scope, name)
        return frozenset({history[0].id if present is None else present.version})

    def version(self, scope: Scope, name: str, version: str) -> Version:
        """Return one version of a variable; raises `NotFoundError`."""
        history = self.records.history(scope, name)
        found = next((one for one in history if one.id == version), None)
        if found is None:
            raise NotFoundError(
                f"{name} has no version {version[:80]} in the scope {scope}.",
                hint=f"See its versions: covey env history {name} --scope {scope}",
            )
        return found

    def content(self, name: str, version: Version) -> Stored:
        """Return what a version stored; raises `ConflictError` if that is no longer known."""
        if version.value is None:
            gone = "is a deletion" if version.deleted else "was compacted: its value is gone"
            raise ConflictError(
                f"The version {version.id} of {name} {gone}.",
                hint="Choose another version: covey env history " + name,
            )
        return decode_stored(version.value)

    async def copy(
        self, source: Scope, target: Scope, names: Sequence[str], author: str, *, overwrite: bool
    ) -> list[str]:
        """Copy variables as they are stored, all of `source` if no names are given.

        Raises `ConflictError` if one is set differently in `target` and not to be overwritten.
        """
        if source == target:
            raise InvalidRequestError("The two scopes are the same.", hint="Name two scopes.")
        if names:
            found = {name: self.records.require(source, name) for name in names}
        else:
            found = dict(self.records.in_scope(source))
        present = dict(self.records.in_scope(target))
        changed = {
            name: item
            for name, item in found.items()
            if name not in present or not _equal(present[name].stored, item.stored)
        }
        taken = sorted(changed.keys() & present.keys())
        if taken and not overwrite:
            raise ConflictError(
                f"Already set in {target}, with other values: {', '.join(taken[:20])}.",
                hint="Replace them with --overwrite, or name the variables to copy.",
                details={"names": taken},
            )
        await self.records.write(
            [
                (target, name, _with_author(item.stored, author), None)
                for name, item in changed.items()
            ]
        )
        return sorted(changed)

    async def settle(
        self, scope: Scope | None, name: str, version: str | None, value: str | None, author: str
    ) -> Layered | None:
        """End a conflict with one of its versions or with another value; None if it is deleted.

        Raises `NotFoundError` without such a conflict, `InvalidRequestError` for an unclear choice.
        """
        where, versions = self._conflict(scope, name)
        if (version is None) == (value is None):
            raise InvalidRequestError(
                f"Choose what {name} shall be: one of its versions, or a value.",
                hint=f"--version {versions[0].id}, or --value-stdin. See: covey env conflicts",
                details={"versions": [one.id for one in versions]},
            )
        if value is not None:
            last = next((one.value for one in versions if one.value is not None), None)
            base = Stored("") if last is None else decode_stored(last)
            wanted = Assignment(where, name, value, kind=base.kind, note=base.note)
            write = self._assign(wanted, author)
        else:
            chosen = next((one for one in versions if one.id == version), None)
            if chosen is None:
                raise NotFoundError(
                    f"{version} is not one of the versions in conflict of {name}.",
                    hint="Choose from: " + ", ".join(one.id for one in versions),
                )
            stored = None if chosen.deleted else self.content(name, chosen)
            write = (where, name, stored, None)
        [written] = await self.records.write([write])
        return None if write[2] is None else _stored_as(write, written)

    def secret_names(self) -> list[SecretName]:
        """Return every secret: what a member that holds the data key has known."""
        return [
            SecretName(name, str(item.scope))
            for name, item in self.records.everything()
            if item.stored.kind is Kind.SECRET
        ]

    def _conflict(self, scope: Scope | None, name: str) -> tuple[Scope, Sequence[Version]]:
        found = [
            (where, versions)
            for where, other, versions in self.conflicts()
            if other == name and (scope is None or where == scope)
        ]
        if not found:
            raise NotFoundError(
                f"{name[:80]} is not in conflict.", hint="See what is: covey env conflicts"
            )
        if len(found) > 1:
            raise InvalidRequestError(
                f"{name} is in conflict in several scopes.",
                hint="Choose one with --scope: " + ", ".join(str(where) for where, _ in found),
            )
        return found[0]

    def conflicts(self) -> list[tuple[Scope, str, Sequence[Version]]]:
        """Return scope, name and versions of each conflict, the version that counts first."""
        return [
            (*split_record_key(conflict.key), conflict.versions)
            for conflict in self.records.conflicts()
        ]

    def _assign(self, wanted: Assignment, author: str, before: Layered | None = None) -> Write:
        check_name(wanted.name)
        check_value(wanted.name, wanted.value)
        if wanted.expand:
            try:
                check_expandable(wanted.value)
            except ExpansionError as error:
                raise InvalidRequestError(
                    f"The value of {wanted.name} cannot be expanded: {error}.",
                    hint="Without --expand every character is kept as it is.",
                ) from None
        if before is None and (wanted.kind is None or wanted.note is None):
            before = self.records.get(wanted.scope, wanted.name)
        kind, note = wanted.kind, wanted.note
        if kind is None:
            kind = before.stored.kind if before else Kind.SECRET
        if note is None:
            note = before.stored.note if before else ""
        check_note(note)
        stored = Stored(wanted.value, kind, wanted.expand, note, author)
        return wanted.scope, wanted.name, stored, _id(wanted.expected)

    def _remove(self, removal: Removal) -> Write:
        self.records.require(removal.scope, removal.name)
        return removal.scope, removal.name, None, _id(removal.expected)


def _hint(wanted: Assignment) -> str | None:
    if wanted.name in VITAL:
        return (
            f"{wanted.name} takes the place of the shells' own wherever {wanted.scope} applies; "
            f"to undo it: covey env unset {wanted.name} --scope {wanted.scope}"
        )
    if wanted.expand or not looks_expandable(wanted.value):
        return None
    return (
        f"{wanted.name} is kept literally, ${{…}} and references included; "
        "set it with --expand if they shall be resolved."
    )


def _where(place: Place) -> str:
    scopes = [str(scope) for scope in place.scopes()]
    return f"any of {', '.join(scopes)}"


def _id(expected: str | None) -> VersionId | None:
    return None if expected is None else VersionId(expected)


def _with_author(stored: Stored, author: str) -> Stored:
    return Stored(stored.value, stored.kind, stored.expand, stored.note, author)


def _equal(one: Stored, other: Stored) -> bool:
    """Whether two are the same but for their authors."""
    return _with_author(one, "") == _with_author(other, "")


def _stored_as(write: Write, version: Version) -> Layered:
    scope, _, stored, _ = write
    return Layered(scope, stored or Stored(""), version.id, version.at_ms)
