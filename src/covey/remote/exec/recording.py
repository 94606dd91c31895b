"""Recordings of commands in the form asciicast v2 (docs.asciinema.org/manual/asciicast/v2).

The keeper of a detached command loads this file too. What is typed is not recorded: it may be a
password. Known secrets are masked.
"""

from __future__ import annotations

import codecs
import json
import os
import time

from covey.shellkit.redact import Redactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIX = ".cast"
LIMIT_BYTES = 64 << 20
DEFAULT_ROWS, DEFAULT_COLUMNS = 24, 80


class Recorder:
    """Writes one recording; a disk that is full ends the recording, never the command.

    Output that is no terminal's gets the carriage returns that a player needs.
    """

    def __init__(
        self,
        path: str,
        title: str,
        size: tuple[int, int] | None,
        secrets: Iterable[str],
        limit: int = LIMIT_BYTES,
    ) -> None:
        self._start = time.monotonic()
        self._raw = size is None
        self._limit = limit
        self._written = 0
        self._secrets = list(secrets)
        self._channels: dict[int, tuple[Redactor, codecs.IncrementalDecoder]] = {}
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        rows, columns = size or (DEFAULT_ROWS, DEFAULT_COLUMNS)
        masked = Redactor(self._secrets)
        shown = masked.feed(title.encode()) + masked.finish()
        self._write(
            {
                "version": 2,
                "width": columns,
                "height": rows,
                "timestamp": int(time.time()),
                "title": shown.decode(errors="replace"),
            }
        )

    def output(self, channel: int, data: bytes) -> None:
        """Record some output of a channel."""
        redactor, decoder = self._channel(channel)
        self._event("o", decoder.decode(redactor.feed(data)))

    def resize(self, rows: int, columns: int) -> None:
        """Record the terminal's new size."""
        self._event("r", f"{columns}x{rows}")

    def finish(self, ending: str) -> None:
        """Record the end, and close."""
        for redactor, decoder in self._channels.values():
            self._event("o", decoder.decode(redactor.finish(), True))  # noqa: FBT003 - its signature
        self._event("m", ending)
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _channel(self, channel: int) -> tuple[Redactor, codecs.IncrementalDecoder]:
        found = self._channels.get(channel)
        if found is None:
            found = (Redactor(self._secrets), codecs.getincrementaldecoder("utf-8")("replace"))
            self._channels[channel] = found
        return found

    def _event(self, kind: str, text: str) -> None:
        if not text:
            return
        if kind == "o" and self._raw:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        self._write([round(time.monotonic() - self._start, 6), kind, text])

    def _write(self, event: object) -> None:
        if self._file is None:
            return
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        self._written += len(line)
        if self._written > self._limit:
            at = round(time.monotonic() - self._start, 6)
            line = json.dumps([at, "m", "the recording ends here: it is too long"]).encode() + b"\n"
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self.close()
        if self._written > self._limit:
            self.close()
