"""Whole environments in and out of files: import, export, values for a process, differences."""

from __future__ import annotations

from covey.env import homelab
from covey.env.formats.choose import FOR_EVAL, Format, guess, parse, write
from covey.env.formats.entry import Entry
from covey.env.model import Kind
from covey.env.results import Exported, Imported, ValueProblem, Values
from covey.env.scope import Place, Scope
from covey.env.service import Assignment, EnvService
from covey.env.values import Resolved
from covey.env.views import Valued
from covey.errors import ConflictError, InvalidRequestError
from covey.fleet.hosts import HostRecords

_NAMED = 20


class EnvExchange:
    """Moves many variables at once; raises what the service raises."""

    def __init__(self, service: EnvService, hosts: HostRecords) -> None:
        self._service = service
        self._hosts = hosts

    async def take(
        self,
        text: str,
        *,
        kind_of_file: Format | None,
        file_name: str,
        scope: Scope,
        kind: Kind | None,
        expand: bool,
        author: str,
    ) -> Imported:
        """Import a file in one commit, or nothing; raises `InvalidRequestError` naming the line."""
        chosen = kind_of_file or guess(text, file_name)
        entries = parse(chosen, text)
        hosts: dict[str, dict[str, str]] = {}
        if chosen is Format.HOMELAB:
            known = [record.name for record in self._hosts.list()]
            hosts, entries = homelab.split(entries, known)
        changed, same = await self._service.replace(
            scope, [_assignment(scope, entry, kind, expand=expand) for entry in entries], author
        )
        written = await homelab.record(self._hosts, hosts)
        return Imported(chosen.value, str(scope), changed, same, written)

    async def give(self, place: Place, chosen: Format, title: str) -> Exported:
        """Export what applies at a place; raises if a value does not fit.

        What has no value is told beside a text for `eval`, and raises for a file.
        """
        problems: list[ValueProblem] = []
        if chosen is Format.HOMELAB:
            found = homelab.lines(self._hosts.list())
        else:
            resolved = await self._service.resolve(place)
            if chosen not in FOR_EVAL:
                require_all(resolved)
            problems = _problems(resolved)
            found = dict(resolved.values)
        return Exported(chosen.value, write(chosen, found, title=title), sorted(found), problems)

    async def values(self, place: Place, *, partial: bool) -> Values:
        """Return the values for a process; without `partial`, raises if any is missing."""
        resolved = await self._service.resolve(place)
        if not partial:
            require_all(resolved, otherwise=". Or go on without them: --partial")
        secret = [
            name
            for name in resolved.values
            if (item := resolved.resolution.winner(name)) and item.stored.kind is Kind.SECRET
        ]
        return Values(
            values=dict(resolved.values),
            secret=secret,
            problems=_problems(resolved),
            project=place.project,
            environment=place.environment,
            host=place.host or "",
        )

    async def side(self, text: str, scope: Scope) -> Valued:
        """Return one side of a difference.

        `text` is a scope, `NAME#VERSION` (of `scope`), or a place: `[PROJECT[/ENVIRONMENT]][@HOST]`
        with its resolved values.
        """
        service = self._service
        if "#" in text:
            name, _, version = text.partition("#")
            stored = service.content(name, service.version(scope, name, version))
            return {name: (stored.value, stored.kind)}
        if text == "fleet" or ":" in text:
            return {
                name: (item.stored.value, item.stored.kind)
                for name, item in service.records.in_scope(Scope.parse(text))
            }
        before, _, host = text.partition("@")
        project, _, environment = before.partition("/")
        resolved = await service.resolve(service.place(project, environment, host))
        return {
            name: (value, item.stored.kind)
            for name, value in resolved.values.items()
            if (item := resolved.resolution.winner(name))
        }


def _problems(resolved: Resolved) -> list[ValueProblem]:
    return [ValueProblem(one.name, one.reason) for one in resolved.problems]


def require_all(resolved: Resolved, *, otherwise: str = "") -> None:
    """Raise `ConflictError` naming the variables that have no value, and why.

    `otherwise` is a way to go on without them.
    """
    if not resolved.problems:
        return
    reasons = [f"{one.name}: {one.reason}" for one in resolved.problems]
    count = f"{len(reasons)} variables have" if len(reasons) > 1 else "A variable has"
    raise ConflictError(
        f"{count} no value: {'; '.join(reasons[:_NAMED])}.",
        hint=f"See where they come from: covey env explain NAME{otherwise}",
        details={"names": [one.name for one in resolved.problems]},
    )


def parse_format(text: str | None) -> Format | None:
    """Read a format's name; raises `InvalidRequestError` naming them all."""
    if text is None:
        return None
    try:
        return Format(text)
    except ValueError:
        raise InvalidRequestError(
            f"{text[:40]!r} is not a format.", hint="Formats: " + ", ".join(Format)
        ) from None


def _assignment(scope: Scope, entry: Entry, kind: Kind | None, *, expand: bool) -> Assignment:
    if expand and entry.template is not None:
        return Assignment(scope, entry.name, entry.template, kind, expand=True)
    return Assignment(scope, entry.name, entry.value, kind)
