"""Read a `Procfile`: lines `name: command`."""

from __future__ import annotations

import re
from typing import Any

from covey.apps.config.model import WEB

_LINE = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(.+)")
_MOST = 100


def parse_procfile(text: str) -> dict[str, str]:
    """Return the commands by process; lines that are none are passed over."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match and len(found) < _MOST:
            found.setdefault(_name(match[1]), match[2].strip())
    return found


def procfile_tables(text: str) -> dict[str, Any]:
    """Return what a Procfile says as the tables of an app's file; web is the image's command."""
    commands = parse_procfile(text)
    release = commands.pop("release", None)
    commands.pop(WEB, None)
    tables: dict[str, Any] = {} if release is None else {"release": release}
    if commands:
        tables["processes"] = {name: {"command": command} for name, command in commands.items()}
    return tables


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9-]", "-", text.lower()).strip("-")[:40].strip("-")
    return name if name and name[0].isalpha() else f"p{name}"
