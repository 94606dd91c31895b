"""Run a program, and start it anew whenever the values that apply change."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from covey.errors import CoveyError
from covey.surfaces.cli.client import Client
from covey.surfaces.cli.env_run import environment, fetch, secrets_of
from covey.surfaces.cli.env_run_child import Child, end_like, passing_signals
from covey.surfaces.cli.session import Session

GRACE_SECONDS = 10.0

_SETTLE_SECONDS = 0.2
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 10.0
_CHANGED = "changed"
_ENDED = "ended"


def run_watching(
    session: Session,
    command: list[str],
    place: dict[str, Any],
    fetched: dict[str, Any],
    *,
    redact: bool,
) -> int:
    """Run until the program ends by itself; returns its exit status, or ends by its signal."""
    events: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
    _watch_in_background(session, place, events)
    with passing_signals(to_groups=True) as running:
        while True:
            child = Child(
                command,
                environment(fetched),
                secrets_of(fetched) if redact else None,
                own_group=True,
            )
            running.append(child)
            child.show_output()
            _give_terminal(child.process.pid)
            _await_in_background(child, events)
            changed = _next_values(session, place, fetched, child, events)
            if changed is None:
                _take_terminal_back()
                return end_like(child.wait())
            names = ", ".join(_differing(fetched, changed))
            session.output.note(f"covey: {names} changed; starting {command[0]} anew.")
            _stop(child)
            _take_terminal_back()
            running.clear()
            fetched = changed


def _next_values(
    session: Session,
    place: dict[str, Any],
    fetched: dict[str, Any],
    child: Child,
    events: queue.SimpleQueue[tuple[str, object]],
) -> dict[str, Any] | None:
    """Wait for values that differ from `fetched`, or return None when the program has ended."""
    while True:
        kind, who = events.get()
        if kind == _ENDED:
            if who is child:
                return None
            continue
        # Several changes in a row make one restart.
        time.sleep(_SETTLE_SECONDS)
        try:
            found = fetch(session, place, fetched["problems"])
        except CoveyError as error:
            session.output.warn(f"{error.message} The program goes on with what it has.")
            continue
        if _differing(fetched, found):
            return found


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    old, new = before["values"], after["values"]
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _watch_in_background(
    session: Session, place: dict[str, Any], events: queue.SimpleQueue[tuple[str, object]]
) -> None:
    """Report every change; a connection that is lost is made again, and counts as a change."""
    client = session.another_client()

    def watch() -> None:
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                for item in client.stream(client.command("env.watch"), _of_watch(client, place)):
                    pause = _FIRST_RETRY_SECONDS
                    events.put((_CHANGED, item))
            except CoveyError:
                pass
            time.sleep(pause)
            pause = min(pause * 2, _LAST_RETRY_SECONDS)

    threading.Thread(target=watch, daemon=True).start()


def _of_watch(client: Client, place: dict[str, Any]) -> dict[str, Any]:
    names = {param.name for param in client.command("env.watch").params}
    return {name: value for name, value in place.items() if name in names}


def _await_in_background(child: Child, events: queue.SimpleQueue[tuple[str, object]]) -> None:
    def wait() -> None:
        child.process.wait()
        events.put((_ENDED, child))

    threading.Thread(target=wait, daemon=True).start()


def _stop(child: Child) -> None:
    """End the program and what it started: SIGTERM, and SIGKILL after the grace."""
    child.send(signal.SIGTERM, to_group=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(GRACE_SECONDS)
    child.send(signal.SIGKILL, to_group=True)
    child.wait()


def _give_terminal(group: int) -> None:
    """Make a group the terminal's foreground, as shells do with a job (tcsetpgrp(3))."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    # Blocked, not ignored: what is ignored would stay so in the program.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(sys.stdin.fileno(), group)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
    with contextlib.suppress(OSError):
        # It may have read before the terminal was its own, and been stopped for it.
        os.killpg(group, signal.SIGCONT)


def _take_terminal_back() -> None:
    _give_terminal(os.getpgrp())
