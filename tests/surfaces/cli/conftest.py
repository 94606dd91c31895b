"""The command line in this process, against a fake daemon."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from covey.operations.command_document import CommandDocument
from covey.surfaces.cli.app import run
from covey.surfaces.cli.session import Locals
from tests.surfaces.cli.fake_control import FakeControl, FakeServices
from tests.surfaces.cli.fake_daemon import FakeDaemon, fake_daemon, short_home
from tests.surfaces.cli.sample import DOCUMENT


@dataclass(frozen=True)
class Ran:
    """What one command line did."""

    status: int
    out: str
    err: str


Covey = Callable[..., Ran]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("COVEY_")]:
        monkeypatch.delenv(name)
    with short_home() as made:
        monkeypatch.setenv("COVEY_HOME", str(made))
        yield made


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with fake_daemon(home) as made:
        yield made


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


@pytest.fixture
def covey(
    home: Path,
    control: FakeControl,
    services: FakeServices,
    capfd: pytest.CaptureFixture[str],
) -> Covey:
    def call(*words: str, document: CommandDocument | None = DOCUMENT) -> Ran:
        status = run(words, Locals(lambda: control, lambda: services), document)
        captured = capfd.readouterr()
        return Ran(status, captured.out, captured.err)

    return call
