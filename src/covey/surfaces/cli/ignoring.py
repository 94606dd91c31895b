"""Which files are not packed: what git ignores, and what .dockerignore leaves out."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from posixpath import normpath

from covey.ignore_files.dockerignore import DockerIgnore
from covey.ignore_files.gitignore import GitIgnore
from covey.surfaces.cli.checkout_state import CheckoutRules

_NO_CHECKOUT = CheckoutRules()
_APP_FILES = ("covey.app.toml", "deploy.toml")
_DOCKERFILES = ("Dockerfile", "Containerfile", "dockerfile")
_DOCKER = (".containerignore", ".dockerignore")
_NEEDED = frozenset({*_APP_FILES, *_DOCKERFILES, *_DOCKER, "Procfile"})
_LARGEST = 8 << 20
_NO_PIPE = getattr(os, "O_NONBLOCK", 0)
_FOLLOWED, _NOT_FOLLOWED = _NO_PIPE, _NO_PIPE | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One file of patterns: `inside` is its place in the directory, `lead` how far above it is."""

    patterns: GitIgnore
    inside: str = ""
    lead: str = ""

    def decide(self, path: str, *, is_directory: bool) -> bool | None:
        found = os.fsencode(self.lead + path.removeprefix(self.inside))
        return self.patterns.decide(found, is_directory=is_directory)


@dataclass(frozen=True)
class Ignoring:
    """The rules that hold in one directory; `enter` adds those of a directory below.

    The innermost of `rules` is last; `tracked` are paths that git keeps although a pattern names
    them, and the directories on the way to them. `needed` is sent whatever .dockerignore says.
    """

    rules: tuple[_Rule, ...] = ()
    docker: DockerIgnore | None = None
    tracked: frozenset[str] = frozenset()
    needed: frozenset[str] = _NEEDED
    ignore_case: bool = False
    inside_ignored: bool = False

    def enter(self, directory: Path, prefix: str) -> Ignoring:
        """Return the rules for what stands in `directory`."""
        found = self
        above = prefix.removesuffix("/")
        if above and not self.inside_ignored and self._by_git(above, is_directory=True):
            found = replace(found, inside_ignored=True)
        content = _read(directory / ".gitignore", _NOT_FOLLOWED)
        if content:
            rule = _Rule(GitIgnore(content, ignore_case=self.ignore_case), inside=prefix)
            found = replace(found, rules=(*found.rules, rule))
        return found

    def leaves_out(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path is not packed; of a directory, all that is in it."""
        ignored = self.inside_ignored or self._by_git(path, is_directory=is_directory)
        if ignored and path not in self.tracked:
            return True
        if self.docker is None or path in self.needed or not self.docker.leaves_out(path):
            return False
        below = is_directory and any(name.startswith(f"{path}/") for name in self.needed)
        return not (below or (is_directory and self.docker.may_keep_below(path)))

    def _by_git(self, path: str, *, is_directory: bool) -> bool:
        for rule in reversed(self.rules):
            found = rule.decide(path, is_directory=is_directory)
            if found is not None:
                return found
        return False


def read_ignoring(directory: Path, git: CheckoutRules = _NO_CHECKOUT) -> Ignoring:
    """Return the rules at the top of a directory, whose repository has those of `git`.

    The rules of the directories above it in its repository hold too, unless they name the
    directory itself.
    """
    rules: list[_Rule] = []
    above = git.root
    if above is not None:
        lead = _lead(directory, above)
        for place in git.excludes:
            rules += _rule(place, _FOLLOWED, lead, git)
        for step in [*reversed(directory.parents), directory]:
            if step.is_relative_to(above) and step != directory:
                rules += _rule(step / ".gitignore", _NOT_FOLLOWED, _lead(directory, step), git)
        if lead and any(_names_a_parent(rule) for rule in rules):
            rules = []
    docker, needed = _docker(directory)
    return Ignoring(tuple(rules), docker, _with_parents(git.tracked), needed, git.ignore_case)


def _names_a_parent(rule: _Rule) -> bool:
    parts = rule.lead.rstrip("/").split("/")
    steps = ("/".join(parts[: count + 1]) for count in range(len(parts)))
    return any(rule.patterns.decide(os.fsencode(step), is_directory=True) for step in steps)


def _lead(directory: Path, above: Path) -> str:
    relative = directory.relative_to(above).as_posix()
    return "" if relative == "." else f"{relative}/"


def _rule(path: Path, flags: int, lead: str, git: CheckoutRules) -> list[_Rule]:
    content = _read(path, flags)
    if not content:
        return []
    return [_Rule(GitIgnore(content, ignore_case=git.ignore_case), lead=lead)]


def _docker(directory: Path) -> tuple[DockerIgnore | None, frozenset[str]]:
    """Return the patterns for the directory as a build's context, and what no pattern leaves out.

    Where the build has another context, or a Dockerfile with an ignore file of its own, the node
    alone applies what holds there.
    """
    context, dockerfile = _build(directory)
    names = (dockerfile,) if dockerfile else _DOCKERFILES
    needed = frozenset({*_NEEDED, *names})
    if context != "." or any((directory / f"{name}.dockerignore").exists() for name in names):
        return None, needed
    for name in _DOCKER:
        content = _read(directory / name, _FOLLOWED)
        if content:
            return DockerIgnore(content.decode("utf-8", "surrogateescape")), needed
    return None, needed


def _build(directory: Path) -> tuple[str, str]:
    """Return the context and the Dockerfile that the app's file names; its mistakes wait."""
    for name in _APP_FILES:
        try:
            build = tomllib.loads(_read(directory / name, _FOLLOWED).decode()).get("build", {})
            context, dockerfile = build.get("context", "."), build.get("dockerfile", "")
            return normpath(context), normpath(dockerfile) if dockerfile else ""
        except (ValueError, RecursionError, AttributeError, TypeError):
            continue
    return ".", ""


def _read(path: Path, flags: int) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, usual: os.open(name, usual | flags)) as file:
            return file.read(_LARGEST)
    except OSError:
        return b""


def _with_parents(tracked: Collection[str]) -> frozenset[str]:
    found = set(tracked)
    for path in tracked:
        found.update(str(parent) for parent in PurePosixPath(path).parents)
    return frozenset(found - {"."})
