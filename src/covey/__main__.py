"""The process entry: the fast path first, then the command line."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from covey.client.failure import CallFailedError
    from covey.surfaces.cli.light.exec_call import ExecCall
    from covey.surfaces.cli.node_control import NodeControl, ServiceManager
    from covey.surfaces.cli.session import Locals
    from covey.surfaces.cli.ssh import Ssh

_FRONT_PAGE: tuple[list[str], ...] = ([], ["--help"], ["-h"], ["help"])


def main() -> int:
    """Run the command line of this process and return its exit status."""
    argv = sys.argv[1:]
    if "export" in argv[:2]:
        from covey.fastpath import run_fast_path

        try:
            status = run_fast_path(argv)
        except OSError as error:
            from covey.surfaces.cli.pipes import abandon_stdout

            return abandon_stdout(error)
        if status is not None:
            return status
    if argv[:1] == ["exec"] and os.name == "posix":
        from covey.surfaces.cli.light.fast_exec import try_exec

        status = try_exec(argv[1:], _settle)
        if status is not None:
            return status
    if argv in _FRONT_PAGE:
        from covey.surfaces.cli.front_page import print_front_page

        return print_front_page()
    if argv[:1] == ["__complete"]:
        from covey.surfaces.cli.complete import print_completions

        return print_completions(argv[1:])
    return _run(argv)


def git_remote() -> int:
    """Run as git's helper for addresses that begin with `covey:`; returns the exit status."""
    from covey.surfaces.cli.git_remote import run

    return run(sys.argv[1:], _locals())


def _run(argv: list[str]) -> int:
    from covey.surfaces.cli.app import run

    return run(argv, _locals())


def _locals() -> Locals:
    from covey.surfaces.cli.session import Locals

    return Locals(_node_control, _service_manager, _ssh)


def _settle(wanted: ExecCall, error: CallFailedError) -> int:
    from covey.surfaces.cli.exec_failure import settle_alone

    return settle_alone(_locals(), wanted, error)


def _node_control() -> NodeControl:
    from covey.wiring.control import create_node_control

    return create_node_control()


def _service_manager() -> ServiceManager:
    from covey.engines.systemd import SystemdManager

    return SystemdManager()


def _ssh() -> Ssh:
    from covey.engines.ssh import OpenSsh

    return OpenSsh()


if __name__ == "__main__":
    sys.exit(main())
