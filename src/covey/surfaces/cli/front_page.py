"""`covey` and `covey --help`, without what only running a command needs."""

from __future__ import annotations

import sys

from covey.operations.command_document import load_commands
from covey.surfaces.cli.help import root_page
from covey.surfaces.cli.pipes import abandon_stdout
from covey.surfaces.cli.tree import build_tree


def print_front_page() -> int:
    """Print the overview of all commands."""
    try:
        sys.stdout.write(root_page(build_tree(load_commands())))
        sys.stdout.flush()
    except OSError as error:
        return abandon_stdout(error)
    return 0
