"""From stored variables to what callers see: masked, dated, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covey.env.model import Kind, decode_stored
from covey.env.resolve import Layered
from covey.env.results import (
    Difference,
    Explanation,
    Layer,
    Shown,
    Variable,
    VariableVersion,
    moment,
)
from covey.env.scope import Place
from covey.env.values import Resolved
from covey.operations.secret import MASK
from covey.store.api import Version, VersionId

Valued = Mapping[str, tuple[str, Kind]]


def stored_variable(name: str, item: Layered, shown: Shown, hint: str | None = None) -> Variable:
    """Return a variable as it is stored in its scope."""
    return _variable(name, item, item.stored.value, shown, hint=hint)


def resolved_variable(name: str, resolved: Resolved, shown: Shown) -> Variable:
    """Return a variable with the value that it has at a place."""
    item = resolved.resolution.winner(name)
    if item is None:
        raise KeyError(name)
    return _variable(
        name, item, resolved.values.get(name, ""), shown, problem=resolved.problem(name)
    )


def explanation(name: str, place: Place, resolved: Resolved, shown: Shown) -> Explanation:
    """Return where a value comes from and what it shadows."""
    winner = resolved.resolution.winner(name)
    if winner is None:
        raise KeyError(name)
    kind = winner.stored.kind
    value = resolved.values.get(name)
    return Explanation(
        name=name,
        value=None if value is None else shown.text(value, kind),
        revealed=shown.sees(kind),
        kind=kind,
        scope=str(winner.scope),
        project=place.project,
        environment=place.environment,
        host=place.host or "",
        winner=_layer(winner, shown),
        shadows=[_layer(item, shown) for item in resolved.resolution.shadowed(name)],
        problem=resolved.problem(name),
    )


def versions(
    found: Sequence[Version], current: frozenset[VersionId], shown: Shown
) -> list[VariableVersion]:
    """Return versions in their order; `current` are those that nothing supersedes."""
    return [_version(one, current, shown) for one in found]


def differences(left: Valued, right: Valued, shown: Shown) -> list[Difference]:
    """Return what differs between two sides, by name."""
    found = []
    for name in sorted(left.keys() | right.keys()):
        before, after = left.get(name), right.get(name)
        if before is not None and after is not None and before[0] == after[0]:
            continue
        kinds = [side[1] for side in (before, after) if side is not None]
        revealed = all(shown.sees(kind) for kind in kinds)
        found.append(
            Difference(
                name=name,
                change="added" if before is None else "removed" if after is None else "changed",
                left=None if before is None else before[0] if revealed else MASK,
                right=None if after is None else after[0] if revealed else MASK,
                revealed=revealed,
            )
        )
    return found


def _variable(
    name: str,
    item: Layered,
    value: str,
    shown: Shown,
    *,
    problem: str | None = None,
    hint: str | None = None,
) -> Variable:
    kind = item.stored.kind
    return Variable(
        name=name,
        value=shown.text(value, kind),
        revealed=shown.sees(kind),
        kind=kind,
        scope=str(item.scope),
        expand=item.stored.expand,
        note=item.stored.note,
        author=item.stored.author,
        updated_at=moment(item.at_ms),
        version=item.version,
        conflict=item.conflict,
        problem=problem,
        hint=hint,
    )


def _layer(item: Layered, shown: Shown) -> Layer:
    return Layer(
        scope=str(item.scope),
        value=shown.text(item.stored.value, item.stored.kind),
        expand=item.stored.expand,
        author=item.stored.author,
        updated_at=moment(item.at_ms),
        version=item.version,
    )


def _version(found: Version, current: frozenset[VersionId], shown: Shown) -> VariableVersion:
    stored = None if found.value is None else decode_stored(found.value)
    return VariableVersion(
        version=found.id,
        value=None if stored is None else shown.text(stored.value, stored.kind),
        revealed=stored is not None and shown.sees(stored.kind),
        current=found.id in current,
        deleted=found.deleted,
        compacted=found.compacted,
        kind=None if stored is None else stored.kind,
        expand=stored is not None and stored.expand,
        author="" if stored is None else stored.author,
        origin=found.origin,
        updated_at=moment(found.at_ms),
    )
