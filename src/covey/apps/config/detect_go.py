"""See how a Go app is built."""

from __future__ import annotations

import re
from dataclasses import dataclass

from covey.apps.config.model import WEB
from covey.apps.config.procfile import parse_procfile
from covey.apps.config.tree import SourceTree

_LIKELY = ("server", "web", "app", "api", "main")


@dataclass(frozen=True, slots=True)
class GoApp:
    """A Go module: `packages` holds its commands by name, `main` is the one that is started."""

    packages: tuple[tuple[str, str], ...]
    main: str | None
    start: str | None
    first: tuple[str, ...]
    why: str


def detect_go(tree: SourceTree) -> GoApp | None:
    """Return the Go app in a source, or None if it has no `go.mod`."""
    if not tree.has("go.mod"):
        return None
    module = re.search(r"^module\s+(\S+)", tree.text("go.mod"), re.MULTILINE)
    path = re.sub(r"/v\d+$", "", module[1].strip('"')) if module else "app"
    own = re.sub(r"[^A-Za-z0-9._-]", "-", path.rpartition("/")[2]) or "app"
    packages: dict[str, str] = {}
    if any(_is_main(tree, name) for name in tree.names if "/" not in name):
        packages[own] = "."
    for name in tree.below("cmd"):
        match = re.fullmatch(r"cmd/([A-Za-z0-9._-]+)/[^/]+\.go", name)
        if match and not name.endswith("_test.go"):
            packages[match[1]] = f"./cmd/{match[1]}"
    main = _main(packages, own)
    web = parse_procfile(tree.text("Procfile")).get(WEB)
    start = web or (f"exec {main}" if main else None)
    place = "" if main is None or packages[main] == "." else f", built from {packages[main]}"
    why = f"started as {main}{place}" if main else "no package main found"
    return GoApp(
        packages=tuple(packages.items()),
        main=main,
        start=start,
        first=tuple(name for name in ("go.mod", "go.sum") if tree.has(name)),
        why="started as the Procfile says" if web else why,
    )


def _is_main(tree: SourceTree, name: str) -> bool:
    return (
        name.endswith(".go")
        and not name.endswith("_test.go")
        and re.search(r"^package main\b", tree.text(name), re.MULTILINE) is not None
    )


def _main(packages: dict[str, str], own: str) -> str | None:
    if len(packages) == 1:
        return next(iter(packages))
    return next((name for name in (own, *_LIKELY) if name in packages), None)
