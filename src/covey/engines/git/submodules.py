"""`.gitmodules`: which repository belongs at which path."""

from __future__ import annotations

from covey.engines.git.settings_files import read_settings


def read_submodules(content: bytes | None) -> dict[str, str]:
    """Return the URLs of submodules by their paths, as gitmodules(5) has them.

    Raises `InvalidRequestError` for a file that is too large.
    """
    found: dict[str, dict[str, str]] = {}
    for item in read_settings(content):
        if item.section == "submodule":
            found.setdefault(item.name, {})[item.key] = item.value
    return {item["path"]: item["url"] for item in found.values() if {"path", "url"} <= item.keys()}
