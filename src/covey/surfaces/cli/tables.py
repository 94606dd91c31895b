"""Tables that fit the terminal: the widest columns shrink first, the last ones drop; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covey.surfaces.cli.terminal import display_width, fit, one_line, pad, paint

_GAP = 2
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of text; each row has a cell for each heading."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def layout(table: Table, width: int | None) -> tuple[list[int], list[int]]:
    """Choose columns and their widths; with no width, every column as wide as it needs.

    A column that is empty in all rows is left out.
    """
    chosen = [
        at
        for at in range(len(table.headings))
        if at == 0 or not table.rows or any(row[at] not in {"", "-"} for row in table.rows)
    ]
    natural = {
        at: max(
            [display_width(table.headings[at]), *(display_width(row[at]) for row in table.rows)]
        )
        for at in chosen
    }
    if width is None:
        return chosen, [natural[at] for at in chosen]
    while len(chosen) > 1 and _needed([min(natural[at], _LEAST) for at in chosen]) > width:
        chosen.pop()
    widths = [natural[at] for at in chosen]
    excess = _needed(widths) - width
    while excess > 0 and max(widths) > 1:
        # The first column names the row: it gives way only when the others cannot.
        others = (
            range(1, len(widths)) if max(widths[1:], default=0) > _LEAST else range(len(widths))
        )
        widest = max(others, key=lambda at: widths[at])
        widths[widest] -= 1
        excess -= 1
    return chosen, widths


def render_table(table: Table, width: int | None, *, colour: bool) -> list[str]:
    """Return the lines of a table no wider than `width` columns."""
    cleaned = Table(
        tuple(heading.upper() for heading in table.headings),
        tuple(tuple(one_line(cell) for cell in row) for row in table.rows),
    )
    chosen, widths = layout(cleaned, width)
    lines = [paint(_line(cleaned.headings, chosen, widths), "bold", colour=colour)]
    lines.extend(_line(row, chosen, widths) for row in cleaned.rows)
    return lines


def hidden_columns(table: Table, width: int | None) -> list[str]:
    """Return the headings that had no room."""
    chosen, _ = layout(table, width)
    everything, _ = layout(table, None)
    return [table.headings[at] for at in everything if at not in chosen]


def render_record(pairs: Sequence[tuple[str, str]], *, colour: bool) -> list[str]:
    """Return aligned lines of names and values; further lines of a value are indented."""
    widest = max((display_width(name) for name, _ in pairs), default=0)
    lines = []
    for name, value in pairs:
        first, *rest = value.split("\n")
        lines.append(f"{paint(pad(name, widest), 'bold', colour=colour)}  {first}".rstrip())
        lines.extend(f"{' ' * widest}  {line}".rstrip() for line in rest)
    return lines


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _line(cells: Sequence[str], chosen: Sequence[int], widths: Sequence[int]) -> str:
    fitted = [fit(cells[at], width) for at, width in zip(chosen, widths, strict=True)]
    return (
        (" " * _GAP)
        .join(pad(cell, width) for cell, width in zip(fitted, widths, strict=True))
        .rstrip()
    )
