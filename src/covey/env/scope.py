"""Where a variable applies: the fleet, a project, one of its environments, a host, an app."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from covey.errors import InvalidRequestError
from covey.shellkit.names import MAX_LABEL, is_label


class Level(IntEnum):
    """The kinds of scope; a higher one wins."""

    FLEET = 0
    PROJECT = 1
    ENVIRONMENT = 2
    HOST = 3
    APP = 4


class Scope(NamedTuple):
    """One scope; scopes sort by level, so the last of several wins.

    Written `fleet`, `project:NAME`, `environment:PROJECT/NAME`, `host:NAME` or `app:NAME`.
    """

    level: Level
    name: str = ""
    project: str = ""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read a scope as users write it; raises `InvalidRequestError`."""
        kind, _, name = text.partition(":")
        match kind:
            case "fleet" if text == "fleet":
                return FLEET
            case "project" if name:
                return cls.of_project(name)
            case "environment" if "/" in name:
                project, _, environment = name.partition("/")
                return cls.of_environment(project, environment)
            case "host" if name:
                return cls.of_host(name)
            case "app" if name:
                return cls.of_app(name)
            case _:
                raise InvalidRequestError(
                    f"{text[:80]!r} is not a scope.",
                    hint="A scope is fleet, project:NAME, environment:PROJECT/NAME, host:NAME "
                    "or app:NAME.",
                )

    @classmethod
    def of_project(cls, project: str) -> Scope:
        """Return a project's scope."""
        return cls(Level.PROJECT, _label("project", project))

    @classmethod
    def of_environment(cls, project: str, environment: str) -> Scope:
        """Return the scope of one environment of a project."""
        return cls(
            Level.ENVIRONMENT, _label("environment", environment), _label("project", project)
        )

    @classmethod
    def of_host(cls, host: str) -> Scope:
        """Return a host's scope; hosts' names do not differ by case."""
        return cls(Level.HOST, _label("host", host.lower()))

    @classmethod
    def of_app(cls, app: str) -> Scope:
        """Return the scope of an app that Covey runs."""
        return cls(Level.APP, _label("app", app))

    def __str__(self) -> str:
        match self.level:
            case Level.FLEET:
                return "fleet"
            case Level.PROJECT:
                return f"project:{self.name}"
            case Level.ENVIRONMENT:
                return f"environment:{self.project}/{self.name}"
            case Level.HOST:
                return f"host:{self.name}"
            case Level.APP:
                return f"app:{self.name}"


FLEET = Scope(Level.FLEET)


class Place(NamedTuple):
    """What variables are resolved for."""

    project: str | None = None
    environment: str | None = None
    host: str | None = None
    app: str | None = None

    def scopes(self) -> list[Scope]:
        """Return the scopes that apply, the winning one last.

        Raises `InvalidRequestError` for a malformed name or an environment without its project.
        """
        found = [FLEET]
        if self.project:
            found.append(Scope.of_project(self.project))
        if self.environment:
            if not self.project:
                raise InvalidRequestError(
                    f"The environment {self.environment!r} is given without its project.",
                    hint="Name the project too: --project NAME",
                )
            found.append(Scope.of_environment(self.project, self.environment))
        if self.host:
            found.append(Scope.of_host(self.host))
        if self.app:
            found.append(Scope.of_app(self.app))
        return found


def _label(what: str, text: str) -> str:
    if not is_label(text):
        raise InvalidRequestError(
            f"{text[:80]!r} is not a name for {what}s.",
            hint=f"Use at most {MAX_LABEL} of a-z, 0-9, '.', '_' and '-', a letter or digit first.",
        )
    return text
