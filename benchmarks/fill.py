"""Writes many records straight into the store of a stopped node."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from covey.engines.sqlite.audit_storage import SqliteAudit
from covey.fleet.key_file import read_key_file
from covey.fleet.keyring import open_with_key, read_keyring
from covey.operations.context import Services
from covey.operations.registry import Registry
from covey.paths import find_paths
from covey.settings import Settings
from covey.store.api import Change
from covey.wiring.database import OpenedDatabase
from covey.wiring.open_node import Frame, OpenNode
from tests.system.harness import Node

COLLECTION = "benchmark"
BATCH = 1000


def fill_store(node: Node, entries: int, value_bytes: int) -> None:
    """Write `entries` records with incompressible values into a home whose daemon is stopped."""
    asyncio.run(_fill(node, entries, value_bytes))


async def _fill(node: Node, entries: int, value_bytes: int) -> None:
    paths = find_paths({"COVEY_HOME": str(node.home)})
    opened = open_with_key(read_keyring(Path(paths.keyring)), read_key_file(node.key_file))
    database = OpenedDatabase(paths, opened.secrets.database_key, keep_backups=1)
    inside = OpenNode(
        Frame(paths, Settings(), Services(), Registry([]), SqliteAudit()), opened, database
    )
    await inside.store.start()
    for first in range(0, entries, BATCH):
        await inside.store.records.write(
            [
                Change(COLLECTION, f"record {number:08}", os.urandom(value_bytes))
                for number in range(first, min(first + BATCH, entries))
            ]
        )
    await inside.close()
