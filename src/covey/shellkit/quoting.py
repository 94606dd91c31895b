"""Exact quoting of any text without NUL for each shell's grammar."""

from __future__ import annotations

_POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"


def quote_posix(text: str) -> str:
    """Quote for any POSIX shell, bash, zsh and dash included (XCU 2.2.2)."""
    return "'" + text.replace("'", "'\\''") + "'"


def quote_fish(text: str) -> str:
    """Quote for fish, whose single quotes know two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_powershell(text: str) -> str:
    """Quote for PowerShell, to which five characters are single quotes (language spec 2.3.5.2)."""
    for quote in _POWERSHELL_QUOTES:
        text = text.replace(quote, quote * 2)
    return "'" + text + "'"
