"""Reading TOML that strangers wrote, in time that it cannot stretch."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_MOST_DOTS = 100
_QUOTED = re.compile(r"\"[^\"\n]*+\"|'[^'\n]*+'")
_BETWEEN_KEYS = re.compile(r"[=,\n]")


def read_toml(text: str) -> dict[str, Any]:
    """Read TOML; raises `tomllib.TOMLDecodeError`, and `ValueError` or `RecursionError` for depth.

    The standard parser's time is quadratic in the parts of a dotted key.
    """
    parts = _BETWEEN_KEYS.split(_QUOTED.sub("", text))
    if any(part.count(".") > _MOST_DOTS for part in parts):
        raise ValueError("a key has too many parts")
    return tomllib.loads(text)
