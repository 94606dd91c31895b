"""The writes of one transaction on the logs, gathered and run as few statements."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from covey.engines.sqlite.database import Database, fetch, fetch_one
from covey.engines.sqlite.rows import (
    ENTRY_COLUMNS,
    EntryRow,
    LogLabels,
    decode_context,
    encode_context,
    entry_id,
)
from covey.store.api import NodeId
from covey.store.entry import Entry
from covey.store.ports import ChainHead, Leaf, Quarantined

Key = tuple[str, str]

_NO_KEY = 0
_MOST_GATHERED = 8192

_APPEND = f"""
INSERT INTO entry ({ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
  hlc = excluded.hlc, collection = excluded.collection, key_hash = excluded.key_hash,
  generation = excluded.generation, payload = excluded.payload, digest = excluded.digest,
  signature = iif(excluded.signature = x'', signature, excluded.signature)
WHERE payload IS NULL
"""  # noqa: S608 - the columns are this package's
_FIND_KEYS = """
SELECT k.name, k.id, l.entry, l.hlc, l.context, l.value
FROM key k LEFT JOIN leaf l ON l.key = k.id WHERE k.collection = ? AND k.name IN
"""
_MANY = 64
_FIND_ONE = f"{_FIND_KEYS} (?)"
_FIND_MANY = f"{_FIND_KEYS} ({', '.join('?' * _MANY)})"
_LEAVES = """
SELECT l.entry, l.hlc, l.context, l.value FROM key k JOIN leaf l ON l.key = k.id
WHERE k.collection = ? AND k.name = ?
"""
_ADD_KEY = "INSERT INTO key (id, collection, name) VALUES (?, ?, ?)"
_RETIRE = "INSERT INTO past (key, entry, compacted) SELECT key, entry, 0 FROM leaf WHERE key = ?"
_CLEAR = "DELETE FROM leaf WHERE key = ?"
_ADD_PAST = "INSERT OR REPLACE INTO past (key, entry, compacted) VALUES (?, ?, ?)"
_UNDO_PAST = "DELETE FROM past WHERE key = ? AND entry = ?"
_ADD_LEAF = """
INSERT INTO leaf (key, entry, hlc, contested, context, value) VALUES (?, ?, ?, ?, ?, ?)
"""
_COMPACT = "UPDATE past SET compacted = 1 WHERE entry = ? AND compacted = 0"

NewLeafRow = tuple[int, int, int, bool, bytes | None, bytes | None]
LeafRow = tuple[int, int, bytes | None, bytes | None]


def read_leaves(database: Database, labels: LogLabels, collection: str, key: str) -> list[Leaf]:
    """Return the current versions of one key as they were committed."""
    number = labels.collections.find(collection)
    if number is None:
        return []
    rows: list[LeafRow] = database.query(_LEAVES, (number, key))
    return [leaf_of(labels, collection, key, row) for row in rows]


def leaf_of(labels: LogLabels, collection: str, key: str, row: LeafRow) -> Leaf:
    """Return the version in a row."""
    number, hlc, context, value = row
    origin, seq = labels.place(number)
    return Leaf(collection, key, origin, seq, hlc, decode_context(context), value)


class SqliteLogWriter:
    """Implements `LogWriter`; `flush` runs what was gathered, before a read and at the end."""

    def __init__(self, connection: apsw.Connection, labels: LogLabels) -> None:
        self._connection = connection
        self._labels = labels
        self._entries: list[EntryRow] = []
        self._folds: dict[Key, tuple[Sequence[Leaf], list[Entry]]] = {}
        self._keys: dict[Key, int] = {}
        self._next_key = 0

    def append(self, entry: Entry) -> None:
        """Add an entry or replace the stub at its place."""
        labels, connection = self._labels, self._connection
        self._entries.append(
            (
                self._id(entry.origin, entry.seq),
                entry.hlc,
                labels.collections.number(connection, entry.collection),
                entry.key_hash,
                labels.generations.number(connection, entry.generation),
                entry.payload,
                entry.digest,
                entry.signature,
            )
        )
        self._bound()

    def set_head(self, origin: NodeId, head: ChainHead) -> None:
        """Record how far an origin's log is held."""
        number = self._labels.logs.number(self._connection, origin)
        self._connection.execute(
            "UPDATE log SET seq = ?, chain = ? WHERE no = ?", (head.seq, head.chain, number)
        )

    def set_leaves(
        self, collection: str, key: str, leaves: Sequence[Leaf], versions: Sequence[Entry] = ()
    ) -> None:
        """Replace the current versions of one key."""
        earlier = self._folds.get((collection, key))
        found = [*earlier[1], *versions] if earlier else list(versions)
        self._folds[collection, key] = leaves, found
        self._bound()

    def drop_payload(self, origin: NodeId, seq: int) -> None:
        """Turn an entry into a stub."""
        self.flush()
        number = self._id(origin, seq)
        self._connection.execute("UPDATE entry SET payload = NULL WHERE id = ?", (number,))
        self._connection.execute(_COMPACT, (number,))

    def quarantine(self, item: Quarantined) -> None:
        """Set an entry aside."""
        self._connection.execute(
            "INSERT OR REPLACE INTO quarantine (entry, reason, frame) VALUES (?, ?, ?)",
            (self._id(item.origin, item.seq), item.reason, item.frame),
        )

    def release(self, origin: NodeId, seq: int) -> None:
        """Remove an entry from quarantine."""
        number = self._id(origin, seq)
        self._connection.execute("DELETE FROM quarantine WHERE entry = ?", (number,))

    def hold(self, entry: Entry) -> None:
        """Keep an appended entry out of the fold until its clock's time has come."""
        self._connection.execute(
            "INSERT OR REPLACE INTO held (entry, hlc) VALUES (?, ?)",
            (self._id(entry.origin, entry.seq), entry.hlc),
        )

    def unhold(self, origin: NodeId, seq: int) -> None:
        """End the holding of an entry."""
        self._connection.execute("DELETE FROM held WHERE entry = ?", (self._id(origin, seq),))

    def leaves(self, collection: str, key: str) -> list[Leaf]:
        """Return the current versions of one key as this transaction leaves them."""
        return self.leaves_of(collection, (key,)).get(key, [])

    def leaves_of(self, collection: str, keys: Sequence[str]) -> dict[str, list[Leaf]]:
        """Return the current versions of many keys as this transaction leaves them."""
        found: dict[str, list[Leaf]] = {}
        unread = []
        for key in keys:
            pending = self._folds.get((collection, key))
            if pending is None:
                unread.append(key)
            else:
                found[key] = list(pending[0])
        if unread:
            self._find(collection, unread, found)
        return found

    def _bound(self) -> None:
        if len(self._entries) + len(self._folds) >= _MOST_GATHERED:
            self.flush()

    def flush(self) -> None:
        """Run the statements that were gathered."""
        if self._entries:
            self._connection.executemany(_APPEND, self._entries)
            self._entries = []
        if self._folds:
            folds, self._folds = self._folds, {}
            self._write_folds(folds)

    def _write_folds(self, folds: dict[Key, tuple[Sequence[Leaf], list[Entry]]]) -> None:
        new_keys: list[tuple[int, int, str]] = []
        changed: list[tuple[int]] = []
        past: list[tuple[int, int, bool]] = []
        current: list[NewLeafRow] = []
        for (collection, name), (leaves, found) in folds.items():
            if (collection, name) not in self._keys:
                self._find(collection, (name,), {})
            key = self._keys[collection, name]
            if key == _NO_KEY:
                key = self._keys[collection, name] = self._new_key()
                number = self._labels.collections.number(self._connection, collection)
                new_keys.append((key, number, name))
            else:
                changed.append((key,))
            contested = len(leaves) > 1
            places = set()
            for leaf in leaves:
                at = self._id(leaf.origin, leaf.seq)
                places.add(at)
                context = encode_context(leaf.context)
                current.append((key, at, leaf.hlc, contested, context, leaf.value))
            for entry in found:
                at = self._id(entry.origin, entry.seq)
                if at not in places:
                    past.append((key, at, entry.payload is None))
        run = self._connection.executemany
        run(_ADD_KEY, new_keys)
        run(_RETIRE, changed)
        run(_CLEAR, changed)
        run(_ADD_PAST, past)
        run(_ADD_LEAF, current)
        if changed:
            run(_UNDO_PAST, (row[:2] for row in current))

    def _find(self, collection: str, names: Sequence[str], found: dict[str, list[Leaf]]) -> None:
        """Read current versions into `found`, and remember the keys' numbers."""
        labels, connection = self._labels, self._connection
        self._keys.update(dict.fromkeys(((collection, name) for name in names), _NO_KEY))
        number = labels.collections.number(connection, collection)
        for start in range(0, len(names), _MANY):
            part = tuple(names[start : start + _MANY])
            sql = _FIND_ONE
            if len(part) > 1:
                sql, part = _FIND_MANY, part + part[-1:] * (_MANY - len(part))
            for name, key, *row in fetch(connection, sql, (number, *part)):
                self._keys[collection, name] = key
                leaves = found.setdefault(name, [])
                if row[0] is not None:
                    leaves.append(leaf_of(labels, collection, name, tuple(row)))

    def _new_key(self) -> int:
        if self._next_key == 0:
            greatest = fetch_one(self._connection, "SELECT max(id) FROM key")
            self._next_key = int(greatest or 0)
        self._next_key += 1
        return self._next_key

    def _id(self, origin: NodeId, seq: int) -> int:
        return entry_id(self._labels.logs.number(self._connection, origin), seq)
