"""Run the command line: parse, dispatch, and turn every failure into a message and exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from covey.errors import CoveyError, ExitCode, InvalidRequestError
from covey.operations.command_document import CommandDocument, load_commands
from covey.surfaces.cli.groups import HintedUsageError, NodeGroup
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.pipes import abandon_stdout
from covey.surfaces.cli.session import Locals, Session
from covey.surfaces.cli.tree import build_tree

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class CommandExitError(Exception):
    """End the program with this status, all being said; raised for what another program decides."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def run(argv: Sequence[str], local: Locals, document: CommandDocument | None = None) -> int:
    """Run one command line, without the program's name, and return the exit status.

    `document` is the packaged one if it is left out.
    """
    output = Output(as_json="--json" in _own(argv))
    session = Session(document or load_commands(), local, output)
    words = list(argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    try:
        status = _run(session, words)
        sys.stdout.flush()
    except OSError as error:
        return abandon_stdout(error)
    finally:
        session.close()
    return status


def _run(session: Session, argv: list[str]) -> int:
    group = NodeGroup(session, build_tree(session.document))
    try:
        with group.make_context("covey", argv, obj=session) as context:
            group.invoke(context)
    except CommandExitError as end:
        return end.status
    except CoveyError as error:
        session.output.error(error)
        return int(error.exit_code)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        session.output.stderr.write("\n")
        return INTERRUPTED
    except click.ClickException as error:
        session.output.error(_usage_error(error))
        return int(ExitCode.USAGE)
    except BrokenPipeError:
        raise
    except OSError as error:
        session.output.error(_system_error(error))
        return int(ExitCode.FAILED)
    except Exception as error:  # noqa: BLE001 - users never see a traceback
        session.output.error(_defect(session, error))
        return int(ExitCode.FAILED)
    return int(ExitCode.OK)


def _own(argv: Sequence[str]) -> Sequence[str]:
    """Return the words that are Covey's: those before `--`."""
    return argv[: argv.index("--")] if "--" in argv else argv


def _usage_error(error: click.ClickException) -> InvalidRequestError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "covey"
    hint = f"Its help: {path} --help"
    message = error.message
    if isinstance(error, HintedUsageError):
        hint = error.hint
    elif isinstance(error, click.NoSuchOption):
        message = f"{path} has no option {error.option_name}."
        if error.possibilities:
            hint = f"Did you mean {error.possibilities[0]}?"
    elif isinstance(error, click.BadOptionUsage) and message.endswith("requires an argument."):
        message = f"{error.option_name} needs a value."
    elif isinstance(error, click.MissingParameter):
        message = _missing(error, path)
    elif message.startswith("Got unexpected extra argument"):
        message = f"{path} takes fewer words: {message.partition('(')[2].rstrip(').')} is too much."
        hint = f"Quote a value that has spaces. {hint}"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        message = f"{_label(error.param)}: {error.message}"
    return InvalidRequestError(
        message if message.endswith((".", "?")) else f"{message}.", hint=hint
    )


def _missing(error: click.MissingParameter, path: str) -> str:
    if error.param is None:
        return error.format_message()
    return f"{path} needs {_label(error.param)}."


def _label(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return param.opts[0]
    return (param.metavar or param.human_readable_name).rstrip("…")


def _system_error(error: OSError) -> CoveyError:
    where = f" ({error.filename})" if error.filename else ""
    return CoveyError(
        f"The system refused: {error.strerror or error}{where}.",
        hint="Check that the file or directory exists and that your user may use it.",
    )


def _defect(session: Session, error: Exception) -> CoveyError:
    path = _write_report(session, error)
    hint = "Please report it, with the exact command."
    if path is not None:
        hint = f"Please report it; the details are in {path}"
    return CoveyError(f"Covey's command line has a defect ({type(error).__name__}).", hint=hint)


def _write_report(session: Session, error: Exception) -> str | None:
    import traceback

    from covey.logs import SECRETS

    path = os.path.join(os.path.dirname(session.paths.log_file), "cli-defect.log")  # noqa: PTH118, PTH120
    text = SECRETS.apply("".join(traceback.format_exception(error)))
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return None
    return path
