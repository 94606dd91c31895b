"""The daemon's log: JSON lines in a private rotated file, readable lines on the console."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from covey.errors import StorageError
from covey.settings import LogSettings

MASK = "••••••••"

_SHORTEST_SECRET = 6
# Tokens, invitations and recovery keys of Covey, bearer headers, and passwords in URLs.
_SECRET_SHAPES = re.compile(
    r"\bcovey\d?[-_][A-Za-z0-9_=-]{16,}"
    r"|\b(?:[0-9A-HJKMNP-TV-Z]{5}-){10}[0-9A-HJKMNP-TV-Z]{5}\b"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
)
_KNOWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS = {10: "2", 20: "36", 30: "33", 40: "31", 50: "1;31"}


class SecretMask:
    """Replaces what looks like one of Covey's secrets, and every registered text, in log lines."""

    def __init__(self) -> None:
        self._registered: set[str] = set()

    def register(self, secret: str) -> None:
        """Mask this text from now on; texts under six characters would mask common words."""
        if len(secret) >= _SHORTEST_SECRET:
            self._registered.add(secret)

    def forget(self, secret: str) -> None:
        """Stop masking this text."""
        self._registered.discard(secret)

    def apply(self, text: str) -> str:
        """Return `text` with every secret in it replaced."""
        for secret in sorted(self._registered, key=len, reverse=True):
            if secret in text:
                text = text.replace(secret, MASK)
        return _SECRET_SHAPES.sub(MASK, text)


SECRETS = SecretMask()
"""The process's mask, which every Covey log handler applies."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record, masked."""
        entry: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update(_extras(record))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        masked = {key: _masked(value) for key, value in entry.items()}
        return json.dumps(masked, ensure_ascii=False, default=str)


class ConsoleFormatter(logging.Formatter):
    """A short readable line; a traceback stays in the file."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Render one record, masked."""
        level = f"{record.levelname.lower():7}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelno, '0')}m{level}\x1b[0m"
        clock = _time(record).astimezone().strftime("%H:%M:%S")
        name = record.name.removeprefix("covey.")
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        line = f"{record.getMessage()}{extras}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f" [{type(record.exc_info[1]).__name__}: {record.exc_info[1]}]"
        return f"{clock} {level} {name}: {SECRETS.apply(line)}"


class PrivateRotatingHandler(logging.handlers.RotatingFileHandler):
    """A rotated log file that is mode 0600 from its first byte, and survives a full disk."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: a log that cannot be written never takes the node down."""


class _Console(logging.StreamHandler[IO[str]]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: the terminal may be gone."""


def start_logging(
    settings: LogSettings, log_file: str, *, console: IO[str] | None = sys.stderr
) -> Callable[[], None]:
    """Log to `log_file`, and to `console` unless it is None; returns what ends both.

    Raises `StorageError` when the file cannot be opened.
    """
    level = _LEVELS[settings.level]
    try:
        Path(log_file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        to_file = PrivateRotatingHandler(
            log_file, maxBytes=settings.max_bytes, backupCount=settings.keep, encoding="utf-8"
        )
    except OSError as error:
        raise StorageError(
            f"Covey cannot write its log {log_file}: {error.strerror}.",
            hint="Free some space, or give your user write access to the directory.",
        ) from error
    to_file.setFormatter(JsonFormatter())
    handlers: list[logging.Handler] = [to_file]
    if console is not None:
        to_console = _Console(console)
        to_console.setFormatter(ConsoleFormatter(colour=_wants_colour(console)))
        handlers.append(to_console)
    root = logging.getLogger()
    root.setLevel(max(level, logging.INFO))
    covey = logging.getLogger("covey")
    covey.setLevel(level)
    for handler in handlers:
        root.addHandler(handler)
    logging.captureWarnings(capture=True)

    def stop() -> None:
        logging.captureWarnings(capture=False)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()

    return stop


def _wants_colour(stream: IO[str]) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {
        key: value
        for key, value in record.__dict__.items()
        if key not in _KNOWN_FIELDS and not key.startswith("_")
    }


def _masked(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return SECRETS.apply(value)
        case dict():
            return {str(key): _masked(item) for key, item in value.items()}
        case list() | tuple():
            return [_masked(item) for item in value]
        case _:
            return SECRETS.apply(str(value))
