"""`covey cp` and `covey sync-dir`: files from any machine to any other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from covey.client.target import Target
from covey.errors import CoveyError, ExitCode, InvalidRequestError
from covey.surfaces.cli.app import CommandExitError
from covey.surfaces.cli.client import RemoteError
from covey.surfaces.cli.copy_places import FilePlace, group_by_host, read_place
from covey.surfaces.cli.copy_progress import Progress, summary
from covey.surfaces.cli.copy_pump import Pump, Side, SideFailedError
from covey.surfaces.cli.exec_failure import announce, as_error, fallback
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.socket_client import open_call
from covey.surfaces.cli.ssh import SshAddress
from covey.surfaces.cli.tree import Node

_SEND, _RECEIVE = "files.send", "files.receive"


def cp(session: Session, node: Node) -> click.Command:
    """Make `covey cp`."""

    def start(paths: tuple[str, ...], *, plain: bool) -> None:
        if len(paths) < 2:  # noqa: PLR2004 - a source and a destination
            raise InvalidRequestError(
                "covey cp needs a source and a destination.",
                hint="For example: covey cp notes.txt frigg:documents/",
            )
        *sources, target = [read_place(path) for path in paths]
        groups = group_by_host(sources)
        several = len(sources) > 1
        failed = False
        for host, names in groups.items():
            extra: dict[str, Any] = {"placing": "into"} if several else {}
            if plain:
                extra["preserve"] = False
            try:
                failed |= _copy(session, host, {"paths": names}, target, extra)
            except SideFailedError as failure:
                _by_ssh(session, failure, names, host, target)
        if failed:
            raise CommandExitError(1)

    return DescribedCommand(
        node.name,
        start,
        [
            click.Option(
                ["--plain", "plain"], is_flag=True, help="Do not take over modes and times."
            ),
            click.Argument(["paths"], nargs=-1, required=True, metavar="SOURCE… DESTINATION"),
        ],
        summary=node.summary,
        description="Each path is one of this machine, or HOST:PATH; a file here with a colon in "
        "its name is written ./NAME. Directories are copied with all that is in them; modes, "
        "times, links and holes stay what they are. A file stands under its name only once it is "
        "whole and its checksum fits, and a copy that was interrupted goes on when it is given "
        "again. A host whose agent cannot be reached is tried by SSH if its record has the field "
        "ssh.",
        examples=(
            "cp notes.txt frigg:documents/",
            "cp frigg:/var/log/syslog odin:/var/log/dpkg.log ./logs/",
            "cp frigg:photos odin:backup/",
        ),
    )


def sync_dir(session: Session, node: Node) -> click.Command:
    """Make `covey sync-dir`."""

    def start(source: str, destination: str, **chosen: bool) -> None:
        given = read_place(source)
        target = read_place(destination)
        extra: dict[str, Any] = {"sync": True, "placing": "into"}
        extra |= {name: True for name, value in chosen.items() if value}
        what = {"paths": [given.path], "contents": True}
        if not chosen["dry_run"]:
            _make(session, target)
        try:
            failed = _copy(session, given.host, what, target, extra)
        except SideFailedError as failure:
            raise as_error(failure.error, failure.side.host) from failure
        if failed:
            raise CommandExitError(1)

    return DescribedCommand(
        node.name,
        start,
        [
            click.Option(["--delete"], is_flag=True, help="Delete what the source does not have."),
            click.Option(["--checksum"], is_flag=True, help="Compare contents instead of times."),
            click.Option(["--dry-run"], is_flag=True, help="Only say what would be done."),
            click.Argument(["source"], metavar="SOURCE"),
            click.Argument(["destination"], metavar="DESTINATION"),
        ],
        summary=node.summary,
        description="The destination gets what is in the source: files that have the same size "
        "and time stay, and of those that changed only the differing blocks are sent. Nothing is "
        "deleted without --delete.",
        examples=("sync-dir ./site frigg:/srv/www", "sync-dir frigg:photos ./photos --delete"),
    )


def _make(session: Session, target: FilePlace) -> None:
    """Make a directory that is not there yet."""
    if target.host is None:
        os.makedirs(target.path, exist_ok=True)  # noqa: PTH103 - a path as it was written
        return
    client = session.another_client(Target(hosts=(target.host,)))
    try:
        client.call("files.mkdir", path=target.path, parents=True)
    except RemoteError as error:
        if error.exit_code != ExitCode.CONFLICT:
            raise
    finally:
        client.transport.close()


def _copy(
    session: Session,
    host: str | None,
    what: dict[str, Any],
    target: FilePlace,
    extra: dict[str, Any],
) -> bool:
    """Copy from one host to another; returns whether a file failed."""
    output = session.output
    arguments = {"destination": target.path, **extra}
    source_side = _side(session, host, _SEND, what)
    target_side = _side(session, target.host, _RECEIVE, arguments)
    progress = Progress(output)
    pump = Pump(source_side, target_side, progress.heard, progress.passed, progress.tick)
    try:
        pump.run()
    finally:
        progress.clear()
    finished = progress.finished
    if finished is None:
        raise CoveyError("The copy ended without a word.", hint="Try again: it goes on from there.")
    for line in progress.failed:
        output.error(CoveyError(line, hint=None))
    if output.as_json:
        output.json({key: value for key, value in finished.items() if key != "type"})
    else:
        if extra.get("dry_run"):
            for path in progress.paths:
                output.line(path)
        output.note(summary(finished, progress.seconds))
    return bool(finished["failed"])


def _side(session: Session, host: str | None, operation: str, arguments: dict[str, Any]) -> Side:
    target = Target(hosts=() if host is None else (host,))
    call, headers = open_call(session, target, local=host is None)
    return Side(call, host, session.client.command(operation).route, headers, arguments)


def _by_ssh(
    session: Session,
    failure: SideFailedError,
    names: Sequence[str],
    host: str | None,
    target: FilePlace,
) -> None:
    """Copy by scp in place of a host that was never reached; raises what failed otherwise."""
    away, error = failure.side.host, failure.error
    address = fallback(session, away, error)
    between = host is not None and target.host is not None
    if address is None or between or session.locals.ssh is None:
        raise as_error(error, away) from failure
    announce(session, away or "", error, address)
    sources = [_scp_path(address, name) if host is not None else name for name in names]
    place = _scp_path(address, target.path) if target.host is not None else target.path
    session.locals.ssh().copy(sources, place, port=address.port)


def _scp_path(address: SshAddress, path: str) -> str:
    where = f"[{address.host}]" if ":" in address.host else address.host
    user = f"{address.user}@" if address.user else ""
    return f"{user}{where}:{path.removeprefix('~/') if path != '~' else ''}"
