"""`covey agent install` and `uninstall`: the daemon starts with the machine."""

from __future__ import annotations

import click

from covey.surfaces.cli.node_control import ServiceReport
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

_ABOUT = (
    "On Linux this is a hardened systemd unit, for your user or, with --system, for the machine. "
    "What members run on this machine is confined by it as well, unless it is --unconfined. Keys "
    "that "
    "need a password stay locked after a restart until `covey unlock`; a node made with "
    "--key-file opens them by itself. On macOS and Windows, run `covey up` by a launchd agent or "
    "a scheduled task of your own."
)


def _system() -> click.Option:
    return click.Option(["--system"], is_flag=True, help="For the whole machine; needs root.")


def install(session: Session, node: Node) -> click.Command:
    """Make `covey agent install`."""

    def run(
        user: str | None, *, system: bool, unconfined: bool, no_start: bool, dry_run: bool
    ) -> None:
        manager = session.locals.service_manager()
        confined = not unconfined
        if dry_run:
            session.output.exact(manager.preview(system=system, user=user, confined=confined))
            return
        report = manager.install(system=system, user=user, confined=confined, start=not no_start)
        _show(session, report, "Installed")

    return DescribedCommand(
        node.name,
        run,
        [
            _system(),
            click.Option(
                ["--user"], metavar="NAME", help="With --system: the user that the daemon runs as."
            ),
            click.Option(
                ["--unconfined"],
                is_flag=True,
                help="Let members' commands do all that the user may, sudo too.",
            ),
            click.Option(["--no-start"], is_flag=True, help="Do not start it now."),
            click.Option(["--dry-run"], is_flag=True, help="Print the unit and change nothing."),
        ],
        summary=node.summary,
        description=_ABOUT,
        examples=(
            "agent install",
            "agent install --system --user covey",
            "agent install --dry-run",
        ),
    )


def uninstall(session: Session, node: Node) -> click.Command:
    """Make `covey agent uninstall`."""

    def run(*, system: bool) -> None:
        _show(session, session.locals.service_manager().uninstall(system=system), "Removed")

    return DescribedCommand(
        node.name,
        run,
        [_system()],
        summary=node.summary,
        description="The node's data, keys and settings stay.",
        examples=("agent uninstall",),
    )


def _show(session: Session, report: ServiceReport, verb: str) -> None:
    output = session.output
    if output.as_json:
        output.json(
            {"path": report.path, "active": report.active, "next_steps": list(report.next_steps)}
        )
        return
    if output.quiet:
        return
    output.line(f"{verb} {report.path}; the service is {'' if report.active else 'not '}running.")
    for step in report.next_steps:
        output.line(f"Next: {step}")
