"""`covey apps eject`: keep the Containerfile that Covey would write for a source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from covey.errors import ConflictError, InvalidRequestError, NotFoundError, StorageError
from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import one_line
from covey.surfaces.cli.tree import Node

_TARGET = "Containerfile"
_IGNORE = ".dockerignore"
_DEPTH = 3
_MOST_NAMES = 5000
_MOST_BYTES = 256 << 10
_PASSED_OVER = frozenset({".git", "node_modules", "__pycache__", "venv", "vendor"})


def eject(session: Session, node: Node) -> click.Command:
    """Make `covey apps eject`."""
    command = session.described(node)

    def run(_values: dict[str, Any], directory: str, print_: bool) -> None:  # noqa: FBT001 - click's flag
        root = Path(directory)
        if not root.is_dir():
            raise NotFoundError(f"There is no directory {directory}.", hint="Name the app's.")
        names = _names(root)
        texts: dict[str, str] = {}
        result = session.client.run(command, {"names": names})
        # A node may ask for what was listed, never for another file.
        while wanted := [n for n in result["wanted"] if n in names and n not in texts]:
            texts |= {name: _text(root / name) for name in wanted}
            given = [{"name": name, "text": text} for name, text in texts.items()]
            result = session.client.run(command, {"names": names, "texts": given})
        if result["wanted"]:
            raise ConflictError(
                "The node asks for files that are not among the app's.",
                hint="Ask a node of your own: leave out --url and --host.",
            )
        output = session.output
        if output.as_json:
            output.json(result)
        elif print_:
            output.line(result["text"].rstrip("\n"))
        else:
            _write(root / _TARGET, result["text"])
            ignored = not (root / _IGNORE).exists()
            if ignored:
                _write(root / _IGNORE, "".join(f"{line}\n" for line in result["ignore"]))
            output.note(one_line(result["reason"]))
            written = f"{_TARGET} and {_IGNORE} are" if ignored else f"{_TARGET} is"
            output.note(f"{written} written to {directory}, for you to change.")

    return describe_command(
        command,
        run,
        leave_out=frozenset({"names", "texts"}),
        more=[
            click.Argument(["directory"], default=".", metavar="[DIR]"),
            click.Option(["--print", "print_"], is_flag=True, help="Print it instead."),
        ],
        name=node.name,
        summary=node.summary,
        arguments=[("[DIR]", "The app's directory; by default the present one.")],
        description="Without a Dockerfile, Covey writes one for each build. This keeps it in the "
        "source, as Containerfile, to be changed.",
    )


def _names(root: Path) -> list[str]:
    found: list[str] = []
    for directory, below, files in os.walk(root):
        here = Path(directory).relative_to(root)
        below[:] = sorted(name for name in below if name not in _PASSED_OVER)
        if len(here.parts) >= _DEPTH - 1:
            below.clear()
        found += [(here / name).as_posix() for name in sorted(files)]
        if len(found) >= _MOST_NAMES:
            break
    return [name for name in found if not Path(name).name.startswith(".env")][:_MOST_NAMES]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be read: {error.strerror}.", hint="Name a directory that you may read."
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConflictError(
            f"There is a {path.name} already.", hint="Move it away, or see the new one: --print"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}.",
            hint="Name a directory that you may write to.",
        ) from error
