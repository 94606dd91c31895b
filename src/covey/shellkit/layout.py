"""The files in which the daemon keeps each shell's variables, and how to choose one.

`run_dir/env/stamp` holds a token that changes whenever any rendered file does, or `LOCKED`. Beside
it, `<shell>/<project>@<environment>` holds the variables of one project's environment. `shop@` is
the project alone and `@` neither. Files are written before the stamp, so that whoever has read a
stamp finds files at least as new.
"""

from __future__ import annotations

import os

STAMP = "stamp"
LOCKED = "locked"
INCOMPLETE = b"# incomplete\n"
"""The first line of the file for `sh` where a variable has no value: who reads it says so."""
SHELLS = ("bash", "zsh", "fish", "powershell", "sh")
"""The shells with rendered files; `sh` is for `eval` in any POSIX shell."""


def file_name(project: str | None, environment: str | None) -> str:
    """Return the name of the rendered file of a project's environment."""
    return f"{project or ''}@{environment or ''}"


def candidates(project: str | None, environment: str | None) -> list[str]:
    """Return names of rendered files in order: the first that exists holds the right variables.

    A project or environment without variables of its own has no file, since what applies to it is
    what applies one level above.
    """
    names = []
    if project and environment:
        names.append(file_name(project, environment))
    if project:
        names.append(file_name(project, None))
    return [*names, file_name(None, None)]


def read_stamp(env_dir: str) -> str | None:
    """Return the stamp, or None when nothing is rendered."""
    try:
        descriptor = os.open(os.path.join(env_dir, STAMP), os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(descriptor, 64).decode("ascii", "replace").rstrip("\n")
    finally:
        os.close(descriptor)


def read_rendered(
    env_dir: str, shell: str, project: str | None, environment: str | None
) -> bytes | None:
    """Return the rendered variables for `shell`, or None when nothing is rendered."""
    for name in candidates(project, environment):
        try:
            with open(os.path.join(env_dir, shell, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            continue
    return None
