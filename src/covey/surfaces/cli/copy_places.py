"""`HOST:PATH` on the command line: which files are meant, and on which machine; pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from covey.errors import InvalidRequestError

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOME = "~"


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A path, and the host that it is on; None is this machine."""

    host: str | None
    path: str

    def __str__(self) -> str:
        return self.path if self.host is None else f"{self.host}:{self.path}"


def read_place(text: str) -> FilePlace:
    """Read `HOST:PATH` or a path of this machine; raises `InvalidRequestError` for neither.

    A colon after a slash belongs to the path, as it does for scp. A path of a host that is not
    absolute is below its first root, and one of this machine below the working directory.
    """
    before, colon, after = text.partition(":")
    if colon and "/" not in before:
        if _HOST.fullmatch(before) is None:
            raise InvalidRequestError(
                f"{before!r} is no name of a host.",
                hint=f"A file of that name is written ./{text}, others as HOST:PATH.",
            )
        return FilePlace(before, after or _HOME)
    if not text:
        raise InvalidRequestError("A path is empty.")
    whole = os.path.abspath(text)  # noqa: PTH100 - it keeps links as they are written
    return FilePlace(None, f"{whole}/" if text.endswith("/") and whole != "/" else whole)


def group_by_host(places: Sequence[FilePlace]) -> dict[str | None, list[str]]:
    """Return the paths of each host, in the order of the hosts' first mention."""
    groups: dict[str | None, list[str]] = {}
    for place in places:
        groups.setdefault(place.host, []).append(place.path)
    return groups
