"""Following changes: the names that each commit changed at a place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from covey.env.model import COLLECTION, split_record_key
from covey.env.scope import Place
from covey.store.api import Changed, RecordStore


async def watch_names(store: RecordStore, place: Place) -> AsyncIterator[list[str]]:
    """Yield an empty list once following has begun, then the names that changed, together.

    Changes made while the reader was busy come as one: the reader never falls behind.
    """
    scopes = {str(scope) for scope in place.scopes()}
    names: set[str] = set()
    wake = asyncio.Event()

    def note(changed: Changed) -> None:
        for collection, key in changed.keys:
            if collection == COLLECTION:
                scope, name = split_record_key(key)
                if str(scope) in scopes:
                    names.add(name)
                    wake.set()

    cancel = store.subscribe(note)
    try:
        yield []
        while True:
            await wake.wait()
            wake.clear()
            found = sorted(names)
            names.clear()
            yield found
    finally:
        cancel()
