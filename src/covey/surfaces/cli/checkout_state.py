"""What git knows of a directory: the commit, and whether files differ from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_DIRTY = "-dirty"


@dataclass(frozen=True, slots=True)
class CheckoutState:
    """`commit` ends with "-dirty" if the directory differs from it; `tracked` is below it."""

    root: Path | None = None
    commit: str = ""
    message: str = ""
    tracked: tuple[str, ...] = ()


def read_checkout(directory: Path) -> CheckoutState:
    """Return what git knows of a directory, or an empty answer if it is in no working copy."""
    import pygit2
    from pygit2.enums import FileStatus

    place = pygit2.discover_repository(str(directory))
    if place is None:
        return CheckoutState()
    try:
        repository = pygit2.Repository(place)
        if repository.workdir is None:
            return CheckoutState()
        root = Path(repository.workdir).resolve()
        lead = directory.relative_to(root).as_posix()
        prefix = "" if lead == "." else f"{lead}/"
        tracked = tuple(
            entry.path.removeprefix(prefix)
            for entry in repository.index
            if entry.path.startswith(prefix)
        )
        if not tracked:
            return CheckoutState(root if not prefix else None)
        if repository.head_is_unborn:
            return CheckoutState(root, tracked=tracked)
        commit = repository.head.peel(pygit2.Commit)
        clean = {FileStatus.CURRENT, FileStatus.IGNORED}
        changed = repository.status(untracked_files="normal").items()
        dirty = any(path.startswith(prefix) and flags not in clean for path, flags in changed)
        message = commit.raw_message.decode("utf-8", "replace").strip()
        return CheckoutState(root, f"{commit.id}{_DIRTY if dirty else ''}", message, tracked)
    except (pygit2.GitError, KeyError, ValueError):
        return CheckoutState()
