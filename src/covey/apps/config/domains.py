"""One name of an app set over those of its file, or taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covey.apps.config.load import AppFile
from covey.apps.config.merge import Tables, merge_tables, override
from covey.apps.routing.names import normal_host, normal_path
from covey.errors import ConflictError, NotFoundError

Place = tuple[str, str]


def with_domain(file: AppFile, overrides: Tables, domain: Mapping[str, Any]) -> dict[str, object]:
    """Return overrides with one domain more. If it is canonical, no other is.

    Raises `InvalidRequestError`, and `ConflictError` if its host and path are there already.
    """
    place = _place(domain)
    added = {key: value for key, value in domain.items() if value is not None}
    added |= {"host": place[0], "path": place[1]}
    others = _present(file, overrides)
    if any(_place(item) == place for item in others):
        name = "".join(place).rstrip("/")
        path = "" if place[1] == "/" else f" --path {place[1]}"
        raise ConflictError(
            f"The app has the domain {name} already.",
            hint=f"To change it, remove it first: covey apps domains remove APP {place[0]}{path}",
        )
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
    if not kept and not file.tables.get("domains"):
        # An empty list kept over the file would hide the names that it gets later.
        return {key: value for key, value in overrides.items() if key != "domains"}
    return override(overrides, {"domains": kept})


def _present(file: AppFile, overrides: Tables) -> list[dict[str, Any]]:
    found = merge_tables(file.tables, overrides).get("domains") or ()
    return [dict(item) for item in found]


def _place(domain: Mapping[str, Any]) -> Place:
    return normal_host(str(domain["host"])), normal_path(str(domain.get("path") or "/"))


def _is_at(place: Place, host: str, path: str | None) -> bool:
    return place[0] == host and path in {None, place[1]}
