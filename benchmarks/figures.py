"""Writes the latest results into the README's table: `python -m benchmarks.figures`."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.report import RESULTS, ROOT

NAMES = (
    *("prompt", "new_shell", "startup", "latency", "first_sync", "idle"),
    *("exec", "copy", "fanout", "failover"),
    *("deploy", "proxy", "webhook", "jobs"),
)
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def results() -> list[dict[str, Any]]:
    """Return the results of all benchmarks; raises `FileNotFoundError` if one has not run."""
    return [json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in NAMES]


def table(found: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown, with the machine that they come from."""
    lines = ["| figure | value | target | |", "|---|---:|---:|---|"]
    for result in found:
        for row in result["figures"]:
            target = "" if row["target"] is None else f"≤ {row['target']:g} {row['unit']}"
            note = "; ".join(filter(None, ["**missed**" * (row["met"] is False), row["note"]]))
            value = f"{row['value']:.3g}" if row["value"] < 1000 else f"{row['value']:,.0f}"
            lines.append(f"| {row['name']} | {value} {row['unit']} | {target} | {note} |")
    machine = found[0]["machine"]
    load = max(result["machine"]["load"] for result in found)
    day = max(result["when"] for result in found)[:10]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB, "
        f"{machine['system']}, Python {machine['python']}"
    )
    return "\n".join(lines) + f"\n\nMeasured on {day}: {where}; load at most {load:.1f}.\n"


def main() -> int:
    """Replace the table between the marks in the README."""
    path = ROOT / "README.md"
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("README.md lost the marks of its table")
    path.write_text(f"{before}{BEGIN}{table(results())}{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
