"""`.gitmodules`: which repository belongs at which path."""

from __future__ import annotations

import re

from covey.errors import InvalidRequestError

_SECTION = re.compile(r'\[submodule\s+"((?:[^"\\]|\\.)*)"\]\s*')
_KEY = re.compile(r"(?P<key>[A-Za-z][A-Za-z0-9-]*)\s*=\s*(?P<value>.*?)\s*")
_LARGEST = 1 << 20


def read_submodules(content: bytes | None) -> dict[str, str]:
    """Return the URLs of submodules by their paths, as gitmodules(5) has them.

    Raises `InvalidRequestError` for a file that is too large.
    """
    if content is None:
        return {}
    if len(content) > _LARGEST:
        raise InvalidRequestError("The file .gitmodules is over 1 MiB.")
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] | None = None
    for line in content.decode("utf-8", "surrogateescape").splitlines():
        text = line.strip()
        if text.startswith("["):
            match = _SECTION.fullmatch(text)
            section = found.setdefault(match[1], {}) if match else None
        elif section is not None and not text.startswith(("#", ";")):
            match = _KEY.fullmatch(text)
            if match:
                section[match["key"].lower()] = _unquoted(match["value"])
    return {item["path"]: item["url"] for item in found.values() if {"path", "url"} <= item.keys()}


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return re.split(r"\s[#;]", value, maxsplit=1)[0]
