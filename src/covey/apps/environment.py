"""The variables of an app: its file's, under its project's and environment's, under its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from covey.apps.config.model import AppConfig
from covey.apps.model import App, Preview, Running
from covey.env.model import Kind
from covey.env.scope import Level, Place, Scope
from covey.env.service import EnvService, Removal
from covey.errors import ConflictError, InvalidRequestError

_REFERENCE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OF_APPS = frozenset({Level.PROJECT, Level.ENVIRONMENT, Level.APP})


@dataclass(frozen=True, slots=True)
class AppVariables:
    """What an app's processes are given; `secrets` are values that no log may show."""

    values: Mapping[str, str] = field(repr=False)
    secrets: frozenset[str] = field(repr=False)


class AppEnvironment:
    """Resolves variables for apps of this machine."""

    def __init__(self, env: EnvService, running: Callable[[str], Running | None]) -> None:
        self._env = env
        self._running = running

    def check(self, app: App) -> None:
        """Raise `InvalidRequestError` if the app's project or environment cannot be one."""
        self._env.place(app.project, app.environment, None)

    async def forget(self, app: str) -> None:
        """Remove the variables that an app has of its own."""
        scope = Scope.of_app(app)
        names = [name for name, _ in self._env.records.in_scope(scope)]
        if names:
            await self._env.apply([Removal(scope, name) for name in names], "system")

    async def resolve(self, app: App, config: AppConfig) -> AppVariables:
        """Return the variables of an app.

        Those of the whole fleet and of hosts are for people's shells: an app gets one of them only
        if its file refers to it, as `NAME = "${NAME}"`; a preview only if the file of the version
        of its app that serves does, for anybody may write a pull request's. Raises `ConflictError`
        for a variable without a value, `InvalidRequestError` for a reference to none.
        """
        file_env = {**config.env, **(config.preview.env if app.preview is not None else {})}
        here = self._env.place(app.project, app.environment, None)
        place = Place(here.project, here.environment, here.host, app.name)
        layers = self._env.records.at(place)
        resolved = await self._env.values.resolve(layers)
        given = {
            name
            for name, stack in layers.items()
            if any(item.scope.level in _OF_APPS for item in stack)
        }
        referred = {match[2] for text in file_env.values() for match in _references(text)}
        if app.preview is not None:
            _check_preview(app, (referred & layers.keys()) - given - self._of_app(app.preview))
        for name in sorted(given | (referred & layers.keys())):
            problem = resolved.problem(name)
            if problem is not None:
                raise ConflictError(
                    f"The variable {name} has no value for {app.name}: {problem}.",
                    hint=f"See where it comes from: covey env explain {name} "
                    f"--project {app.project} --environment {app.environment}",
                )
        values = {
            name: _expand(app, name, text, resolved.values) for name, text in file_env.items()
        }
        values |= {name: resolved.values[name] for name in given}
        # Also those that it is not given by themselves: values may be made of other values.
        secrets = frozenset(
            resolved.values[name]
            for name, stack in layers.items()
            if name in resolved.values and stack[-1].stored.kind is Kind.SECRET
        )
        return AppVariables(values, secrets)

    def _of_app(self, preview: Preview) -> set[str]:
        """Return what the file refers to of the app that a preview is of."""
        running = self._running(preview.parent)
        if running is None:
            return set()
        config = running.release.config
        texts = (*config.env.values(), *config.preview.env.values())
        return {match[2] for text in texts for match in _references(text)}


def _check_preview(app: App, refused: AbstractSet[str]) -> None:
    if refused:
        raise InvalidRequestError(
            f"The app file of the preview {app.name} refers to {min(refused)}, a variable of the "
            "fleet that the app itself does not take.",
            hint="Deploy the reference with the app first, or set the variable for its project "
            f"{app.project}.",
        )


def _references(text: str) -> list[re.Match[str]]:
    return [match for match in _REFERENCE.finditer(text) if match[1] is None]


def _expand(app: App, name: str, text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[0][1:]
        if match[2] not in known:
            raise InvalidRequestError(
                f"{name} in the app file refers to the variable {match[2]}, which is not set.",
                hint=f"Set it: covey apps env set {app.name} {match[2]}=VALUE",
            )
        return known[match[2]]

    return _REFERENCE.sub(value, text)
