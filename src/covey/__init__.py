"""Covey: the machines you own, as one private cloud."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from covey.client.fleet import connect

__all__ = ["connect"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the Python interface when it is first asked for: the command line needs none of it."""
    if name == "connect":
        from covey.client.fleet import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
