"""The generated files: the command document, the OpenAPI document and the reference pages."""

from __future__ import annotations

from pathlib import Path

from covey.operations.command_document import (
    CommandDocument,
    encode_commands,
    load_commands,
)
from covey.operations.commands import build_commands
from covey.operations.registry import Registry

COMMANDS = Path("src/covey/operations/commands.json")


def documents(registry: Registry) -> dict[Path, bytes]:
    """Return every generated file by its path in the repository."""
    commands = build_commands(registry)
    return {COMMANDS: encode_commands(commands)}


def write_documents(registry: Registry, root: Path) -> None:
    """Write the generated files under the repository `root`, and remove those out of date."""
    for path, content in documents(registry).items():
        target = root / path
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def stale_documents(registry: Registry, root: Path) -> list[Path]:
    """Return the generated files that are missing, differ, or should not be there."""
    found = []
    for path, content in documents(registry).items():
        target = root / path
        if not target.exists() or target.read_bytes() != content:
            found.append(path)
    return sorted(found)


__all__ = [
    "COMMANDS",
    "CommandDocument",
    "documents",
    "load_commands",
    "stale_documents",
    "write_documents",
]
