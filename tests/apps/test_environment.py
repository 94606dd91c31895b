"""Which variables an app is given, and which a preview is not, whatever its file says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from covey.apps.config.load import parse_app_file
from covey.apps.config.merge import effective
from covey.apps.config.model import AppConfig
from covey.apps.environment import AppEnvironment
from covey.apps.model import App, Built, Preview, Release, Running
from covey.env.model import Kind
from covey.env.scope import Level
from covey.errors import InvalidRequestError
from tests.fleet.token_store import HERE

VALUES = {
    "AWS_KEY": (Level.FLEET, "fleet's"),
    "GREETING": (Level.FLEET, "hello"),
    "DATABASE": (Level.PROJECT, "db"),
}
SHOP = App("shop", HERE, "shop", "production", datetime.now(UTC))
PREVIEW = msgspec.structs.replace(SHOP, name="shop-pr-7", preview=Preview("shop", 7))


class Variables:
    """Stands for the variables of a fleet."""

    def __init__(self) -> None:
        self.records = self.values = self

    def place(self, *_names: object) -> Any:
        return SimpleNamespace(project="shop", environment="production", host="freya")

    def at(self, _place: object) -> Any:
        def stack(level: Level) -> list[Any]:
            scope, stored = SimpleNamespace(level=level), SimpleNamespace(kind=Kind.SECRET)
            return [SimpleNamespace(scope=scope, stored=stored)]

        return {name: stack(level) for name, (level, _) in VALUES.items()}

    async def resolve(self, _layers: object) -> Any:
        values = {name: value for name, (_, value) in VALUES.items()}
        return SimpleNamespace(values=values, problem=lambda _name: None)


def config(text: str) -> AppConfig:
    return effective(parse_app_file(text)).config


def resolve(app: App, text: str, serving: str = "") -> dict[str, str]:
    release = Release(Built(), 1, parse_app_file(serving), config(serving), 8080)
    running = {"shop": Running("shop", 1, release, datetime.now(UTC))} if serving else {}
    environment = AppEnvironment(cast("Any", Variables()), running.get)
    return dict(asyncio.run(environment.resolve(app, config(text))).values)


def test_an_app_gets_what_its_file_refers_to_and_what_its_project_has() -> None:
    text = '[env]\nKEY = "${AWS_KEY}"\n[preview.env]\nKEY = "none"\n'
    assert resolve(SHOP, text) == {"KEY": "fleet's", "DATABASE": "db"}


def test_a_preview_has_an_overlay_of_its_own() -> None:
    text = '[env]\nMODE = "live"\n[preview.env]\nMODE = "try"\nUSES = "${DATABASE}"\n'
    assert resolve(PREVIEW, text) == {"MODE": "try", "USES": "db", "DATABASE": "db"}


def test_a_pull_request_cannot_take_variables_that_the_app_does_not() -> None:
    wanted = '[env]\nHI = "${GREETING}"\nX = "${AWS_KEY}"\n'
    for serving in ("", '[env]\nHI = "${GREETING}"\n', '[env]\nX = "$${AWS_KEY}"\n'):
        with pytest.raises(InvalidRequestError, match="AWS_KEY"):
            resolve(PREVIEW, wanted, serving)
    with pytest.raises(InvalidRequestError, match="AWS_KEY"):
        resolve(PREVIEW, '[preview.env]\nX = "${AWS_KEY}"\n')
    found = resolve(PREVIEW, '[env]\nHI = "${GREETING}"\n', '[env]\nOTHER = "${GREETING}"\n')
    assert found["HI"] == "hello"
