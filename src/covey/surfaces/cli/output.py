"""Show results and errors: for people on a terminal, as JSON, or quietly."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from covey.errors import CoveyError
from covey.operations.command_document import CommandResult
from covey.surfaces.cli.humanize import human, title
from covey.surfaces.cli.tables import Table, hidden_columns, render_record, render_table
from covey.surfaces.cli.terminal import one_line, paint, printable, wants_colour, width_of

_LINE_FIELDS = ("line", "message", "text")
_ABSENT: tuple[Any, ...] = (None, "", [], {})
_NAME_FIELDS = ("name", "id", "key", "path", "version")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Output:
    """Where and how to print; the streams are read late, so that they can be redirected."""

    as_json: bool = False
    quiet: bool = False
    no_colour: bool = False
    stdout: IO[str] = field(default_factory=lambda: sys.stdout)
    stderr: IO[str] = field(default_factory=lambda: sys.stderr)

    @property
    def colour(self) -> bool:
        """Whether standard output takes colours."""
        return not self.no_colour and wants_colour(self.stdout)

    @property
    def colour_errors(self) -> bool:
        """Whether standard error takes colours."""
        return not self.no_colour and wants_colour(self.stderr)

    @property
    def width(self) -> int | None:
        """Columns of the terminal, or None when standard output is none."""
        return width_of(self.stdout)

    def line(self, text: str = "") -> None:
        """Print one line at once."""
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def exact(self, text: str) -> None:
        """Print text as it is, with nothing added."""
        self.stdout.flush()
        raw = getattr(self.stdout, "buffer", None)
        if raw is None:
            self.stdout.write(text)
        else:
            raw.write(text.encode("utf-8", "surrogateescape"))
        self.stdout.flush()

    def note(self, text: str) -> None:
        """Tell people something beside the result; scripts never see it."""
        if not self.quiet and not self.as_json:
            self.stderr.write(paint(text, "dim", colour=self.colour_errors) + "\n")

    def warn(self, text: str) -> None:
        """Tell people what may go wrong."""
        label = paint("warning:", "yellow", colour=self.colour_errors)
        self.stderr.write(f"{label} {printable(text)}\n")

    def json(self, value: Any, *, indent: bool = True) -> None:
        """Print JSON, on one line unless a person reads it."""
        data = msgspec.json.encode(value)
        if indent and self.stdout.isatty():
            data = msgspec.json.format(data)
        self.exact(data.decode() + "\n")

    def result(self, shape: CommandResult, value: Any) -> None:
        """Print an operation's result by its shape."""
        if self.as_json:
            self.json(value["items"] if shape.kind == "page" else value)
            return
        if value is None:
            self.note("Done.")
            return
        match shape.kind:
            case "none":
                pass
            case "record":
                self.record(value)
            case "list":
                self.rows(shape, value)
            case "page":
                self.rows(shape, value["items"])
            case "value":
                if isinstance(value, str):
                    self.line(printable(value))
                else:
                    self.json(value)

    def text(self, text: str) -> None:
        """Print text that may be piped on, exactly, with a newline at its end."""
        self.exact(text if text.endswith("\n") or not text else f"{text}\n")

    def alone(self, name: str, value: Mapping[str, Any]) -> None:
        """Print one field of a record on standard output, and the others as a note."""
        self.text(str(value[name]))
        now = _now()
        rest = [
            f"{title(key)}: {one_line(human(key, item, now))}"
            for key, item in value.items()
            if key != name and item not in (None, [], {}, "")
        ]
        if rest:
            self.note("; ".join(rest))

    def record(self, value: Mapping[str, Any]) -> None:
        """Print one record: its message alone if it is one, else names and values."""
        if set(value) == {"message"}:
            if not self.quiet:
                self.line(printable(str(value["message"])))
            return
        if self.quiet:
            self.line(one_line(_name_of(value)))
            return
        now = _now()
        tables = {
            name: item
            for name, item in value.items()
            if isinstance(item, list) and item and isinstance(item[0], Mapping)
        }
        pairs = [
            (title(name), _field(name, item, now))
            for name, item in value.items()
            if name not in tables and (name == "value" or item not in _ABSENT)
        ]
        for line in render_record(pairs, colour=self.colour):
            self.line(line)
        for name, items in tables.items():
            self.line()
            self.line(paint(title(name).capitalize(), "bold", colour=self.colour))
            self.table(list(items[0]), items)

    def rows(
        self, shape: CommandResult, items: Sequence[Any], empty: str = "Nothing found."
    ) -> None:
        """Print a list of records as a table, or of plain values as lines; `empty` if none."""
        if items and not isinstance(items[0], Mapping):
            for item in items:
                self.line(one_line(human("", item, _now())))
        elif self.quiet:
            for item in items:
                self.line(one_line(_name_of(item)))
        elif not items:
            self.note(empty)
        else:
            self.table([column.name for column in shape.fields] or list(items[0]), items)

    def table(self, columns: Sequence[str], items: Sequence[Mapping[str, Any]]) -> None:
        """Print records as a table that fits the terminal."""
        now = _now()
        table = Table(
            tuple(title(name) for name in columns),
            tuple(tuple(_cell(name, item.get(name), now) for name in columns) for item in items),
        )
        for line in render_table(table, self.width, colour=self.colour):
            self.line(line)
        hidden = hidden_columns(table, self.width)
        if hidden:
            self.note(f"No room for: {', '.join(hidden)}. Use a wider terminal, or --json.")

    def stream_item(self, item: Any) -> None:
        """Print one item of a stream on one line."""
        if self.as_json:
            self.json(item, indent=False)
        elif not isinstance(item, Mapping):
            self.line(printable(human("", item, _now())))
        else:
            named = next((name for name in _LINE_FIELDS if name in item), None)
            if named is not None:
                self.line(printable(str(item[named])))
            else:
                now = _now()
                self.line(
                    "  ".join(
                        f"{name}={one_line(human(name, part, now))}"
                        for name, part in item.items()
                        if part is not None
                    )
                )

    def error(self, error: CoveyError) -> None:
        """Print an error on standard error: message and hint, or the envelope as JSON."""
        if self.as_json:
            body = {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "details": dict(error.details),
            }
            self.stderr.write(msgspec.json.encode({"error": body}, enc_hook=str).decode() + "\n")
            return
        label = paint("error:", "red", colour=self.colour_errors)
        self.stderr.write(f"{label} {printable(error.message)}\n")
        if error.hint:
            label = paint("hint:", "cyan", colour=self.colour_errors)
            self.stderr.write(f"{label} {printable(error.hint)}\n")


def _cell(name: str, value: Any, now: datetime) -> str:
    """Show one cell; what is not so stays empty, and a column of such cells is left out."""
    return "-" if value is False else human(name, value, now)


def _field(name: str, value: Any, now: datetime) -> str:
    """Show one field of a record; a record in it becomes lines of its own."""
    if not isinstance(value, Mapping):
        return printable(human(name, value, now))
    pairs = [
        (title(key), _field(key, item, now))
        for key, item in value.items()
        if key == "value" or item not in _ABSENT
    ]
    return "\n".join(render_record(pairs, colour=False))


def _name_of(item: Mapping[str, Any]) -> str:
    for name in _NAME_FIELDS:
        if item.get(name) is not None:
            return str(item[name])
    return str(next(iter(item.values()), ""))
