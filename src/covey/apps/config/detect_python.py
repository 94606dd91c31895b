"""See how a Python app is installed and started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from covey.apps.config.model import WEB
from covey.apps.config.procfile import parse_procfile
from covey.apps.config.toml_text import read_toml
from covey.apps.config.tree import SourceTree

_VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
_DEFAULT_VERSION = "3.13"
_ENTRIES = ("main", "app", "application", "server", "api", "__init__")
_ASGI = {"FastAPI": "fastapi", "Starlette": "starlette", "Litestar": "litestar", "Quart": "quart"}
# Nothing in these goes back over what it has taken: strangers write what they look at.
_CREATED = re.compile(
    r"^(\w++)(?:[ \t]*+:[^=\n]++)?+[ \t]*+=[ \t]*+(?:\w++\.)?+(\w++)\(", re.MULTILINE
)
_FACTORY = re.compile(r"^def[ \t]++(create_app|make_app)[ \t]*+\(", re.MULTILINE)
_CLAUSE = re.compile(r"(>=|<=|==|~=|!=|>|<) *+(\d{1,4})(?:\.(\d{1,4}))?")
_LOCAL = re.compile(r"^[ \t]*+(?:-e\s|--editable\s|\.|file:)", re.MULTILINE)
_LONGEST_VERSION = 200
_NATIVE = {
    "psycopg2": "libpq5",
    "psycopg": "libpq5",
    "mysqlclient": "libmariadb3",
    "python-magic": "libmagic1",
    "weasyprint": "libpango-1.0-0 libpangoft2-1.0-0",
}


class Installer(StrEnum):
    """What installs the app's dependencies."""

    UV = "uv"
    POETRY = "poetry"
    PIPENV = "pipenv"
    REQUIREMENTS = "pip"
    PYPROJECT = "pyproject"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PythonApp:
    """A Python app. `start` is a shell command; `extra` is installed besides, such as a server.

    `first` are the files that the dependencies depend on. `package` says that the app itself is
    installed, `local` that its dependencies are in the source. `native` are Debian packages.
    """

    version: str
    installer: Installer
    first: tuple[str, ...]
    start: str | None
    why: str
    extra: tuple[str, ...] = ()
    package: bool = False
    local: bool = False
    native: tuple[str, ...] = ()


def detect_python(tree: SourceTree) -> PythonApp | None:
    """Return the Python app in a source, or None if it is none."""
    project = _toml(tree.text("pyproject.toml"))
    installer = _installer(tree, project)
    if installer is Installer.NONE and not _has_code(tree):
        return None
    needs = _dependencies(tree, project)
    start, why, extra = _start(tree, project, needs)
    return PythonApp(
        version=_version(tree, project),
        installer=installer,
        first=_first(tree, installer),
        start=start,
        why=why,
        extra=extra,
        package=installer is Installer.PYPROJECT and _is_package(project),
        local=_is_local(tree, project, installer),
        native=tuple(sorted({_NATIVE[name] for name in needs & _NATIVE.keys()})),
    )


def _installer(tree: SourceTree, project: Mapping[str, Any]) -> Installer:
    if tree.has("uv.lock") and tree.has("pyproject.toml"):
        return Installer.UV
    if tree.has("poetry.lock") and tree.has("pyproject.toml"):
        return Installer.POETRY
    if tree.has("Pipfile"):
        return Installer.PIPENV
    if tree.has("requirements.txt"):
        return Installer.REQUIREMENTS
    if "project" in project:
        return Installer.PYPROJECT
    if "poetry" in _table(project, "tool"):
        return Installer.POETRY
    return Installer.NONE


def _is_local(tree: SourceTree, project: Mapping[str, Any], installer: Installer) -> bool:
    """Whether some dependencies are directories of the source."""
    if installer is Installer.REQUIREMENTS:
        return _LOCAL.search(tree.text("requirements.txt")) is not None
    if installer is Installer.UV:
        sources = _table(project, "tool", "uv", "sources").values()
        paths = any(isinstance(item, Mapping) and "path" in item for item in sources)
        return paths or bool(_table(project, "tool", "uv", "workspace"))
    return False


def _has_code(tree: SourceTree) -> bool:
    return tree.has("manage.py", *(f"{name}.py" for name in _ENTRIES[:5]))


def _first(tree: SourceTree, installer: Installer) -> tuple[str, ...]:
    match installer:
        case Installer.UV:
            return ("pyproject.toml", "uv.lock")
        case Installer.POETRY:
            return ("pyproject.toml", *(name for name in ("poetry.lock",) if tree.has(name)))
        case Installer.PIPENV:
            return tuple(name for name in ("Pipfile", "Pipfile.lock") if tree.has(name))
        case Installer.REQUIREMENTS:
            more = "-r requirements/" in tree.text("requirements.txt")
            tops = sorted(
                name for name in tree.names if re.fullmatch(r"requirements[\w.-]*\.txt", name)
            )
            return (*tops, "requirements/") if more else tuple(tops)
        case Installer.PYPROJECT:
            return ("pyproject.toml",)
        case Installer.NONE:
            return ()


def _start(
    tree: SourceTree, project: Mapping[str, Any], needs: frozenset[str]
) -> tuple[str | None, str, tuple[str, ...]]:
    """Return the command, where it was found, and what must be installed for it."""
    web = parse_procfile(tree.text("Procfile")).get(WEB)
    if web is not None:
        return web, "started as the Procfile says", ()
    if tree.has("manage.py"):
        return _django(tree, needs)
    for name in _modules(tree):
        text = tree.text(name)
        module = re.sub(r"/__init__$", "", name.removesuffix(".py").removeprefix("src/"))
        source = "--app-dir src " if name.startswith("src/") else ""
        change = "--chdir src " if name.startswith("src/") else ""
        dotted = module.replace("/", ".")
        for variable, made in _CREATED.findall(text):
            if made in _ASGI:
                command, extra = _asgi(f"{source}{dotted}:{variable}", needs)
                return command, f"{made} found in {name}", extra
            if made == "Flask":
                command, extra = _wsgi(f"{change}{dotted}:{variable}", needs)
                return command, f"Flask found in {name}", extra
        factory = _FACTORY.search(text)
        if factory and "flask" in needs:
            command, extra = _wsgi(f"{change}'{dotted}:{factory[1]}()'", needs)
            return command, f"Flask's {factory[1]} found in {name}", extra
    scripts = _table(project, "project", "scripts")
    if len(scripts) == 1 and _is_package(project):
        script = next(iter(scripts))
        return f"exec {script}", f"{script} is the script of pyproject.toml", ()
    main = tree.first("main.py", "app.py", "server.py", "application.py", "__main__.py")
    if main is not None:
        return f"exec python {main}", f"started with python {main}", ()
    return None, "", ()


def _modules(tree: SourceTree) -> list[str]:
    found = [name for name in tree.texts if re.fullmatch(r"[\w/]+\.py", name, re.ASCII)]
    found = [name for name in found if "test" not in name]
    order = {f"{name}.py": position for position, name in enumerate(_ENTRIES)}
    return sorted(
        (name for name in found if name.rpartition("/")[2] in order),
        key=lambda name: (name.removeprefix("src/").count("/"), order[name.rpartition("/")[2]]),
    )


def _django(tree: SourceTree, needs: frozenset[str]) -> tuple[str | None, str, tuple[str, ...]]:
    said = re.search(r"DJANGO_SETTINGS_MODULE['\"],\s*['\"]([\w.]+)['\"]", tree.text("manage.py"))
    package = said[1].split(".")[0] if said else ""
    candidates = [f"{package}/wsgi.py", *sorted(tree.names)] if package else sorted(tree.names)
    for name in candidates:
        if name in tree.names and re.fullmatch(r"[\w/]+/wsgi\.py", name, re.ASCII):
            module = name.removesuffix("/wsgi.py").replace("/", ".")
            if "uvicorn" in needs and "gunicorn" not in needs:
                command, extra = _asgi(f"{module}.asgi:application", needs)
            else:
                command, extra = _wsgi(f"{module}.wsgi:application", needs)
            return command, f"Django found in {name}", extra
    return None, "Django found, but no wsgi.py", ()


def _wsgi(app: str, needs: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    command = (
        f"exec gunicorn {app} --bind 0.0.0.0:$PORT --threads 8 --worker-tmp-dir /dev/shm"
        " --access-logfile - --forwarded-allow-ips '*'"
    )
    return command, () if "gunicorn" in needs else ("gunicorn",)


def _asgi(app: str, needs: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    if "hypercorn" in needs and "uvicorn" not in needs:
        return f"exec hypercorn {app.rpartition(' ')[2]} --bind 0.0.0.0:$PORT", ()
    command = (
        f"exec uvicorn {app} --host 0.0.0.0 --port $PORT --proxy-headers --forwarded-allow-ips '*'"
    )
    return command, () if "uvicorn" in needs else ("uvicorn",)


def _dependencies(tree: SourceTree, project: Mapping[str, Any]) -> frozenset[str]:
    listed = _table(project, "project").get("dependencies", ())
    pipfile = _toml(tree.text("Pipfile"))
    names: list[str] = [
        *(item for item in listed if isinstance(item, str)),
        *tree.text("requirements.txt").splitlines(),
        *_table(project, "tool", "poetry", "dependencies"),
        *_table(pipfile, "packages"),
    ]
    return frozenset(_plain(names))


def _plain(names: Iterable[str]) -> Iterable[str]:
    for item in names:
        match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?", item)
        if match is None:
            continue
        name = re.sub(r"[-_.]+", "-", match[1].lower())
        # The binary extras of the PostgreSQL drivers bring their library along.
        bundled = name == "psycopg" and "binary" in (match[2] or "")
        yield f"{name}-binary" if bundled else name
        if name == "fastapi" and "standard" in (match[2] or ""):
            yield "uvicorn"


def _version(tree: SourceTree, project: Mapping[str, Any]) -> str:
    for name in (".python-version", "runtime.txt"):
        match = re.search(r"\b(3\.[0-9]{1,2})", tree.text(name)[:_LONGEST_VERSION])
        if match:
            return match[1]
    wanted = _table(project, "project").get("requires-python")
    if wanted is None:
        wanted = _table(project, "tool", "poetry", "dependencies").get("python")
    if not isinstance(wanted, str):
        return _DEFAULT_VERSION
    wanted = wanted[:_LONGEST_VERSION]
    caret = re.fullmatch(r"\^(3\.\d+).*", wanted)
    clauses = _CLAUSE.findall(f">={caret[1]}" if caret else wanted)
    fitting = [version for version in _VERSIONS if all(_fits(version, item) for item in clauses)]
    if not fitting or _DEFAULT_VERSION in fitting:
        return _DEFAULT_VERSION
    return fitting[-1]


def _fits(version: str, clause: tuple[str, str, str]) -> bool:
    operator, major, minor = clause
    here = tuple(int(part) for part in version.split("."))
    there = (int(major), int(minor or 0))
    match operator:
        case ">=" | ">":
            return here >= there
        case "~=":
            return here >= there and here[0] == there[0]
        case "<":
            return here < there
        case "<=":
            return here <= there
        case "==":
            return here == there or (not minor and here[0] == there[0])
        case _:
            return here != there


def _is_package(project: Mapping[str, Any]) -> bool:
    return "build-system" in project and "project" in project


def _table(found: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for name in path:
        below = found.get(name)
        found = below if isinstance(below, Mapping) else {}
    return found


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return read_toml(text)
    except (RecursionError, ValueError):
        return {}
