"""The integrity check of a database, within a budget of time."""

from __future__ import annotations

import time

import apsw

_STEPS = 2_000


def find_damage(connection: apsw.Connection, *, budget_s: float | None = None) -> str | None:
    """Return what is wrong with a database, or None if nothing was found within the budget.

    Each page that is read is authenticated by its cipher as well. Raises `apsw.Error` where not
    even the check could run.
    """
    end = time.monotonic() + (budget_s if budget_s is not None else float("inf"))
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        answer = connection.execute("PRAGMA quick_check(1)").get
    except apsw.InterruptError:
        return None
    finally:
        connection.set_progress_handler(None, 0)
    return None if answer == "ok" else str(answer)
