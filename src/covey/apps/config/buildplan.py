"""Decide how a source becomes an image or a directory of files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from covey.apps.config.containerfiles import (
    IGNORED,
    command_containerfile,
    go_containerfile,
    node_containerfile,
    python_containerfile,
)
from covey.apps.config.detect_go import detect_go
from covey.apps.config.detect_node import NodeApp, detect_node
from covey.apps.config.detect_python import Installer, detect_python
from covey.apps.config.load import AppFile, load_app_file
from covey.apps.config.merge import Effective, Tables, effective, merge_tables
from covey.apps.config.model import WEB, AppConfig, StaticSite
from covey.apps.config.procfile import procfile_tables
from covey.apps.config.tree import SourceTree, read_tree
from covey.errors import InvalidRequestError

_NONE: Mapping[str, object] = {}
DOCKERFILES = ("Dockerfile", "Containerfile", "dockerfile")
_PLACES_OF_SITES = ("", "public/", "dist/", "_site/", "site/", "www/")
_IN_IMAGE = "/app"
_NO_SITE_FILES = re.compile(
    r"(?:^|/)\.(?!well-known(?:/|$))|^(?:covey\.app\.toml|deploy\.toml|Procfile|Dockerfile"
    r"|Containerfile|dockerfile)$"
)


@dataclass(frozen=True, slots=True)
class DockerfileBuild:
    """Build the source's own Dockerfile; paths are below the source's root.

    `dockerfile` is below `context`, unless `outside` says that it is elsewhere in the source: then
    its text is to be passed.
    """

    context: str
    dockerfile: str
    reason: str
    outside: bool = False
    ignore: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GeneratedBuild:
    """Build a Containerfile that Covey wrote. `ignore` are lines for the end of .dockerignore.

    `defaults` are tables under the app's file, such as the processes of a Procfile.
    """

    context: str
    text: str
    reason: str
    ignore: tuple[str, ...] = IGNORED
    warnings: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteBuild:
    """Serve `directory` of the source, or what the build leaves in it.

    With a `text`, that Containerfile is built first, and the directory is `built_at` in its image.
    """

    context: str
    site: StaticSite
    reason: str
    text: str | None = None
    built_at: str = ""
    ignore: tuple[str, ...] = IGNORED
    warnings: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """The directory, below the source's root."""
        return posixpath.normpath(posixpath.join(self.context, self.site.directory))


BuildPlan = DockerfileBuild | GeneratedBuild | SiteBuild


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known of a source before it is built: `file` has the plan's defaults in it."""

    file: AppFile
    config: AppConfig
    plan: BuildPlan
    warnings: tuple[str, ...]


def prepare(root: Path, overrides: Tables = _NONE) -> Prepared:
    """Read the app's file of a source, and plan its build.

    Raises `InvalidRequestError` for a file that is wrong and for a source that cannot be built.
    """
    file = load_app_file(root)
    first = effective(file, overrides)
    plan = plan_build(root, first.config)
    if not plan.defaults:
        return _prepared(file, first, plan)
    below = msgspec.structs.replace(file, tables=merge_tables(plan.defaults, file.tables))
    return _prepared(below, effective(below, overrides), plan)


def plan_build(root: Path, config: AppConfig) -> BuildPlan:
    """Plan the build of a directory; raises `InvalidRequestError`."""
    context = root / config.build.context
    if not context.resolve().is_relative_to(root.resolve()) or not context.is_dir():
        raise InvalidRequestError(
            f"There is no directory {config.build.context} in the source to build.",
            hint="Check build.context in the app's file.",
        )
    named = root / (config.build.dockerfile or ".")
    there = named.is_file() and named.resolve().is_relative_to(root.resolve())
    return plan_files(config, read_tree(context), dockerfile_in_root=there)


def plan_files(
    config: AppConfig, tree: SourceTree, *, dockerfile_in_root: bool = False
) -> BuildPlan:
    """Plan the build of the files of `build.context`.

    `dockerfile_in_root` says that `build.dockerfile` is there, seen from the source's root. Raises
    `InvalidRequestError` that says what was looked for.
    """
    build = config.build
    if build.static is not None:
        return _asked_site(config, build.static, tree)
    own = _own_dockerfile(config, tree, dockerfile_in_root=dockerfile_in_root)
    if own is not None:
        return own
    defaults = procfile_tables(tree.text("Procfile"))
    found = _python(config, tree, defaults) if _is_python_first(tree) else None
    return (
        found
        or _node(config, tree, defaults)
        or _go(config, tree, defaults)
        or _python(config, tree, defaults)
        or _plain_site(config, tree)
        or _nothing(tree)
    )


def is_public(path: str) -> bool:
    """Whether a file of a static site's directory may be served: no hidden or build file."""
    return _NO_SITE_FILES.search(path) is None


def leads_out(path: Path, root: Path) -> bool:
    """Whether a file of a site is a link that must not be served: out of `root`, or absolute."""
    if not path.is_symlink():
        return False
    return path.readlink().is_absolute() or not path.resolve().is_relative_to(root.resolve())


def _prepared(file: AppFile, found: Effective, plan: BuildPlan) -> Prepared:
    config = found.config
    if isinstance(plan, SiteBuild) and config.build.static != plan.site:
        build = msgspec.structs.replace(config.build, static=plan.site)
        config = msgspec.structs.replace(config, build=build)
    return Prepared(file, config, plan, (*found.warnings, *plan.warnings))


def _own_dockerfile(
    config: AppConfig, tree: SourceTree, *, dockerfile_in_root: bool
) -> DockerfileBuild | None:
    build = config.build
    named = build.dockerfile
    if named is None:
        name = tree.first(*DOCKERFILES)
        if name is None:
            return None
        outside = False
    else:
        below = posixpath.relpath(named, build.context)
        if dockerfile_in_root:
            outside = below.startswith("../")
            name = named if outside else below
        elif tree.has(named):
            name, outside = named, False
        else:
            raise InvalidRequestError(
                f"There is no file {named} in the source.",
                hint="Check build.dockerfile; its path starts at the top of the source.",
            )
    warnings = (
        ("build.command is not used: the Dockerfile says what is run in the build.",)
        if build.command is not None
        else ()
    )
    return DockerfileBuild(
        build.context,
        name,
        f"Built by {name}.",
        outside=outside,
        ignore=build.ignore,
        warnings=warnings,
    )


def _is_python_first(tree: SourceTree) -> bool:
    """Whether a source with packages of Node beside Python's is a Python app that uses Node."""
    return tree.has("manage.py") or (
        tree.has("requirements.txt", "uv.lock", "poetry.lock", "Pipfile")
        and tree.has("main.py", "app.py", "wsgi.py", "asgi.py")
    )


def _python(config: AppConfig, tree: SourceTree, defaults: Mapping[str, Any]) -> BuildPlan | None:
    app = detect_python(tree)
    if app is None:
        return None
    if app.start is None and not _web_command(config):
        raise _no_start("Python", app.why, "gunicorn shop:app --bind 0.0.0.0:$PORT")
    tool = {
        Installer.REQUIREMENTS: "requirements.txt",
        Installer.PYPROJECT: "pyproject.toml",
        Installer.NONE: "no dependencies",
    }.get(app.installer, f"{app.installer} ({app.first[-1] if app.first else ''})")
    summary = _summary(f"Python {app.version} with {tool}", app.why, config)
    return GeneratedBuild(
        config.build.context,
        python_containerfile(app, config, summary),
        summary,
        ignore=(*config.build.ignore, *IGNORED),
        defaults=defaults,
    )


def _node(config: AppConfig, tree: SourceTree, defaults: Mapping[str, Any]) -> BuildPlan | None:
    app = detect_node(tree)
    if app is None:
        return None
    if app.site is not None and not config.processes:
        return _built_site(config, app.site, tree, app)
    if app.start is None and not _web_command(config):
        raise _no_start("Node", app.why, "node server.js")
    summary = _summary(_node_kind(app), app.why, config)
    return GeneratedBuild(
        config.build.context,
        node_containerfile(app, config, summary),
        summary,
        ignore=(*config.build.ignore, *IGNORED),
        warnings=_unlocked(app),
        defaults=defaults,
    )


def _go(config: AppConfig, tree: SourceTree, defaults: Mapping[str, Any]) -> BuildPlan | None:
    app = detect_go(tree)
    if app is None:
        return None
    if not app.packages:
        raise InvalidRequestError(
            "There is a go.mod, but no package main at the top or in cmd/NAME to build.",
            hint="Add one, or a Dockerfile that builds it.",
        )
    if app.start is None and not _web_command(config):
        names = ", ".join(name for name, _ in app.packages)
        raise InvalidRequestError(
            f"Covey does not see which of the commands {names} serves.",
            hint=f'Write into covey.app.toml: [processes] web = "{app.packages[0][0]}"',
        )
    summary = _summary("Go (go.mod)", app.why, config)
    return GeneratedBuild(
        config.build.context,
        go_containerfile(app, config, summary),
        summary,
        ignore=(*config.build.ignore, *IGNORED),
        defaults=defaults,
    )


def _asked_site(config: AppConfig, site: StaticSite, tree: SourceTree) -> SiteBuild:
    app = detect_node(tree)
    absent = not tree.has_directory(site.directory)
    if config.build.command is None and not (app is not None and app.build and absent):
        if absent:
            raise InvalidRequestError(
                f"There is no directory {site.directory} in the source to serve.",
                hint="Check build.static, or give the command that makes it: build.command.",
            )
        return SiteBuild(
            config.build.context,
            _with_pages(site, tree),
            f"A static site: {_directory(site)} as it is, because build.static says so.",
            ignore=(*config.build.ignore, *IGNORED),
        )
    return _built_site(config, site, tree, app)


def _built_site(
    config: AppConfig, site: StaticSite, tree: SourceTree, app: NodeApp | None
) -> SiteBuild:
    command = config.build.command or (app.build if app else None) or "true"
    how = f"A static site: {_directory(site)}, made by {command}"
    python = detect_python(tree) if app is None else None
    if app is not None:
        because = app.why if config.build.static is None else f"with {_node_kind(app)}"
        summary = f"{how}; {because}."
        text = node_containerfile(app, _as_site(config, site), summary)
    elif python is not None and python.installer is not Installer.NONE:
        summary = f"{how}, with Python {python.version}."
        text = python_containerfile(python, config, summary)
    else:
        summary = f"{how}, in an image with Node."
        text = command_containerfile(config, summary)
    return SiteBuild(
        config.build.context,
        site,
        summary,
        text=text,
        built_at=posixpath.normpath(posixpath.join(_IN_IMAGE, site.directory)),
        ignore=(*config.build.ignore, *IGNORED),
        warnings=_unlocked(app) if app is not None else (),
    )


def _plain_site(config: AppConfig, tree: SourceTree) -> SiteBuild | None:
    for place in _PLACES_OF_SITES:
        if tree.has(f"{place}index.html"):
            site = _with_pages(StaticSite(place.rstrip("/") or "."), tree)
            summary = f"A static site: {_directory(site)}, because of {place}index.html."
            ignore = (*config.build.ignore, *IGNORED)
            return SiteBuild(config.build.context, site, summary, ignore=ignore)
    return None


def _nothing(tree: SourceTree) -> BuildPlan:
    seen = ", ".join(sorted(name for name in tree.names if "/" not in name)[:8])
    raise InvalidRequestError(
        "Covey sees nothing here that it could build or serve"
        + (f"; at the top there is: {seen}." if seen else ": the source is empty."),
        hint="It knows Dockerfile, package.json, requirements.txt, pyproject.toml, go.mod and "
        "index.html; or name a directory of files as build.static in covey.app.toml.",
    )


def _as_site(config: AppConfig, site: StaticSite) -> AppConfig:
    build = msgspec.structs.replace(config.build, static=site)
    return msgspec.structs.replace(config, build=build)


def _with_pages(site: StaticSite, tree: SourceTree) -> StaticSite:
    """Let the site's own 404.html be its page of status 404 unless something else is said."""
    if site.fallback is not None or site.not_found is not None:
        return site
    page = posixpath.normpath(posixpath.join(site.directory, "404.html"))
    return msgspec.structs.replace(site, not_found="404.html") if tree.has(page) else site


def _directory(site: StaticSite) -> str:
    return "the whole directory" if site.directory == "." else f"the directory {site.directory}"


def _node_kind(app: NodeApp) -> str:
    manager = app.manager.value.partition("-")[0]
    return f"Node {app.major} with {manager} ({app.lock or 'package.json'})"


def _unlocked(app: NodeApp) -> tuple[str, ...]:
    if app.lock is not None:
        return ()
    return ("There is no lock file of packages, so each build takes the newest that fit.",)


def _web_command(config: AppConfig) -> str | None:
    web = config.processes.get(WEB)
    return None if web is None else web.command


def _summary(what: str, why: str, config: AppConfig) -> str:
    if _web_command(config):
        return f"{what}, started as processes.web says."
    return f"{what}, {why}."


def _no_start(language: str, why: str, example: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"This is a {language} app{f' ({why})' if why else ''}, but Covey does not see what "
        "starts it.",
        hint=f'Write into covey.app.toml: [processes] web = "{example}"',
    )
