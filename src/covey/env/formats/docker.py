"""Docker's env-file: `NAME=value` to the end of the line, with no quoting at all."""

from __future__ import annotations

from collections.abc import Mapping

from covey.env.formats.entry import Entry, check_entry_name, malformed, sorted_items, unfit

_WHAT = "docker env-file"
_MAX_LINE = 65535
_ELSE = "Export it as dotenv or json, or leave it out of the file."


def parse(text: str) -> list[Entry]:
    """Read an env-file as Docker does; raises `InvalidRequestError` naming the line."""
    entries = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r").lstrip(" \t\v\f\r")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise malformed(
                _WHAT,
                number,
                "it has no =",
                "A name alone takes its value from the caller of docker; give it one.",
            )
        entries.append(Entry(check_entry_name(_WHAT, name, number), value, number))
    return entries


def write(values: Mapping[str, str]) -> str:
    """Write an env-file; refuses values that it cannot hold."""
    lines = []
    for name, value in sorted_items(values):
        if "\n" in value:
            raise unfit("A docker env-file", name, "its value has more than one line", _ELSE)
        if value.endswith("\r"):
            raise unfit("A docker env-file", name, "its value ends in a carriage return", _ELSE)
        line = f"{name}={value}"
        if len(line.encode()) > _MAX_LINE:
            raise unfit("A docker env-file", name, "its line would be over 64 KiB", _ELSE)
        lines.append(line + "\n")
    return "".join(lines)
