"""Small durable state of this node alone, in SQLite."""

from __future__ import annotations

import apsw

from covey.engines.sqlite.database import Database, fetch_one

_PUT = "INSERT OR REPLACE INTO local (namespace, key, value) VALUES (?, ?, ?)"
_TAKE = "DELETE FROM local WHERE namespace = ? AND key = ? RETURNING value"
_GET = "SELECT value FROM local WHERE namespace = ? AND key = ?"
_SCAN = "SELECT key, value FROM local WHERE namespace = ? ORDER BY key"


class SqliteLocalState:
    """Implements `LocalState` on an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get_local(self, namespace: str, key: str) -> bytes | None:
        """Return a value or None."""
        rows = self._database.query(_GET, (namespace, key))
        return rows[0][0] if rows else None

    def scan_local(self, namespace: str) -> list[tuple[str, bytes]]:
        """Return all keys and values of a namespace in key order."""
        return self._database.query(_SCAN, (namespace,))

    async def put_local(self, namespace: str, key: str, value: bytes | None) -> None:
        """Set a value durably; None deletes."""
        if value is None:
            await self.take_local(namespace, key)
            return

        def put(connection: apsw.Connection) -> None:
            connection.execute(_PUT, (namespace, key, value))

        await self._database.write(put)

    async def take_local(self, namespace: str, key: str) -> bytes | None:
        """Delete and return a value in one step: of many takers, one gets it."""

        def take(connection: apsw.Connection) -> bytes | None:
            value: bytes | None = fetch_one(connection, _TAKE, (namespace, key))
            return value

        return await self._database.write(take)
