"""One name of an app set over those of its file, or taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covey.apps.config.load import AppFile
from covey.apps.config.merge import Tables, merge_tables, override
from covey.apps.routing.names import normal_host, normal_path
from covey.errors import NotFoundError

Place = tuple[str, str]


def with_domain(file: AppFile, overrides: Tables, domain: Mapping[str, Any]) -> dict[str, object]:
    """Return overrides in which a domain, by its host and path, is as given.

    If it is canonical, no other is. Raises `InvalidRequestError`.
    """
    place = _place(domain)
    added = {key: value for key, value in domain.items() if value is not None}
    added |= {"host": place[0], "path": place[1]}
    others = [item for item in _present(file, overrides) if _place(item) != place]
    if domain.get("canonical"):
        others = [{**item, "canonical": False} for item in others]
    return override(overrides, {"domains": [*others, added]})


def without_domain(
    file: AppFile, overrides: Tables, host: str, path: str | None
) -> dict[str, object]:
    """Return overrides without a host, or without one of its paths; raises `NotFoundError`."""
    name, below = normal_host(host), None if path is None else normal_path(path)
    present = _present(file, overrides)
    kept = [item for item in present if not _is_at(_place(item), name, below)]
    if len(kept) == len(present):
        known = ", ".join("".join(_place(item)).rstrip("/") for item in present)
        raise NotFoundError(
            f"The app has no domain {name}{below or ''}.",
            hint=f"It has: {known}." if known else "It has none of its own.",
        )
    return override(overrides, {"domains": kept})


def _present(file: AppFile, overrides: Tables) -> list[dict[str, Any]]:
    found = merge_tables(file.tables, overrides).get("domains") or ()
    return [dict(item) for item in found]


def _place(domain: Mapping[str, Any]) -> Place:
    return normal_host(str(domain["host"])), normal_path(str(domain.get("path") or "/"))


def _is_at(place: Place, host: str, path: str | None) -> bool:
    return place[0] == host and path in {None, place[1]}
