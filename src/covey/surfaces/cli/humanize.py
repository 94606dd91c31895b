"""Values as people read them: times, sizes, lists; pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_STEPS = (
    (60, 1, "s"),
    (3600, 60, "min"),
    (86_400, 3600, "h"),
    (86_400 * 60, 86_400, "days"),
)
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_KIB = 1024
_NOW_SECONDS = 2


def ago(moment: datetime, now: datetime) -> str:
    """Say how long ago, or in how long: `3 min ago`, `in 2 days`; far times as a date."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < _NOW_SECONDS:
        return "now"
    for below, unit, name in _STEPS:
        if size < below:
            # What is past is told in full units; "in 23 h" would be wrong for a day from now.
            count = int(size // unit) if seconds > 0 else round(size / unit)
            text = f"{count} {'day' if name == 'days' and count == 1 else name}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return moment.date().isoformat()


def duration(seconds: float) -> str:
    """Say a length of time by its two largest units: `2 h 5 min`."""
    left = int(seconds)
    parts = []
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, unit)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def size(count: int) -> str:
    """Say a number of bytes in binary units."""
    amount = float(count)
    for unit in _BINARY[:-1]:
        if amount < _KIB:
            return f"{int(amount)} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _KIB
    return f"{amount:.1f} {_BINARY[-1]}"


def human(name: str, value: Any, now: datetime) -> str:
    """Show one field of a result; the field's name tells sizes and durations from numbers."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("_bytes"):
            return size(value)
        case int() | float() if name.endswith(("uptime_seconds", "_seconds")):
            return duration(value)
        case str() if _ISO.fullmatch(value):
            return ago(datetime.fromisoformat(value), now)
        case list() | tuple():
            return ", ".join(human("", item, now) for item in value) or "-"
        case dict():
            return ", ".join(f"{key}={human(key, item, now)}" for key, item in value.items()) or "-"
        case _:
            return str(value)


def title(name: str) -> str:
    """Turn a field's name into a heading."""
    return name.replace("_", " ").removesuffix(" at").removesuffix(" bytes").strip() or name
