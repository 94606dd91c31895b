"""What users are told of a job that failed."""

from __future__ import annotations

import logging

from covey.errors import CoveyError
from covey.jobs.model import JobFailure

_log = logging.getLogger("covey.jobs")


def failure_of(error: BaseException, kind: str) -> JobFailure:
    """Return what to tell of an error; the traceback of one that is ours goes to the log."""
    if isinstance(error, CoveyError):
        hint = None if error.hint is None else _readable(error.hint)
        return JobFailure(error.code, _readable(error.message), hint)
    _log.error("a job of the kind %s met an unexpected error", kind, exc_info=error)
    return JobFailure(
        "internal",
        f"The job ended by an error inside Covey ({type(error).__name__}).",
        "See the daemon's log for what happened: covey agent logs",
    )


def _readable(text: str) -> str:
    """Replace what cannot be written, such as the bytes of a file's name that are no text."""
    return text.encode(errors="replace").decode()


def timed_out(seconds: float) -> JobFailure:
    """Return the failure of an attempt that took too long."""
    return JobFailure(
        "deadline_exceeded",
        f"The job was ended after {seconds:g} seconds, which is its limit.",
        "See what it did last: covey jobs logs JOB",
    )


def unknown_kind(kind: str) -> JobFailure:
    """Return the failure of a job that this version of Covey cannot run."""
    return JobFailure(
        "not_found",
        f"This version of Covey knows no jobs of the kind {kind}.",
        "It was made by another version; start the work again.",
    )


def crash_loop(breaks: int) -> JobFailure:
    """Return the failure of a job that took the daemon with it again and again."""
    return JobFailure(
        "failed",
        f"The daemon ended {breaks} times while this step ran, so the job was given up.",
        "See why it ended: covey agent logs. Then run it again: covey jobs retry JOB",
    )


def would_not_end(seconds: float) -> JobFailure:
    """Return the failure of a run that goes on after it was told to end."""
    return JobFailure(
        "failed",
        f"The job was told to end and did not within {seconds:g} seconds.",
        "What it did may have been left half done.",
    )
