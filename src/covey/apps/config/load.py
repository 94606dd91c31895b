"""Find and read the app's file in a directory."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from covey.apps.config.problems import invalid
from covey.apps.config.tables import read_tables
from covey.apps.config.toml_text import read_toml
from covey.errors import InvalidRequestError, StorageError

FILE_NAME = "covey.app.toml"
FILE_NAMES = (FILE_NAME, "deploy.toml")
MOST_BYTES = 64 << 10


class AppFile(msgspec.Struct, frozen=True):
    """The file as it was read: `tables` holds what it sets, in kept forms and without defaults.

    An app without a file has an empty one, whose `name` is empty too.
    """

    name: str = ""
    text: str = ""
    tables: dict[str, Any] = {}


def load_app_file(directory: Path) -> AppFile:
    """Read `covey.app.toml` or `deploy.toml` of a directory; an empty one if there is neither.

    Raises `InvalidRequestError` that names the lines of all problems, `StorageError` for what
    cannot be read.
    """
    present = [name for name in FILE_NAMES if os.path.lexists(directory / name)]
    if not present:
        return AppFile()
    if len(present) > 1:
        raise InvalidRequestError(
            f"Both {present[0]} and {present[1]} are there, and only {present[0]} would be used.",
            hint=f"Move what is needed into {present[0]}, and remove {present[1]}.",
        )
    return parse_app_file(_read(directory / present[0]), name=present[0])


def parse_app_file(raw: bytes | str, *, name: str = FILE_NAME) -> AppFile:
    """Read the file's content; raises `InvalidRequestError` as `load_app_file` does."""
    data = raw.encode() if isinstance(raw, str) else raw
    if len(data) > MOST_BYTES:
        raise InvalidRequestError(
            f"{name} is larger than 64 KiB, so it is hardly the file of an app.",
            hint="See what belongs into it: docs/reference/app-file.md",
        )
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidRequestError(
            f"{name}, line {line}: not UTF-8 text.",
            hint="Save the file as UTF-8.",
            details={"file": name, "line": line},
        ) from error
    try:
        given = read_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(name, text, str(error)) from error
    except (RecursionError, ValueError) as error:
        raise InvalidRequestError(
            f"{name} is nested too deeply, or has a number that is too long.",
            hint="See what belongs into it: docs/reference/app-file.md",
            details={"file": name},
        ) from error
    tables, problems = read_tables(given)
    if problems:
        raise invalid(problems, name=name, text=text)
    return AppFile(name, text, tables)


def _not_toml(name: str, text: str, reason: str) -> InvalidRequestError:
    match = re.fullmatch(r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)", reason)
    said = match[1] if match else reason
    line = int(match[2]) if match and match[2] else text.count("\n") + 1
    written = text.split("\n")[line - 1].strip() if line <= text.count("\n") + 1 else ""
    hint = 'A line looks like port = 8080 or [deploy] or app = "shop".'
    if re.match(r"[A-Za-z_-]+:", written):
        hint = 'It looks like YAML; TOML writes port = 8080 and app = "shop".'
    elif re.fullmatch(r"[\w.-]+\s*=\s*[A-Za-z/.*@].*", written):
        hint = f'Text needs quotes: {written.partition("=")[0].strip()} = "…"'
    return InvalidRequestError(
        f"{name}, line {line}: not valid TOML: {said[:1].lower()}{said[1:]}.",
        hint=hint,
        details={"file": name, "line": line},
    )


def _read(path: Path) -> bytes:
    """Read a file that may be hostile: no link out of the directory, no pipe, no endless one."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _no_file(path)
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        if path.is_symlink() or path.is_dir():
            raise _no_file(path) from error
        raise StorageError(
            f"{path.name} cannot be read: {error.strerror}.",
            hint="Give its owner read access to it.",
        ) from error


def _no_file(path: Path) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path.name} is not a plain file.", hint="Replace the link, pipe or directory by the file."
    )
