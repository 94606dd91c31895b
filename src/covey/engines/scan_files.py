"""What `env scan` reads: files on disk, those staged in git, never what git ignores."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from covey.env.scan import MAX_FILE_BYTES, Source, looks_binary
from covey.errors import InvalidRequestError, NotFoundError

_HEAD_BYTES = 8192
_GIT_TIMEOUT_S = 120
# A partial clone would fetch what it lacks, by a program that its configuration names.
_NO_SIDE_EFFECTS = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}
_NEVER = frozenset({".git", ".hg", ".svn"})


class FilesToScan:
    """Implements `SourceFinder` with git where there is a repository."""

    def files(self, paths: list[str]) -> Iterator[Source]:
        """Yield the files at and below paths; a path that is a file is read even if ignored."""
        for text in paths:
            path = _absolute(text)
            if path.is_dir():
                for name in _below(path):
                    source = _read(path / name)
                    if source is not None:
                        yield source
            elif path.exists():
                source = _read(path)
                if source is not None:
                    yield source
            else:
                raise NotFoundError(f"{path} does not exist.", hint="Name a file or a directory.")

    def staged(self, directory: str, index_file: str | None = None) -> Iterator[Source]:
        """Yield added and changed files of the index, with their staged content.

        `index_file` is git's GIT_INDEX_FILE: a commit in progress has an index of its own.
        """
        top = _top(_absolute(directory))
        index = {"GIT_INDEX_FILE": str(_absolute(index_file))} if index_file else None
        changed = _git(
            top,
            *("diff", "--cached", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv"),
            *("--diff-filter=ACMRT", "-z"),
            environ=index,
        )
        for raw in changed.split(b"\0"):
            if not raw:
                continue
            name = os.fsdecode(raw)
            size = int(_git(top, "cat-file", "-s", f":{name}", environ=index))
            if size > MAX_FILE_BYTES:
                yield Source(name, None)
                continue
            data = _git(top, "cat-file", "blob", f":{name}", environ=index)
            yield Source(name, None if looks_binary(data[:_HEAD_BYTES]) else data)


def _absolute(text: str) -> Path:
    path = Path(text)
    if "\0" in text or not path.is_absolute():
        raise InvalidRequestError(
            f"{text[:200]!r} is not an absolute path.",
            hint="The node's own directory is not yours: name the whole path.",
        )
    return path


def _below(directory: Path) -> Iterator[str]:
    """Yield paths below a directory: tracked and new files in a repository, else every file."""
    try:
        listed = _git(directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except InvalidRequestError:
        yield from _walk(directory)
        return
    for raw in sorted(set(listed.split(b"\0"))):
        if raw:
            yield os.fsdecode(raw)


def _walk(directory: Path) -> Iterator[str]:
    for here, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in _NEVER)
        for name in sorted(names):
            yield os.path.relpath(str(Path(here, name)), directory)


def _read(path: Path) -> Source | None:
    """Read a plain file; None for anything else, and for what may not be read or is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > MAX_FILE_BYTES:
            return Source(str(path), None)
        data = file.read(MAX_FILE_BYTES + 1)
    binary = looks_binary(data[:_HEAD_BYTES]) or len(data) > MAX_FILE_BYTES
    return Source(str(path), None if binary else data)


def _top(directory: Path) -> Path:
    found = _git(directory, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(found.removesuffix(b"\n")))


def _git(directory: Path, *words: str, environ: dict[str, str] | None = None) -> bytes:
    try:
        done = subprocess.run(
            # The user's own git; no program that a repository's configuration names is started.
            ["git", "-C", str(directory), "-c", "core.fsmonitor=false", *words],  # noqa: S607
            env={**os.environ, **_NO_SIDE_EFFECTS, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidRequestError(
            f"git could not be asked about {directory}: {type(error).__name__}.",
            hint="Install git, or scan without --staged.",
        ) from error
    if done.returncode:
        raise InvalidRequestError(
            f"{directory} is not in a git repository.",
            hint="Run it in a repository, or scan without --staged.",
        )
    return done.stdout
