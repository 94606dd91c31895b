"""The operations of the package: known from the command document, and loaded when one is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import msgspec

from covey.operations.access import Role
from covey.operations.command_document import DOCUMENT_PATH
from covey.operations.registry import Definition, Effect, Operation, Registry, Route


class _Outline(msgspec.Struct, frozen=True):
    """What a surface needs to know of an operation before its first call."""

    name: str
    method: str
    route: str
    effect: str
    access: str
    module: str
    streams: bool = False
    duplex: bool = False


class _Outlines(msgspec.Struct, frozen=True):
    commands: list[_Outline]


def packaged_operations(path: Path = DOCUMENT_PATH) -> Registry:
    """Return all operations without importing their modules.

    Raises `OSError` or `msgspec.DecodeError` if the document is damaged.
    """
    document = msgspec.json.decode(path.read_bytes(), type=_Outlines)
    return Registry(_operation(item) for item in document.commands)


def _operation(item: _Outline) -> Operation:
    return Operation(
        name=item.name,
        access=Role.parse(item.access),
        effect=Effect(item.effect),
        route=Route(sys.intern(item.method), item.route),
        streams=item.streams,
        duplex=item.duplex,
        module=sys.intern(item.module),
        load=_loader(item.module, item.name),
    )


def _loader(module: str, name: str) -> Callable[[], Definition]:
    def load() -> Definition:
        return Registry.from_modules([import_module(module)])[name].definition

    return load
