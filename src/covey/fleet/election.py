"""Which machine serves a LAN while the cloud is away.

There are no votes, terms or messages: each machine computes the same minimum over those that it
is connected to. Machines that see each other therefore agree, several that start at once too,
two LANs that are joined have one server from the moment they see each other, and each part of a
LAN that is split has its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from covey.store.api import NodeId


class Mode(StrEnum):
    """Whether a machine serves its LAN: if need be, by preference, or never."""

    AUTO = "auto"
    SERVER_PREFERRED = "server-preferred"
    CLIENT_ONLY = "client-only"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine of this LAN, with whom a proved connection is open."""

    node_id: NodeId
    mode: Mode


def elect(candidates: Iterable[Candidate]) -> NodeId | None:
    """Return the LAN's server: the lowest node id, of those that prefer to serve if there are any.

    None if no machine may serve.
    """
    able = [item for item in candidates if item.mode is not Mode.CLIENT_ONLY]
    return min(able, key=_rank).node_id if able else None


def _rank(candidate: Candidate) -> tuple[bool, str]:
    return candidate.mode is not Mode.SERVER_PREFERRED, candidate.node_id
