"""Writes the latest results into the README's tables: `python -m benchmarks.figures`."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.report import RESULTS, ROOT

PARTS = {
    "Apps": ("deploy", "proxy", "webhook", "jobs"),
    "Other machines": ("exec", "copy", "fanout", "failover"),
    "Variables": ("prompt", "new_shell", "startup", "latency", "first_sync"),
    "An idle node": ("idle", "idle_apps"),
}
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


Results = dict[str, dict[str, Any]]


def results() -> Results:
    """Return all results by benchmark; raises `FileNotFoundError` if one has not run."""
    names = [name for part in PARTS.values() for name in part]
    return {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in names}


def tables(found: Results) -> str:
    """Return the figures as Markdown, with the machine that they come from."""
    parts = [
        f"### {title}\n\n{table([row for name in names for row in found[name]['figures']])}\n"
        for title, names in PARTS.items()
    ]
    return "\n".join([*parts, source(list(found.values()))])


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures of one part."""
    lines = ["| figure | value | target | |", "|---|---:|---:|---|"]
    for row in rows:
        target = "" if row["target"] is None else f"≤ {row['target']:.3g} {row['unit']}"
        note = "; ".join(filter(None, ["**missed**" * (row["met"] is False), row["note"]]))
        value = f"{row['value']:.3g}" if row["value"] < 1000 else f"{row['value']:,.0f}"
        lines.append(f"| {row['name']} | {value} {row['unit']} | {target} | {note} |")
    return "\n".join(lines)


def source(found: list[dict[str, Any]]) -> str:
    """Say when and where the figures were measured."""
    machine = found[0]["machine"]
    load = max(result["machine"]["load"] for result in found)
    day = max(result["when"] for result in found)[:10]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB, "
        f"{machine['system']}, Python {machine['python']}"
    )
    return f"Measured on {day}: {where}; load at most {load:.1f}.\n"


def main() -> int:
    """Replace the tables between the marks in the README."""
    path = ROOT / "README.md"
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("README.md lost the marks of its figures")
    path.write_text(f"{before}{BEGIN}{tables(results())}{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
