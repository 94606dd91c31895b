"""Addresses for the engines of the tests, which run beside each other."""

from __future__ import annotations

import itertools
import os

_EACH = 8
_made = itertools.count()


def choose_block(first: int, seconds: int) -> tuple[int, int]:
    """Return the second and third byte of a 10.x.y.0/19 with `first` <= x < `first` + `seconds`.

    Eight in a row of one process differ, and so do those of processes that were started in a row.
    """
    number = (os.getpid() * _EACH + next(_made) % _EACH) % (seconds * 8)
    return first + number // 8, number % 8 * 32
