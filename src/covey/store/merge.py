"""The fold: which versions of a key are current, whatever the order in which they arrive.

A version is identified by its dot (origin, seq) and names what it supersedes by its context, a
version vector over the key. The state of a key is a join: the greatest version by the clock stays
always, any other stays while no context seen covers its dot. All current versions carry the joined
context, so a version that was dropped is remembered through those that remain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from covey.store.api import NodeId
from covey.store.ports import Leaf

Context = Mapping[NodeId, int]


def fold(leaves: Sequence[Leaf], incoming: Leaf) -> tuple[Leaf, ...]:
    """Return the current versions after one more was seen, the winner first.

    Commutative, associative and idempotent in the versions seen; one key's versions only.
    """
    if not leaves:
        return (incoming,)
    seen = [leaf for leaf in leaves if leaf.origin != incoming.origin or leaf.seq != incoming.seq]
    context = joined(leaf.context for leaf in (*leaves, incoming))
    seen.append(incoming)
    seen.sort(key=_rank, reverse=True)
    kept = [seen[0]]
    kept.extend(leaf for leaf in seen[1:] if leaf.seq > context.get(leaf.origin, 0))
    return tuple(
        leaf if leaf.context == context else msgspec.structs.replace(leaf, context=context)
        for leaf in kept
    )


def refold(versions: Iterable[Leaf]) -> tuple[Leaf, ...]:
    """Return the current versions among all given ones of a key, the winner first."""
    leaves: tuple[Leaf, ...] = ()
    for version in versions:
        leaves = fold(leaves, version)
    return leaves


def winner(leaves: Sequence[Leaf]) -> Leaf | None:
    """Return the current version that readers see: the greatest by clock, then origin."""
    return max(leaves, key=_rank, default=None)


def is_conflict(leaves: Sequence[Leaf]) -> bool:
    """Whether concurrent versions stand side by side."""
    return len(leaves) > 1


def supersedes(version: Leaf, other: Leaf) -> bool:
    """Whether the writer of `version` had seen `other`."""
    return other.seq <= version.context.get(other.origin, 0)


def context_of(leaves: Iterable[Leaf]) -> dict[NodeId, int]:
    """Return the context of a write that supersedes all current versions."""
    leaves = tuple(leaves)
    dots = ({leaf.origin: leaf.seq} for leaf in leaves)
    return joined((*(leaf.context for leaf in leaves), *dots))


def joined(contexts: Iterable[Context]) -> dict[NodeId, int]:
    """Return the pointwise maximum."""
    result: dict[NodeId, int] = {}
    for context in contexts:
        for origin, seq in context.items():
            if seq > result.get(origin, 0):
                result[origin] = seq
    return result


def _rank(leaf: Leaf) -> tuple[int, str, int]:
    return leaf.hlc, leaf.origin, leaf.seq
