"""One page of a long list; `next_cursor` asks for the page after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")

Cursor = Annotated[
    str | None, msgspec.Meta(description="Go on from here: next_cursor of the page before.")
]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="Most items in one page.")]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Items in order, and the cursor of the next page or null at the end."""

    items: list[T]
    next_cursor: str | None = None


def paginate(rows: Sequence[tuple[str, T]], cursor: str | None, limit: int) -> Page[T]:
    """Cut one page from `(key, item)` rows that are sorted by a unique key."""
    start = 0
    if cursor is not None:
        start = next((at for at, (key, _) in enumerate(rows) if key > cursor), len(rows))
    chosen = rows[start : start + limit]
    more = start + limit < len(rows)
    return Page([item for _, item in chosen], chosen[-1][0] if more else None)
