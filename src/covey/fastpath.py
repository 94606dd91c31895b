"""The command that shells run at each start, answered without the rest of the program.

Imports nothing beyond `os`, `sys` and modules that import nothing more. Whatever is out of the
ordinary, errors too, is left to the command line proper.
"""

from __future__ import annotations

import os
import sys

from covey.paths import find_paths
from covey.shellkit.layout import INCOMPLETE, LOCKED, read_rendered, read_stamp
from covey.shellkit.project import ProjectFileError, find_project

_ANSWERED = (
    ["export"],
    ["env", "export"],
    ["export", "--format", "sh"],
    ["env", "export", "--format", "sh"],
)


def run_fast_path(argv: list[str]) -> int | None:
    """Answer `env export` from the rendered files; returns the exit status.

    `argv` is without the program's name. None means that nothing was done: the arguments are not
    for here, another node is asked, nothing is rendered (no daemon, or a locked one), or a variable
    has no value, which people are to be told.
    """
    if argv not in _ANSWERED or os.environ.get("COVEY_URL"):
        return None
    rendered = find_paths().rendered_dir
    if read_stamp(rendered) in {None, LOCKED}:
        return None
    try:
        found = find_project(os.getcwd())
    except (ProjectFileError, OSError):
        return None
    project, environment = (found.project, found.environment) if found else (None, None)
    text = read_rendered(rendered, "sh", project, environment)
    if text is None or text.startswith(INCOMPLETE):
        return None
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return 0
