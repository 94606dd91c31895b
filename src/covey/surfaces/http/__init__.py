"""The HTTP interface; it loads uvicorn's server without uvicorn's command line."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_COMMAND_LINE = "uvicorn.main"
_ITS_NAMES = ("Server", "main", "run")


def _load_uvicorn() -> None:
    """Import uvicorn's package, and its command line only for whoever asks for that.

    The package imports it, and with it click and multiprocessing: 1.6 MB of an idle daemon.
    """
    if "uvicorn" in sys.modules:
        return
    stand_in = ModuleType(_COMMAND_LINE)
    for name in _ITS_NAMES:
        setattr(stand_in, name, None)
    sys.modules[_COMMAND_LINE] = stand_in
    try:
        uvicorn = import_module("uvicorn")
    finally:
        del sys.modules[_COMMAND_LINE]
    for name in _ITS_NAMES:
        uvicorn.__dict__.pop(name, None)

    def find(name: str) -> Any:
        if name in _ITS_NAMES:
            return getattr(import_module(_COMMAND_LINE), name)
        raise AttributeError(f"module 'uvicorn' has no attribute {name!r}")

    uvicorn.__dict__["__getattr__"] = find


_load_uvicorn()
