"""How people see the node: its state, its checks and its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from covey.surfaces.cli.humanize import ago, duration, size
from covey.surfaces.cli.menu import COLUMNS
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.tables import render_record
from covey.surfaces.cli.terminal import paint, printable

_STATE_STYLES = {"ready": "green", "locked": "yellow", "removed": "red"}
_CHECK_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}
_LEVEL_STYLES = {"debug": "dim", "info": "cyan", "warning": "yellow"}
_LOG_FIELDS = frozenset({"time", "level", "logger", "message", "exception"})
_UPSTREAMS = {"serving": "none: this machine serves its LAN", "alone": None, "None": None}
_NEXT_STEP = {
    "locked": "Its keys are locked. Open them: covey unlock",
}


def status(output: Output, node: Mapping[str, Any]) -> None:
    """Show a node's state, then what is worth doing about it."""
    state = str(node["state"])
    if output.quiet:
        output.line(state)
        return
    painted = paint(state, _STATE_STYLES.get(state, "red"), colour=output.colour)
    up_since = f"up for {duration(node['uptime_seconds'])}, pid {node['pid']}"
    pairs = [
        ("node", _joined(node.get("name"), node["node_id"])),
        ("state", f"{painted}, {up_since}"),
        ("fleet", _joined(_machines(node), node["fleet_id"])),
        ("role", _joined(node.get("role"), _kind(node))),
        ("upstream", _UPSTREAMS.get(str(node.get("upstream")), node.get("upstream"))),
        ("listens on", ", ".join(node["listen"])),
        ("data", _data(node)),
        ("certificate", _certificate(node)),
        ("home", node["home"]),
        ("version", node["version"]),
    ]
    shown = [(name, printable_but_colour(value, painted)) for name, value in pairs if value]
    for line in render_record(shown, colour=output.colour):
        output.line(line)
    if node.get("fleet"):
        output.line()
        output.table(COLUMNS["peers.list"], node["fleet"])
    for warning in node.get("warnings") or ():
        output.warn(warning)
    conflicts = node.get("conflicts") or 0
    if conflicts:
        output.warn(f"{_count(conflicts, 'variable')} in conflict; see: covey env conflicts")
    if state in _NEXT_STEP:
        output.warn(_NEXT_STEP[state])


def printable_but_colour(text: str, painted: str) -> str:
    """Clean text of control characters, but for the one piece that was coloured here."""
    return painted.join(printable(part) for part in text.split(painted)) if painted else text


def show_checks(output: Output, checks: Sequence[Mapping[str, Any]]) -> None:
    """Show each check, and the fix below what is wrong."""
    for check in checks:
        if output.quiet and check["state"] == "ok":
            continue
        mark, style = _CHECK_MARKS.get(str(check["state"]), ("?", "yellow"))
        name = paint(printable(str(check["name"])), "bold", colour=output.colour)
        painted = paint(mark, style, colour=output.colour)
        output.line(f"{painted} {name}: {printable(str(check['message']))}")
        if check.get("fix") and check["state"] != "ok":
            output.line(
                f"    {paint('fix:', 'cyan', colour=output.colour)} {printable(check['fix'])}"
            )
    if output.quiet:
        return
    bad = sum(check["state"] == "failed" for check in checks)
    doubtful = sum(check["state"] == "warning" for check in checks)
    output.line()
    if bad or doubtful:
        output.line(f"{_count(bad, 'failure')}, {_count(doubtful, 'warning')}.")
    else:
        output.line(f"All {len(checks)} checks passed.")


def exported(output: Output, found: Mapping[str, Any]) -> None:
    """Print variables in the format that was asked for; warnings go to standard error."""
    output.text(str(found["text"]))
    for problem in found.get("problems") or ():
        output.warn(f"{problem['name']} is left out: {problem['reason']}")


def log_line(output: Output, item: Mapping[str, Any]) -> None:
    """Show one line of the log."""
    output.line(format_log_line(str(item["line"]), colour=output.colour))


def format_log_line(line: str, *, colour: bool) -> str:
    """Turn one JSON line of the log into a readable one; other lines stay."""
    try:
        entry = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return printable(line)
    if not isinstance(entry, dict) or "message" not in entry:
        return printable(line)
    level = str(entry.get("level", ""))
    painted = paint(f"{level:7}", _LEVEL_STYLES.get(level, "red"), colour=colour)
    name = str(entry.get("logger", "")).removeprefix("covey.")
    extras = "".join(f" {key}={value}" for key, value in entry.items() if key not in _LOG_FIELDS)
    text = printable(f"{name}: {entry['message']}{extras}")
    if "exception" in entry:
        text += "\n" + printable(str(entry["exception"]))
    return f"{_clock(str(entry.get('time', '')))} {painted} {text}"


def _clock(time: str) -> str:
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return printable(time)


def _joined(name: str | None, detail: str | None) -> str:
    if name and detail:
        return f"{name} ({detail})"
    return name or detail or ""


def _kind(node: Mapping[str, Any]) -> str | None:
    kind = node.get("kind")
    return None if kind in {None, "full"} else str(kind)


def _machines(node: Mapping[str, Any]) -> str | None:
    members, connected = node.get("members"), node.get("peers_connected")
    if members is None:
        return None
    return f"{_count(members, 'machine')}, {connected or 0} connected"


def _data(node: Mapping[str, Any]) -> str:
    parts = []
    if node.get("entries") is not None:
        parts.append("1 entry" if node["entries"] == 1 else f"{node['entries']} entries")
    if node.get("database_bytes") is not None:
        parts.append(size(node["database_bytes"]))
    return ", ".join(parts)


def _certificate(node: Mapping[str, Any]) -> str:
    expires = node.get("certificate_expires_at")
    if not expires:
        return ""
    return f"expires {ago(datetime.fromisoformat(expires), datetime.now(UTC))}"


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
