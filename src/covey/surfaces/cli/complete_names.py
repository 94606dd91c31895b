"""Names to complete that only the node knows: variables, machines, tokens, scopes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from covey.errors import CoveyError
from covey.surfaces.cli.place import present_project
from covey.surfaces.cli.session import Session

Candidate = tuple[str, str]

_MOST = 1000
_HOST_PARAMS = frozenset({"host", "hosts", "node", "nodes", "member"})
_VARIABLE_PARAMS = frozenset({"name", "names", "assignments"})


def names_for(session: Session, operation: str, param: str) -> Iterator[Candidate]:
    """Yield the names that a parameter of an operation takes; none when the node is silent."""
    domain = operation.partition(".")[0]
    try:
        if param == "scope":
            yield from _scopes(session)
        elif param in _HOST_PARAMS or (domain == "fleet" and param in _VARIABLE_PARAMS):
            yield from _listed(session, "fleet.list", "Machine")
        elif domain == "token" and param in {"name", "id"}:
            yield from _listed(session, "token.list", "Token", key=param)
        elif domain == "env" and param in _VARIABLE_PARAMS:
            yield from _variables(session, assign=param == "assignments")
        elif param in {"project", "environment"}:
            yield from _of_directory(param)
    except CoveyError:
        return


def _variables(session: Session, *, assign: bool) -> Iterator[Candidate]:
    seen: set[str] = set()
    for name, about in _listed(session, "env.list", ""):
        if name not in seen:
            seen.add(name)
            yield (f"{name}=" if assign else name), about


def _listed(session: Session, operation: str, about: str, key: str = "name") -> Iterator[Candidate]:
    command = session.client.command(operation)
    items: list[Any]
    if command.paginated:
        items = []
        for page, _ in session.client.pages(command, {}, _MOST):
            items.extend(page)
    else:
        items = session.client.run(command, {})
    for item in items:
        if item.get(key):
            yield str(item[key]), about


def _scopes(session: Session) -> Iterator[Candidate]:
    yield "fleet", "Everywhere"
    project = present_project()
    if project is not None:
        yield f"project:{project.project}", "This directory's project"
        if project.environment:
            yield (
                f"environment:{project.project}/{project.environment}",
                "This directory's environment",
            )
    for name, _ in _listed(session, "fleet.list", ""):
        yield f"host:{name}", "Machine"


def _of_directory(param: str) -> Iterator[Candidate]:
    project = present_project()
    value = getattr(project, param, None)
    if value:
        yield str(value), f"This directory's {param}"
