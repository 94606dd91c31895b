"""Kubernetes Secret manifests (v1, type Opaque), with values in base64."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

import yaml

from covey.env.formats.entry import Entry, check_entry_name, malformed, sorted_items
from covey.env.formats.yaml_nodes import compose, line_of, mapping_of, scalar_of
from covey.errors import InvalidRequestError

_WHAT = "Kubernetes Secret"
_MAX_BYTES = 1024 * 1024
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def parse(text: str) -> list[Entry]:
    """Read the Secrets of a manifest, `stringData` over `data`; other kinds are passed over."""
    entries: list[Entry] = []
    secrets = 0
    for document in compose(_WHAT, text):
        fields = {scalar_of(_WHAT, key)[0]: value for key, value in mapping_of(_WHAT, document)}
        kind = fields.get("kind")
        if kind is None or scalar_of(_WHAT, kind)[0] != "Secret":
            continue
        secrets += 1
        for field, decode in (("data", _decoded), ("stringData", scalar_of_text)):
            if field not in fields or not line_of(fields[field]):
                continue
            for key, value in mapping_of(_WHAT, fields[field]):
                name, line = scalar_of(_WHAT, key)
                check_entry_name(_WHAT, name, line)
                entries.append(Entry(name, decode(name, value), line))
    if not secrets:
        raise malformed(_WHAT, 1, "it holds no document of kind Secret")
    return entries


def write(values: Mapping[str, str], name: str) -> str:
    """Write one Secret called `name`; refuses a bad name and more than Kubernetes takes."""
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name[:80]!r} is not a name for a Kubernetes Secret.",
            hint="Use a-z, 0-9, '-' and '.', beginning and ending with a letter or digit.",
        )
    size = sum(len(value.encode()) for value in values.values())
    if size > _MAX_BYTES:
        raise InvalidRequestError(
            f"The values have {size} bytes together; a Kubernetes Secret holds {_MAX_BYTES}.",
            hint="Export one project or scope at a time.",
        )
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "data": {
            key: base64.b64encode(value.encode()).decode() for key, value in sorted_items(values)
        },
    }
    return yaml.safe_dump(manifest, sort_keys=False, width=2**31)


def scalar_of_text(_name: str, node: yaml.Node) -> str:
    """Return a plain value of `stringData`."""
    return scalar_of(_WHAT, node)[0]


def _decoded(name: str, node: yaml.Node) -> str:
    text, line = scalar_of(_WHAT, node)
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except ValueError:
        raise malformed(_WHAT, line, f"the value of {name} is not base64 of UTF-8 text") from None
