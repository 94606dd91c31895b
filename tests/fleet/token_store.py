"""The records and the local state that tokens need, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from covey.operations.access import Role
from covey.store.api import Change, Changed, Conflict, NodeId, Record, Version, VersionId

HERE = NodeId("0" * 32)


class MemoryRecords:
    """One node's records without their history; `origin` is who writes next."""

    def __init__(self) -> None:
        self.origin = HERE
        self.held: dict[tuple[str, str], Record] = {}
        self._seq = 0

    async def write(self, changes: Sequence[Change]) -> list[Version]:
        return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Version:
        self._seq += 1
        version = Version(
            VersionId(f"{self.origin[:8]}.{self._seq}"), self.origin, self._seq, 0, change.value
        )
        place = (change.collection, change.key)
        if change.value is None:
            self.held.pop(place, None)
        else:
            self.held[place] = Record(change.collection, change.key, change.value, version)
        return version

    def get(self, collection: str, key: str) -> Record | None:
        return self.held.get((collection, key))

    def scan(self, collection: str, prefix: str = "") -> Iterator[Record]:
        for (found, key), record in sorted(self.held.items()):
            if found == collection and key.startswith(prefix):
                yield record

    def history(self, collection: str, key: str) -> list[Version]:
        return []

    def conflicts(self, collection: str) -> list[Conflict]:
        return []

    def subscribe(self, listener: Callable[[Changed], None]) -> Callable[[], None]:
        return lambda: None


class MemoryUses:
    """Local values; counts the writes."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], bytes] = {}
        self.writes = 0

    def get_local(self, namespace: str, key: str) -> bytes | None:
        return self.held.get((namespace, key))

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        self.writes += 1
        if value is None:
            self.held.pop((namespace, key), None)
        else:
            self.held[namespace, key] = value


class FixedMakers:
    """Members with their roles; this node is an admin at first."""

    node_id = HERE

    def __init__(self) -> None:
        self.roles: dict[NodeId, Role] = {HERE: Role.ADMIN}

    def role_of(self, node_id: NodeId) -> Role | None:
        return self.roles.get(node_id)
