"""See how a Node app is installed, built and started, or which files its build leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from covey.apps.config.model import WEB, StaticSite
from covey.apps.config.procfile import parse_procfile
from covey.apps.config.tree import SourceTree

_DEFAULT_MAJOR = 22
_OLDEST_MAJOR = 16
_VERSION = re.compile(r"(>=|>|<=|<|\^|~)?\s*v?([0-9]{2})\b")
_LONGEST_VERSION = 200
_LONGEST_SCRIPT = 2000
_DEVELOPMENT = re.compile(
    r"(?:npx\s+)?(?:vite(?:\s|$)|react-scripts\s+start|ng\s+serve|vue-cli-service\s+serve"
    r"|astro\s+(?:dev|preview)|gatsby\s+develop|webpack(?:-dev-server|\s+serve)|next\s+dev"
    r"|docusaurus\s+start|eleventy\s+--serve|nodemon|parcel\s)"
)
_SIMPLE = re.compile(r"[\w@./-]+(?:\s+[\w@./:,=-]+)*")
_PRODUCED = {
    "vite": "dist",
    "react-scripts": "build",
    "@vue/cli-service": "dist",
    "astro": "dist",
    "gatsby": "public",
    "@docusaurus/core": "build",
    "@11ty/eleventy": "_site",
    "parcel": "dist",
}
_SINGLE_PAGE = ("vite", "react-scripts", "@vue/cli-service", "@angular/core", "parcel")
_NAMED = {"vite": "Vite", "react-scripts": "Create React App", "astro": "Astro"}


class PackageManager(StrEnum):
    """What installs the app's packages."""

    NPM = "npm"
    PNPM = "pnpm"
    YARN = "yarn"
    YARN_BERRY = "yarn-berry"


@dataclass(frozen=True, slots=True)
class NodeApp:
    """A Node app. `start` and `build` are shell commands; `site` is what its build leaves instead.

    `first` are the files that the packages depend on, or the `whole` source is; `manager_version`
    is what the app asks for.
    """

    major: int
    manager: PackageManager
    manager_version: str
    first: tuple[str, ...]
    lock: str | None
    build: str | None
    start: str | None
    why: str
    site: StaticSite | None = None
    whole: bool = False


def detect_node(tree: SourceTree) -> NodeApp | None:
    """Return the Node app in a source, or None if it has no usable `package.json`."""
    package = read_package(tree)
    if package is None:
        return None
    manager, version = _manager(tree, package)
    scripts = _strings(package, "scripts")
    needs = _strings(package, "dependencies") | _strings(package, "devDependencies")
    site, site_why = _site(tree, package, scripts, needs)
    start, why = (None, site_why) if site else _start(tree, package, scripts, needs)
    lock = tree.first(*_LOCKS[manager])
    first = ["package.json", *([lock] if lock else [])]
    first += [name for name in (".npmrc", ".yarnrc.yml", "pnpm-workspace.yaml") if tree.has(name)]
    return NodeApp(
        major=_major(tree, package),
        manager=manager,
        manager_version=version,
        first=tuple(first),
        lock=lock,
        build=f"{_runner(manager)} run build" if "build" in scripts else None,
        start=start,
        why=why,
        site=site,
        whole="workspaces" in package
        or tree.has("pnpm-workspace.yaml")
        or any(name in scripts for name in ("preinstall", "install", "postinstall", "prepare")),
    )


def read_package(tree: SourceTree) -> Mapping[str, Any] | None:
    """Return `package.json`, or None if there is none that can be read."""
    try:
        found = json.loads(tree.text("package.json")) if tree.has("package.json") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


_LOCKS = {
    PackageManager.NPM: ("package-lock.json", "npm-shrinkwrap.json"),
    PackageManager.PNPM: ("pnpm-lock.yaml",),
    PackageManager.YARN: ("yarn.lock",),
    PackageManager.YARN_BERRY: ("yarn.lock",),
}


def _manager(tree: SourceTree, package: Mapping[str, Any]) -> tuple[PackageManager, str]:
    said = re.match(r"(npm|pnpm|yarn)@(\d+(?:\.\d+){0,2})", str(package.get("packageManager", "")))
    name = said[1] if said else ""
    version = said[2] if said else ""
    if name == "pnpm" or (not name and tree.has("pnpm-lock.yaml")):
        return PackageManager.PNPM, version or "10"
    if name == "yarn" or (not name and tree.has("yarn.lock")):
        berry = "__metadata:" in tree.text("yarn.lock") or (version and version[0] != "1")
        return (PackageManager.YARN_BERRY if berry else PackageManager.YARN), version
    return PackageManager.NPM, version


def _major(tree: SourceTree, package: Mapping[str, Any]) -> int:
    engines = package.get("engines")
    wanted = engines.get("node") if isinstance(engines, dict) else None
    for text in (tree.text(".nvmrc"), tree.text(".node-version"), wanted):
        match = _VERSION.search(text[:_LONGEST_VERSION]) if isinstance(text, str) else None
        if match is None or int(match[2]) < _OLDEST_MAJOR:
            continue
        major = int(match[2])
        match match[1]:
            case ">=" | ">":
                return max(major, _DEFAULT_MAJOR)
            case "<":
                return min(major - 1, _DEFAULT_MAJOR)
            case "<=":
                return min(major, _DEFAULT_MAJOR)
            case _:
                return major
    return _DEFAULT_MAJOR


def _start(
    tree: SourceTree,
    package: Mapping[str, Any],
    scripts: Mapping[str, str],
    needs: Mapping[str, str],
) -> tuple[str | None, str]:
    web = parse_procfile(tree.text("Procfile")).get(WEB)
    if web is not None:
        return web, "started as the Procfile says"
    if "nuxt" in needs and "build" in scripts:
        return "exec node .output/server/index.mjs", "Nuxt found in package.json"
    start = scripts.get("start", "").strip()
    if start and not _DEVELOPMENT.match(start):
        hooks = "prestart" in scripts or "poststart" in scripts
        short = len(start) <= _LONGEST_SCRIPT
        plain = short and _SIMPLE.fullmatch(start) and "=" not in start.split()[0] and not hooks
        return f"exec {start}" if plain else "exec npm run start", "started by its start script"
    if "next" in needs and "build" in scripts:
        return "exec next start", "Next.js found in package.json"
    if "@sveltejs/adapter-node" in needs and "build" in scripts:
        return "exec node build", "SvelteKit with adapter-node found in package.json"
    main = package.get("main")
    candidates = [main] if isinstance(main, str) else []
    for name in (*candidates, "server.js", "index.js", "app.js", "server.mjs", "index.mjs"):
        if name.removeprefix("./") in tree.names and re.fullmatch(r"[\w./-]+", name):
            return f"exec node {name.removeprefix('./')}", f"started with node {name}"
    return None, ""


def _site(
    tree: SourceTree,
    package: Mapping[str, Any],
    scripts: Mapping[str, str],
    needs: Mapping[str, str],
) -> tuple[StaticSite | None, str]:
    """Return what the build leaves, if the app is nothing but files then."""
    start = scripts.get("start", "").strip()
    if "build" not in scripts or (start and not _DEVELOPMENT.match(start) and "next" not in needs):
        return None, ""
    if "web" in parse_procfile(tree.text("Procfile")):
        return None, ""
    framework = _framework_site(tree, package, needs)
    if framework is not None:
        return framework
    if any(name in needs for name in ("@astrojs/node", "nuxt", "express", "fastify", "koa")):
        return None, ""
    for name, directory in _PRODUCED.items():
        if name in needs:
            fallback = "index.html" if name in _SINGLE_PAGE else None
            not_found = "404.html" if fallback is None else None
            told = _NAMED.get(name, name)
            return (
                StaticSite(directory, fallback=fallback, not_found=not_found),
                f"{told} builds it",
            )
    return None, ""


def _framework_site(
    tree: SourceTree, package: Mapping[str, Any], needs: Mapping[str, str]
) -> tuple[StaticSite | None, str] | None:
    """Decide for the frameworks that build either a server or files; None for all others."""
    if "next" in needs:
        settings = "".join(tree.text(f"next.config.{kind}") for kind in ("js", "mjs", "ts"))
        if re.search(r"output:\s*['\"]export['\"]", settings):
            return StaticSite("out", not_found="404.html"), "Next.js exports it"
        return None, ""
    if "@sveltejs/kit" in needs:
        if "@sveltejs/adapter-static" in needs:
            return StaticSite("build"), "SvelteKit with adapter-static builds it"
        return None, ""
    if "@angular/core" in needs:
        name = str(package.get("name", "")).rpartition("/")[2]
        directory = f"dist/{name}/browser"
        return StaticSite(directory, fallback="index.html"), "Angular builds it"
    return None


def _runner(manager: PackageManager) -> str:
    return "yarn" if manager is PackageManager.YARN_BERRY else manager.value


def _strings(package: Mapping[str, Any], name: str) -> dict[str, str]:
    found = package.get(name)
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}
