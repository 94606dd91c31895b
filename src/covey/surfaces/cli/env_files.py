"""`covey env import` and `covey env scan`: files of variables, and variables in files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from covey.errors import InvalidRequestError, NotFoundError
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.operation_command import describe_command
from covey.surfaces.cli.place import fill_place
from covey.surfaces.cli.secrets_input import read_stdin_text
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.terminal import one_line
from covey.surfaces.cli.tree import Node

_STDIN = "-"
_LARGEST = 8 << 20
_SHOWN_NAMES = 8


def import_(session: Session, node: Node) -> click.Command:
    """Make `covey env import`."""
    command = session.described(node)

    def run(values: dict[str, Any], file: str) -> None:
        output = session.output
        text = _read(file)
        filled = fill_place(session, command, values)
        name = "" if file == _STDIN else Path(file).name
        result = session.client.run(command, {**filled, "text": text, "file_name": name})
        if output.as_json:
            output.json(result)
        elif not output.quiet:
            output.line(_imported(result))

    return describe_command(
        command,
        run,
        leave_out=frozenset({"text", "file_name"}),
        more=[click.Argument(["file"], metavar="FILE")],
        name=node.name,
        summary=node.summary,
        arguments=[("FILE", "The file, or - for standard input.")],
    )


def scan(session: Session, node: Node) -> click.Command:
    """Make `covey env scan`."""
    command = session.described(node)

    def run(values: dict[str, Any], paths: tuple[str, ...]) -> None:
        found = [str(Path(path).absolute()) for path in paths or (".",)]
        index = os.environ.get("GIT_INDEX_FILE") if values.get("staged") else None
        if index is not None:
            index = str(Path(index).absolute())
        report = session.client.run(command, {**values, "paths": found, "index_file": index})
        _show_findings(session, report)
        if report["findings"]:
            raise CommandExitError(1)

    return describe_command(
        command,
        run,
        leave_out=frozenset({"paths", "index_file", "texts"}),
        more=[click.Argument(["paths"], nargs=-1, metavar="[PATH]…")],
        name=node.name,
        summary=node.summary,
        arguments=[("[PATH]…", "Files and directories; by default the present directory.")],
        description="The exit status is 1 if there are any. As a git hook: let "
        ".git/hooks/pre-commit run `covey env scan --staged`.",
        examples=("env scan", "env scan deploy/ compose.yaml", "env scan --staged"),
    )


def _read(file: str) -> str:
    if file == _STDIN:
        if sys.stdin.isatty():
            sys.stderr.write("Reading from the terminal; end with Ctrl-D.\n")
        return read_stdin_text(_LARGEST)
    try:
        data = Path(file).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"There is no file {file}.", hint="Name the file, or - for standard input."
        ) from None
    except OSError as error:
        raise InvalidRequestError(
            f"{file} cannot be read: {error.strerror}.", hint="Name a file that you may read."
        ) from error
    if len(data) > _LARGEST:
        raise InvalidRequestError(f"{file} is larger than 8 MiB.", hint="Import it in parts.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{file} is not UTF-8 text (at byte {error.start}).", hint="Save it as UTF-8."
        ) from error


def _imported(result: dict[str, Any]) -> str:
    parts = []
    for key, verb in (("set", "set"), ("unchanged", "unchanged"), ("hosts", "recorded")):
        names = result.get(key) or []
        if names:
            shown = ", ".join(map(one_line, names[:_SHOWN_NAMES]))
            more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
            noun = "" if key != "hosts" else "machine " if len(names) == 1 else "machines "
            parts.append(f"{len(names)} {noun}{verb} ({shown}{more})")
    only_machines = result.get("hosts") and not (result.get("set") or result.get("unchanged"))
    into = "" if only_machines else f" into {result['scope']}"
    return f"{result['format']}{into}: {'; '.join(parts) or 'nothing found'}."


def _show_findings(session: Session, report: dict[str, Any]) -> None:
    output = session.output
    if output.as_json:
        output.json(report)
        return
    for item in report["findings"]:
        place = f"{item['file']}:{item['line']}:{item['column']}"
        encoding = "" if item["encoding"] in {"", "raw", "plain"} else f", {item['encoding']}"
        output.line(one_line(f"{place}: the value of {item['name']} ({item['scope']}{encoding})"))
    if output.quiet:
        return
    for path in report["skipped"]:
        output.note(f"Passed over: {one_line(path)}")
    count = len(report["findings"])
    files = f"{report['files']} {'file' if report['files'] == 1 else 'files'}"
    if count:
        output.warn(f"{count} {'secret' if count == 1 else 'secrets'} in {files}.")
    else:
        output.note(f"No secret of the fleet in {files}.")
