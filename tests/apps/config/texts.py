"""Write tables as TOML, and show an error as a terminal does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import tomli_w

from covey.errors import CoveyError


def toml(tables: Mapping[str, object]) -> str:
    return tomli_w.dumps(tables)


def refusal(call: Callable[[], object]) -> str:
    """Return the message and hint of the error that the call ends with."""
    with pytest.raises(CoveyError) as caught:
        call()
    error = caught.value
    return error.message if error.hint is None else f"{error.message}\n> {error.hint}"
