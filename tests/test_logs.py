from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from covey.errors import StorageError
from covey.logs import MASK, SECRETS, start_logging
from covey.settings import LogSettings

LOG = logging.getLogger("covey.test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "covey.log"


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., io.StringIO]]:
    """Start logging and return the console; it ends with the test."""
    stops: list[Callable[[], None]] = []

    def begin(**settings: Any) -> io.StringIO:
        console = io.StringIO()
        stops.append(start_logging(LogSettings(**settings), str(path), console=console))
        return console

    yield begin
    for stop in stops:
        stop()


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_json_in_the_file_and_text_on_the_console(
    path: Path, start: Callable[..., io.StringIO]
):
    console = start()
    LOG.info("hello %s", "frigg", extra={"peer": "freya"})
    LOG.debug("too fine")
    found = entries(path)
    assert len(found) == 1
    assert found[0]["message"] == "hello frigg"
    assert (found[0]["level"], found[0]["logger"]) == ("info", "covey.test")
    assert found[0]["peer"] == "freya"
    assert found[0]["time"].endswith("+00:00")
    assert console.getvalue().endswith("info    test: hello frigg peer=freya\n")


def test_files_are_private_from_the_start_and_after_rotation(
    path: Path, start: Callable[..., io.StringIO]
):
    old = os.umask(0)
    try:
        start(max_bytes=64 << 10, keep=2)
        for number in range(60):
            LOG.info("%d %s", number, "x" * 5000)
    finally:
        os.umask(old)
    files = sorted(item.name for item in path.parent.iterdir())
    assert files == ["covey.log", "covey.log.1", "covey.log.2"]
    for item in path.parent.iterdir():
        assert item.stat().st_mode & 0o777 == 0o600
        assert item.stat().st_size <= 64 << 10
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "secret",
    [
        "covey_abcdefghij23_abcdefghijklmnopqrstuvwxyz234567",
        "covey1-AbCdEf0123456789-_x",
        "-".join(["0A1B2"] * 11),
        "Bearer abcdefghijk",
        "https://user:hunter22@host/",
    ],
)
def test_what_looks_like_a_secret_is_masked_everywhere(
    path: Path, start: Callable[..., io.StringIO], secret: str
):
    console = start()
    LOG.warning("with %s", secret, extra={"deep": {"list": [secret]}})
    LOG.error("failed", exc_info=ValueError(secret))
    hidden = secret.removeprefix("Bearer ").removeprefix("https://").removesuffix("@host/")
    for text in (path.read_text(), console.getvalue()):
        assert hidden not in text
        assert MASK in text


def test_a_registered_secret_is_masked_until_it_is_forgotten(
    path: Path, start: Callable[..., io.StringIO]
):
    start()
    SECRETS.register("plain words")
    SECRETS.register("short"[:3])
    LOG.info("some plain words sho")
    SECRETS.forget("plain words")
    LOG.info("some plain words")
    assert [item["message"] for item in entries(path)] == [f"some {MASK} sho", "some plain words"]


def test_a_log_that_cannot_be_written_never_stops_the_node(
    path: Path, start: Callable[..., io.StringIO], monkeypatch: pytest.MonkeyPatch
):
    start()
    handler = logging.getLogger().handlers[-2]
    assert isinstance(handler, logging.FileHandler)
    handler.stream.close()
    LOG.error("lost")
    handler.stream = path.open("a")
    LOG.error("kept")
    assert entries(path)[-1]["message"] == "kept"


def test_a_log_that_cannot_be_opened_is_an_error_with_its_path(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write its log"):
        start_logging(LogSettings(), str(tmp_path / "file" / "covey.log"))


def test_stopping_leaves_nothing_behind(path: Path):
    before = list(logging.getLogger().handlers)
    start_logging(LogSettings(), str(path), console=None)()
    assert logging.getLogger().handlers == before
