"""Turn problems into one error that names the file, the lines, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from covey.apps.config.lines import Patience, find_line
from covey.apps.config.tables import Path, Problem
from covey.errors import InvalidRequestError

_MOST_TOLD = 20


def invalid(
    problems: Sequence[Problem], *, name: str = "", text: str = "", overridden: Sequence[Path] = ()
) -> InvalidRequestError:
    """Return the error for one problem or several.

    `name` and `text` are those of the file; a path at or below one of `overridden` was set by a
    command or the API instead.
    """
    patience = Patience()
    told = [_tell(item, name, text, overridden, patience) for item in problems[:_MOST_TOLD]]
    details = {"problems": [detail for _, detail in told]}
    if len(problems) == 1:
        sentence, detail = told[0]
        return InvalidRequestError(
            sentence, hint=problems[0].hint, details={**detail, **details, "file": name}
        )
    lines = [
        f"  {sentence.removeprefix(f'{name}, ')}" + (f" {problem.hint}" if problem.hint else "")
        for (sentence, _), problem in zip(told, problems, strict=False)
    ]
    more = len(problems) - len(told)
    if more:
        lines.append(f"  and {more} more")
    return InvalidRequestError(
        f"{name or 'The configuration'} has {len(problems)} problems:\n" + "\n".join(lines),
        hint="All keys: docs/reference/app-file.md",
        details={**details, "file": name},
    )


def _tell(
    problem: Problem, name: str, text: str, overridden: Sequence[Path], patience: Patience
) -> tuple[str, dict[str, object]]:
    detail: dict[str, object] = {"key": _key(problem.path), "reason": problem.sentence}
    by_override = f"A setting of the app that wins over its file: {problem.sentence}"
    if any(problem.path[: len(path)] == path for path in overridden):
        return by_override, detail
    line = None
    for length in range(len(problem.path), 0, -1):
        line = find_line(text, problem.path[:length], patience) if text else None
        if line is not None:
            break
    if line is not None:
        return f"{name}, line {line}: {problem.sentence}", {**detail, "line": line}
    if any(path[: len(problem.path)] == problem.path for path in overridden):
        return by_override, detail
    return (f"{name}: {problem.sentence}" if name else problem.sentence), detail


def _key(path: Path) -> str:
    return ".".join(str(part) for part in path)
