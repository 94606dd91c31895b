"""Which files are not packed: .gitignore files as git reads them, and .dockerignore."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec, PathSpec, Pattern

_NEEDED = (
    "covey.app.toml",
    "deploy.toml",
    "Dockerfile",
    "Containerfile",
    ".dockerignore",
    ".containerignore",
    "Procfile",
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One .gitignore: `inside` is where it stands in the directory, `lead` how far above it."""

    spec: GitIgnoreSpec
    inside: str = ""
    lead: str = ""

    def decide(self, name: str) -> bool | None:
        return self.spec.check_file(self.lead + name.removeprefix(self.inside)).include


@dataclass(frozen=True)
class Ignoring:
    """The rules that hold in one directory; `enter` adds those of a directory below.

    The innermost of `rules` is last; `tracked` are paths that git keeps although a pattern names
    them, and the directories on the way to them.
    """

    rules: tuple[_Rule, ...] = ()
    docker: PathSpec[Pattern] | None = None
    tracked: frozenset[str] = frozenset()
    inside_ignored: bool = False

    def enter(self, directory: Path, prefix: str) -> Ignoring:
        """Return the rules for what stands in `directory`."""
        found = self
        if prefix and not self.inside_ignored and self._by_git(prefix):
            found = replace(found, inside_ignored=True)
        lines = _lines(directory / ".gitignore")
        if lines:
            rule = _Rule(GitIgnoreSpec.from_lines(lines), inside=prefix)
            found = replace(found, rules=(*found.rules, rule))
        return found

    def leaves_out(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path is not packed; of a directory, all that is in it."""
        name = f"{path}/" if is_directory else path
        if (self.inside_ignored or self._by_git(name)) and path not in self.tracked:
            return True
        if self.docker is None or path in _NEEDED:
            return False
        if is_directory and any(pattern.include is False for pattern in self.docker.patterns):
            return False  # something in it may be named again
        return bool(self.docker.check_file(name).include)

    def _by_git(self, name: str) -> bool:
        for rule in reversed(self.rules):
            found = rule.decide(name)
            if found is not None:
                return found
        return False


def read_ignoring(
    directory: Path, above: Path | None = None, tracked: Collection[str] = ()
) -> Ignoring:
    """Return the rules at the top of a directory; `above` is the root of its repository, if any.

    The rules of the directories between the two hold too, unless they name the directory itself.
    """
    rules: list[_Rule] = []
    if above is not None:
        lead = _lead(directory, above)
        rules = _rule(above / ".git" / "info" / "exclude", lead)
        for step in [*reversed(directory.parents), directory]:
            if step.is_relative_to(above) and step != directory:
                rules += _rule(step / ".gitignore", _lead(directory, step))
        if lead and any(rule.spec.match_file(rule.lead) for rule in rules):
            rules = []
    return Ignoring(tuple(rules), _docker(directory), _with_parents(tracked))


def _lead(directory: Path, above: Path) -> str:
    relative = directory.relative_to(above).as_posix()
    return "" if relative == "." else f"{relative}/"


def _rule(path: Path, lead: str) -> list[_Rule]:
    lines = _lines(path)
    return [_Rule(GitIgnoreSpec.from_lines(lines), lead=lead)] if lines else []


def _docker(directory: Path) -> PathSpec[Pattern] | None:
    for name in (".containerignore", ".dockerignore"):
        lines = [line.strip() for line in _lines(directory / name)]
        patterns = []
        for line in lines:
            if not line or line.startswith("#"):
                continue
            negated, pattern = line.startswith("!"), line.lstrip("!").strip().strip("/")
            if pattern and pattern != ".":
                sign = "!" if negated else ""
                patterns += [f"{sign}/{pattern}", f"{sign}/{pattern}/**"]
        if patterns:
            return PathSpec.from_lines("gitignore", patterns)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _with_parents(tracked: Collection[str]) -> frozenset[str]:
    found = set(tracked)
    for path in tracked:
        found.update(str(parent) for parent in PurePosixPath(path).parents)
    return frozenset(found - {"."})
