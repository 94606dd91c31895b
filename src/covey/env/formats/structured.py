"""JSON, YAML and TOML: one flat table of names and texts."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

import tomli_w
import yaml

from covey.env.formats.entry import Entry, check_entry_name, malformed, sorted_items
from covey.env.formats.yaml_nodes import compose, mapping_of, scalar_of

_POSITION = re.compile(r"line (\d+)")


def parse_json(text: str) -> list[Entry]:
    """Read a JSON object of texts, numbers and booleans; raises `InvalidRequestError`."""
    try:
        table = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise malformed("JSON", error.lineno, f"{error.msg}, column {error.colno}") from None
    except RecursionError:
        raise malformed("JSON", 1, "it is nested too deeply") from None
    if not isinstance(table, dict):
        raise malformed("JSON", 1, "it is not an object of names and values")
    return [_plain("JSON", text, name, value) for name, value in table.items()]


def write_json(values: Mapping[str, str]) -> str:
    """Write a JSON object."""
    return json.dumps(dict(sorted_items(values)), ensure_ascii=False, indent=2) + "\n"


def parse_yaml(text: str) -> list[Entry]:
    """Read a YAML mapping; every scalar is taken as it is written, `yes` and `010` too."""
    entries = []
    for document in compose("YAML", text):
        for key, value in mapping_of("YAML", document):
            name, line = scalar_of("YAML", key)
            found, _ = scalar_of("YAML", value)
            entries.append(Entry(check_entry_name("YAML", name, line), found, line))
    return entries


def write_yaml(values: Mapping[str, str]) -> str:
    """Write a YAML mapping."""
    # PyYAML writes U+0085 as it is, and reads it as a line's end.
    readable = all(value.replace("\n", "").isprintable() for value in values.values())
    return yaml.safe_dump(
        dict(sorted_items(values)), allow_unicode=readable, default_flow_style=False, width=2**31
    )


def parse_toml(text: str) -> list[Entry]:
    """Read the top-level keys of a TOML document; raises `InvalidRequestError`."""
    try:
        table = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))
        raise malformed(
            "TOML", int(found.group(1)) if found else 1, "it is not valid TOML"
        ) from None
    except (RecursionError, ValueError):
        raise malformed("TOML", 1, "it holds what is too deep or too long") from None
    return [_plain("TOML", text, name, value) for name, value in table.items()]


def write_toml(values: Mapping[str, str]) -> str:
    """Write a TOML document."""
    return tomli_w.dumps(dict(sorted_items(values)))


def _plain(what: str, text: str, name: str, value: object) -> Entry:
    line = _line_of(text, name)
    check_entry_name(what, name, line)
    match value:
        case bool():
            return Entry(name, "true" if value else "false", line)
        case str() | int():
            return Entry(name, str(value), line)
        case None:
            cause = f"{name} is null"
        case dict() | list():
            cause = f"{name} holds a {'table' if isinstance(value, dict) else 'list'}, not a text"
        case _:
            cause = f"{name} is not a text; put it in quotes"
    raise malformed(what, line, cause)


def _line_of(text: str, name: str) -> int:
    """Return the line of a key's first occurrence at a line's or object's begin, else 1."""
    found = re.search(
        rf"(?:^|[{{,\[])\s*[\"']?{re.escape(name)}[\"']?\s*[:=\].]", text, re.MULTILINE
    )
    return text.count("\n", 0, found.end()) + 1 if found else 1
