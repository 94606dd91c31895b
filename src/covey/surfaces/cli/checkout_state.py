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
class CheckoutRules:
    """What decides on which files git ignores; `tracked` are those that it keeps anyway.

    `excludes` are the files of patterns that hold in the whole repository, the stronger last.
    """

    root: Path | None = None
    tracked: tuple[str, ...] = ()
    excludes: tuple[Path, ...] = ()
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class CommitState:
    """The commit of a directory; its id ends with "-dirty" if the directory differs from it."""

    id: str = ""
    message: str = ""


def read_rules(directory: Path) -> CheckoutRules:
    """Return what git would ignore by, or an empty answer if it is in no working copy."""
    import pygit2

    try:
        repository = _open(directory)
        return CheckoutRules() if repository is None else _rules(repository, directory)
    except (pygit2.GitError, KeyError, ValueError):
        # Of a kind that libgit2 does not know; its .gitignore files hold nevertheless.
        found = (item for item in (directory, *directory.parents) if (item / ".git").exists())
        return CheckoutRules(next(found, None))


def read_commit(directory: Path) -> CommitState:
    """Return the commit, or an empty answer if git has none; it looks at every file."""
    import pygit2

    try:
        repository = _open(directory)
        return CommitState() if repository is None else _commit(repository, directory)
    except (pygit2.GitError, KeyError, ValueError):
        return CommitState()


def _open(directory: Path) -> pygit2.Repository | None:
    import pygit2

    # It matters to programs that run what a repository's configuration names, as libgit2 never
    # does; the files of another user's repository would be packed without its rules.
    pygit2.settings.owner_validation = False
    place = pygit2.discover_repository(str(directory))
    repository = None if place is None else pygit2.Repository(place)
    return None if repository is None or repository.workdir is None else repository


def _rules(repository: pygit2.Repository, directory: Path) -> CheckoutRules:
    root = Path(repository.workdir).resolve()
    prefix = _prefix(root, directory)
    tracked = tuple(
        entry.path.removeprefix(prefix)
        for entry in repository.index
        if entry.path.startswith(prefix)
    )
    return CheckoutRules(root, tracked, _excludes(repository), _ignores_case(repository))


def _commit(repository: pygit2.Repository, directory: Path) -> CommitState:
    import pygit2
    from pygit2.enums import FileStatus

    prefix = _prefix(Path(repository.workdir).resolve(), directory)
    is_kept = any(entry.path.startswith(prefix) for entry in repository.index)
    if not is_kept or repository.head_is_unborn:
        return CommitState()
    commit = repository.head.peel(pygit2.Commit)
    clean = {FileStatus.CURRENT, FileStatus.IGNORED}
    changed = repository.status(untracked_files="normal").items()
    dirty = any(path.startswith(prefix) and flags not in clean for path, flags in changed)
    message = commit.raw_message.decode("utf-8", "replace").strip()[:_LONGEST_MESSAGE]
    return CommitState(f"{commit.id}{_DIRTY if dirty else ''}", message)


def _prefix(root: Path, directory: Path) -> str:
    lead = directory.relative_to(root).as_posix()
    return "" if lead == "." else f"{lead}/"


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
