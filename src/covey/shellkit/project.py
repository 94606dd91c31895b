"""Which project a directory belongs to: the nearest `.covey.toml` at or above it.

Shell hooks read the same file with their builtins, so `project` and `environment` stand before the
first table, each on one line, as a quoted string. Every other line is left to other readers.
"""

from __future__ import annotations

import os

from covey.shellkit.names import is_label

FILE_NAME = ".covey.toml"
READ_BYTES = 8192


class ProjectFileError(Exception):
    """A `.covey.toml` that cannot be taken: the text says which file, which line and why."""


class Project:
    """A project and, optionally, one of its environments; `path` is the file that names them."""

    __slots__ = ("environment", "path", "project")

    def __init__(self, project: str, environment: str | None, path: str) -> None:
        self.project = project
        self.environment = environment
        self.path = path


def find_project(directory: str) -> Project | None:
    """Return the project of an absolute directory, or None.

    Raises `ProjectFileError` if the nearest file is malformed or belongs to another user.
    """
    here = directory
    while True:
        path = os.path.join(here, FILE_NAME)
        if os.path.isfile(path):
            return _read(path)
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def parse_project(text: str, path: str = FILE_NAME) -> Project | None:
    """Return what the text of a `.covey.toml` names, or None; raises `ProjectFileError`."""
    found: dict[str, str] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if line.startswith("["):
            break
        key, equals, rest = line.partition("=")
        key = key.rstrip(" \t")
        if not equals or key not in {"project", "environment"}:
            continue
        if key in found:
            raise ProjectFileError(f"{path}, line {number}: {key} is given twice")
        value = _quoted(rest.lstrip(" \t"))
        if value is None or not is_label(value):
            raise ProjectFileError(
                f"{path}, line {number}: {key} must be a quoted name of a-z, 0-9, '.', '_', '-'"
            )
        found[key] = value
    if "project" not in found:
        if "environment" in found:
            raise ProjectFileError(f"{path}: environment is given without project")
        return None
    return Project(found["project"], found.get("environment"), path)


def _quoted(text: str) -> str | None:
    quote = text[:1]
    if quote not in {'"', "'"}:
        return None
    value, closed, rest = text[1:].partition(quote)
    rest = rest.strip(" \t")
    return value if closed and (not rest or rest.startswith("#")) else None


def _read(path: str) -> Project | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            owner = os.fstat(descriptor).st_uid
            data = os.read(descriptor, READ_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ProjectFileError(f"{path} cannot be read: {error.strerror}") from error
    if hasattr(os, "geteuid") and owner != os.geteuid():
        raise ProjectFileError(f"{path} belongs to another user and is ignored")
    return parse_project(data.decode("utf-8", "replace"), path)
