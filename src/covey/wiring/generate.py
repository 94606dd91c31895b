"""Write the files that come from the operations registry, or check that they are fresh."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from covey.operations.commands import build_commands
from covey.operations.document import stale_documents, write_documents
from covey.operations.registry import Registry
from covey.surfaces.cli.reference import command_line_page
from covey.wiring.app_file_page import app_file_page, app_file_schema_text
from covey.wiring.modules import OPERATION_MODULES
from covey.wiring.settings_page import settings_page

SETTINGS_PAGE = Path("docs/reference/settings.md")
COMMAND_LINE_PAGE = Path("docs/reference/command-line.md")
APP_FILE_PAGE = Path("docs/reference/app-file.md")
APP_FILE_SCHEMA = Path("docs/reference/covey.app.schema.json")


def main() -> int:
    """Run `python -m covey.wiring.generate [--check]` from the repository's root."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a file is stale")
    arguments = parser.parse_args()
    registry = Registry.from_modules(OPERATION_MODULES)
    root = Path.cwd()
    pages = {
        SETTINGS_PAGE: settings_page(),
        COMMAND_LINE_PAGE: command_line_page(build_commands(registry)),
        APP_FILE_PAGE: app_file_page(),
        APP_FILE_SCHEMA: app_file_schema_text(),
    }
    if not arguments.check:
        write_documents(registry, root)
        for path, text in pages.items():
            (root / path).write_text(text, "utf-8")
        return 0
    stale = stale_documents(registry, root)
    for path, text in pages.items():
        page = root / path
        if not page.is_file() or page.read_text("utf-8") != text:
            stale.append(path)
    for path in stale:
        sys.stderr.write(f"{path} is stale. Run: ./dev generate\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
