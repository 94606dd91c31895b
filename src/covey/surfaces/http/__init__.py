"""The HTTP interface; its libraries are loaded without what an idle daemon never uses of them.

uvicorn's package imports its command line, and with it click and multiprocessing: 1.6 MB.
websockets imports what reads the metadata of installed packages, for its unreleased versions
alone: 0.6 MB. Whoever asks for these gets them still.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

_COMMAND_LINE = "uvicorn.main"
_ITS_NAMES = ("Server", "main", "run")


def _load_without(module: str, unneeded: str, names: Sequence[str] = ()) -> None:
    """Import a module while another, of which it takes `names`, is a stand-in."""
    if module in sys.modules or unneeded in sys.modules:
        return
    stand_in = ModuleType(unneeded)
    for name in names:
        setattr(stand_in, name, None)
    sys.modules[unneeded] = stand_in
    try:
        loaded = import_module(module)
    finally:
        del sys.modules[unneeded]

    def find(name: str) -> Any:
        if name in names:
            return getattr(import_module(unneeded), name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    for name in names:
        loaded.__dict__.pop(name, None)
    if names:
        loaded.__dict__["__getattr__"] = find


_load_without("uvicorn", _COMMAND_LINE, _ITS_NAMES)
_load_without("websockets.version", "importlib.metadata")
