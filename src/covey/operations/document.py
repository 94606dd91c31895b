"""The generated files: the command document, the OpenAPI document and the reference pages."""

from __future__ import annotations

from pathlib import Path

from covey.operations.command_document import CommandDocument, encode_commands, load_commands
from covey.operations.commands import build_commands
from covey.operations.openapi import encode_openapi
from covey.operations.reference import build_reference
from covey.operations.registry import Registry

COMMANDS = Path("src/covey/operations/commands.json")
REFERENCE = Path("docs/reference")
OPENAPI = REFERENCE / "openapi.json"
PAGES = REFERENCE / "operations"


def documents(registry: Registry) -> dict[Path, bytes]:
    """Return every generated file by its path in the repository; the bytes are reproducible."""
    commands = build_commands(registry)
    pages = build_reference(registry, commands)
    return {
        COMMANDS: encode_commands(commands),
        OPENAPI: encode_openapi(registry),
        **{REFERENCE / path: text.encode() for path, text in pages.items()},
    }


def write_documents(registry: Registry, root: Path) -> None:
    """Bring the generated files under the repository's `root` up to date."""
    wanted = documents(registry)
    for path in stale_documents(registry, root):
        target = root / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wanted[path])
        else:
            target.unlink()


def stale_documents(registry: Registry, root: Path) -> list[Path]:
    """Return the generated files that are missing, differ, or are of a domain that is gone."""
    wanted = documents(registry)
    differing = {
        path
        for path, content in wanted.items()
        if not (root / path).is_file() or (root / path).read_bytes() != content
    }
    present = {page.relative_to(root) for page in (root / PAGES).glob("*.md")}
    return sorted(differing | (present - wanted.keys()))


__all__ = [
    "COMMANDS",
    "CommandDocument",
    "documents",
    "load_commands",
    "stale_documents",
    "write_documents",
]
