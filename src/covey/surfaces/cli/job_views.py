"""How people see jobs: one with its steps, the lines of its log, and what a change did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from covey.surfaces.cli.humanize import ago, duration
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.tables import render_record
from covey.surfaces.cli.terminal import display_width, one_line, pad, paint, printable

_STEP_MARKS = {
    "running": ("…", "cyan"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("-", "yellow"),
}
_STEP_WIDTH = 10


def show_job(output: Output, job: Mapping[str, Any]) -> None:
    """Show a job, and below it its steps and how long each took."""
    if output.quiet:
        output.line(str(job["state"]))
        return
    now = datetime.now(UTC)
    pairs = [
        ("job", job["id"]),
        ("title", job["title"]),
        ("about", job["subject"]),
        ("state", _state(job)),
        ("doing", job["doing"] if job["state"] == "running" else ""),
        ("asked by", f"{job['caller']}, {_ago(job['created'], now)}"),
        ("kind", f"{job['kind']}, priority {job['priority']}"),
        ("begins", _ago(job["not_before"], now) if job["state"] == "scheduled" else ""),
        ("began", _ago(job["started"], now)),
        ("took", _length(job, now)),
    ]
    shown = [(name, printable(str(value))) for name, value in pairs if value]
    for line in render_record(shown, colour=output.colour):
        output.line(line)
    if job["steps"]:
        output.line()
        _show_steps(output, job["steps"], now)
    failure = job.get("failure")
    if failure:
        output.line()
        label = paint("failed:", "red", colour=output.colour)
        output.line(f"{label} {printable(failure['message'])}")
        if failure.get("hint"):
            label = paint("hint:", "cyan", colour=output.colour)
            output.line(f"{label} {printable(failure['hint'])}")


def log_line(output: Output, line: Mapping[str, Any]) -> None:
    """Show one line of the log of a job or deployment, behind the name of its step."""
    step = pad(one_line(str(line["step"])), _STEP_WIDTH)
    output.line(f"{paint(step, 'dim', colour=output.colour)} {printable(str(line['text']))}")


def watched(output: Output, job: Mapping[str, Any]) -> None:
    """Show on one line how far a job is."""
    running = [str(step["name"]) for step in job["steps"] if step["state"] == "running"]
    parts = [_state(job), ", ".join(running), str(job["doing"])]
    output.line("  ".join(one_line(part) for part in parts if part))


def cancelled(output: Output, job: Mapping[str, Any]) -> None:
    """Say whether the job has ended."""
    name = f"{job['id']} ({one_line(str(job['title']))})"
    if job["state"] == "cancelled":
        output.note(f"Cancelled {name}.")
    elif job["cancelling"]:
        output.note(f"{name} cleans up. Follow it: covey jobs logs {job['id']} --follow")
    else:
        output.note(f"{name} had ended before: it {_past(str(job['state']))}.")


def repeated(output: Output, job: Mapping[str, Any]) -> None:
    """Say that the job runs once more."""
    name = f"{job['id']} ({one_line(str(job['title']))})"
    output.note(f"{name} runs again. Follow it: covey jobs logs {job['id']} --follow")


def pruned(output: Output, result: Mapping[str, Any]) -> None:
    """Say how many jobs were removed."""
    count = result["removed"]
    output.note("Removed one job." if count == 1 else f"Removed {count} jobs.")


def _show_steps(output: Output, steps: list[Mapping[str, Any]], now: datetime) -> None:
    widest = max(display_width(one_line(str(step["name"]))) for step in steps)
    for step in steps:
        state = str(step["state"])
        mark, style = _STEP_MARKS.get(state, ("?", "yellow"))
        began = datetime.fromisoformat(step["started"])
        ended = datetime.fromisoformat(step["ended"]) if step.get("ended") else now
        notes = [_took((ended - began).total_seconds())]
        if state != "succeeded":
            notes.append(state)
        if step["attempts"] > 1:
            notes.append(f"attempt {step['attempts']}")
        name = pad(one_line(str(step["name"])), widest)
        output.line(f"{paint(mark, style, colour=output.colour)} {name}  {', '.join(notes)}")


def _state(job: Mapping[str, Any]) -> str:
    parts = [str(job["state"])]
    if job["cancelling"]:
        parts.append("being cancelled")
    if job["state"] == "running" and job["progress"] is not None:
        parts.append(f"{round(job['progress'] * 100)} %")
    if job["max_attempts"] > 1:
        parts.append(f"attempt {job['attempt']} of {job['max_attempts']}")
    return ", ".join(parts)


def _length(job: Mapping[str, Any], now: datetime) -> str:
    if not job["started"]:
        return ""
    ended = datetime.fromisoformat(job["ended"]) if job["ended"] else now
    return _took((ended - datetime.fromisoformat(job["started"])).total_seconds())


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004 - two digits


def _ago(at: str | None, now: datetime) -> str:
    return ago(datetime.fromisoformat(at), now) if at else ""


def _past(state: str) -> str:
    return state if state in {"succeeded", "failed"} else f"was {state}"
