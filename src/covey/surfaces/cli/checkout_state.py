"""What git knows of a directory: the commit, whether files differ from it, and what it ignores."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pygit2

_DIRTY = "-dirty"
_LONGEST_MESSAGE = 2000
"""What a deployment takes of it."""


@dataclass(frozen=True, slots=True)
class CheckoutState:
    """`commit` ends with "-dirty" if the directory differs from it; `tracked` is below it.

    `excludes` are the files of patterns that hold in the whole repository, the stronger last.
    """

    root: Path | None = None
    commit: str = ""
    message: str = ""
    tracked: tuple[str, ...] = ()
    excludes: tuple[Path, ...] = ()
    ignore_case: bool = False


def read_checkout(directory: Path) -> CheckoutState:
    """Return what git knows of a directory, or an empty answer if it is in no working copy."""
    import pygit2

    # It matters to programs that run what a repository's configuration names, as libgit2 never
    # does; the files of another user's repository would be packed without its rules.
    pygit2.settings.owner_validation = False
    place = pygit2.discover_repository(str(directory))
    if place is None:
        return CheckoutState()
    try:
        repository = pygit2.Repository(place)
        if repository.workdir is None:
            return CheckoutState()
        return _read(repository, directory)
    except (pygit2.GitError, KeyError, ValueError):
        # Of a kind that libgit2 does not know; its .gitignore files hold nevertheless.
        found = (item for item in (directory, *directory.parents) if (item / ".git").exists())
        return CheckoutState(next(found, None))


def _read(repository: pygit2.Repository, directory: Path) -> CheckoutState:
    import pygit2
    from pygit2.enums import FileStatus

    root = Path(repository.workdir).resolve()
    lead = directory.relative_to(root).as_posix()
    prefix = "" if lead == "." else f"{lead}/"
    tracked = tuple(
        entry.path.removeprefix(prefix)
        for entry in repository.index
        if entry.path.startswith(prefix)
    )
    excludes, ignore_case = _excludes(repository), _ignores_case(repository)
    if not tracked or repository.head_is_unborn:
        return CheckoutState(root, "", "", tracked, excludes, ignore_case)
    commit = repository.head.peel(pygit2.Commit)
    clean = {FileStatus.CURRENT, FileStatus.IGNORED}
    changed = repository.status(untracked_files="normal").items()
    dirty = any(path.startswith(prefix) and flags not in clean for path, flags in changed)
    message = commit.raw_message.decode("utf-8", "replace").strip()[:_LONGEST_MESSAGE]
    name = f"{commit.id}{_DIRTY if dirty else ''}"
    return CheckoutState(root, name, message, tracked, excludes, ignore_case)


def _excludes(repository: pygit2.Repository) -> tuple[Path, ...]:
    own = Path(repository.path)
    with contextlib.suppress(OSError):  # of a further working copy, the repository is elsewhere
        own = own / (own / "commondir").read_text("utf-8").strip()
    of_user = _of_user(repository)
    return (*(() if of_user is None else (of_user,)), own / "info" / "exclude")


def _of_user(repository: pygit2.Repository) -> Path | None:
    """Return the user's own patterns, where gitignore(5) says that they are."""
    if "core.excludesfile" in repository.config:
        text = repository.config["core.excludesfile"]
        return Path(os.path.expanduser(text)) if text else None  # noqa: PTH111 - not an error
    above = os.environ.get("XDG_CONFIG_HOME")
    if above:
        return Path(above, "git", "ignore")
    home = os.environ.get("HOME")
    return Path(home, ".config", "git", "ignore") if home else None


def _ignores_case(repository: pygit2.Repository) -> bool:
    config = repository.config
    return "core.ignorecase" in config and config.get_bool("core.ignorecase")
