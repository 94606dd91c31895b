"""Read `covey.toml` and say in which line each key stands."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from covey.errors import InvalidRequestError, StorageError

_SIZE_LIMIT = 1 << 20


def read_settings_file(path: str) -> tuple[str, Mapping[str, object]]:
    """Return the file's text and tables, both empty when there is no file.

    Raises `InvalidRequestError` for what is not TOML, `StorageError` for what cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise StorageError(
            f"Covey cannot read its settings in {path}: {error.strerror}.",
            hint="Give your user read access to the file, or move it away.",
        ) from error
    if len(raw) > _SIZE_LIMIT:
        raise InvalidRequestError(
            f"{path} is larger than 1 MiB, so it is hardly a settings file.",
            hint="See where Covey looks: covey config path",
        )
    try:
        text = raw.decode()
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidRequestError(
            f"{path}, line {line}: not UTF-8 text.",
            hint="Save the file as UTF-8.",
            details={"file": path, "line": line},
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequestError(
            f"{path} is not valid TOML: {error}.",
            hint='Settings look like this: a line [server], then a line listen = "0.0.0.0:13500"',
            details={"file": path},
        ) from error


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line, from 1, of the statement that first defines the dotted key `keys`.

    Every statement of TOML ends at a line's end and leaves a valid document before it, so the
    statement is found by parsing ever longer beginnings of `text`, which must be valid itself.
    """
    lines = text.splitlines(keepends=True)
    start = 1
    for end in range(1, len(lines) + 1):
        try:
            tables = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _contains(tables, keys):
            return start
        start = end + 1
    raise KeyError(".".join(keys))


def _contains(tables: Mapping[str, object], keys: Sequence[str]) -> bool:
    found: object = tables
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True
