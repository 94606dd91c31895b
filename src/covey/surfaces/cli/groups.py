"""Click groups that build only the command that is called, and suggest what a typo meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NoReturn

import click

from covey import __version__
from covey.surfaces.cli.help import group_page, root_page
from covey.surfaces.cli.menu import HIDDEN
from covey.surfaces.cli.options import global_options
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node, walk

_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
}
_PACKAGE = "covey.surfaces.cli"
_FLAGS = frozenset({"--json", "-q", "--quiet", "--no-color"})


def build_command(session: Session, node: Node) -> click.Command:
    """Build the command of one node of the tree, and nothing below it."""
    if node.is_group:
        return NodeGroup(session, node)
    if node.local is not None:
        module, function = node.local.builder.split(":")
        build = getattr(import_module(f"{_PACKAGE}.{module}"), function)
        command: click.Command = build(session, node)
        return command
    from covey.surfaces.cli.operation_command import operation_command

    if node.operation is None:
        raise click.UsageError(f"There is no command {' '.join(node.words)}.")
    return operation_command(session, node.operation)


class NodeGroup(click.Group):
    """A group whose commands are built when they are called."""

    def __init__(self, session: Session, node: Node) -> None:
        super().__init__(
            name=node.name,
            params=[*global_options(), *([] if node.words else [_version_option()])],
            context_settings=_SETTINGS,
            help=node.summary,
            no_args_is_help=False,
            invoke_without_command=True,
            subcommand_metavar="COMMAND …",
        )
        self._session = session
        self._node = node

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands without building them."""
        del ctx
        return sorted(self._node.children)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Build one command."""
        del ctx
        child = self._node.children.get(cmd_name)
        return None if child is None else build_command(self._session, child)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command's name where the user left it out."""
        default = self._node.default
        if default is not None and not self._names_command(args):
            args = [default.name, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant."""
        if args[0] not in self._node.children:
            self._unknown(ctx, args[0])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Show the help when no command is named."""
        if not ctx._protected_args and not ctx.args:  # noqa: SLF001 - where click keeps the words
            click.echo(ctx.get_help(), color=ctx.color)
            return None
        return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help page, without its last line's end."""
        page = (
            group_page(ctx.command_path, self._node) if self._node.words else root_page(self._node)
        )
        return page.rstrip("\n")

    def _names_command(self, args: list[str]) -> bool:
        """Whether the user named a command, tried to, or asks for help."""
        first = next((arg for arg in args if arg not in _FLAGS), "")
        return first in {"-h", "--help"} or (first != "" and not first.startswith("-"))

    def _unknown(self, ctx: click.Context, word: str) -> NoReturn:
        guess = nearest_word(word, self.list_commands(ctx))
        path = ctx.command_path
        if guess is None:
            elsewhere = [
                node for node in walk(self._node) if node.name == word and len(node.words) > 1
            ]
            places = [" ".join(("covey", *node.words)) for node in elsewhere]
            places = [place for place in places if place.split()[1] not in HIDDEN]
            hint = f"Did you mean `{places[0]}`?" if places else f"See them all: {path} --help"
        else:
            hint = f"Did you mean `{path} {guess}`?"
        raise HintedUsageError(f"{path} has no command {word!r}.", hint)


def _version_option() -> click.Option:
    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version
    )


def _print_version(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value:
        click.echo(f"covey {__version__}")
        ctx.exit()


class HintedUsageError(click.UsageError):
    """A usage error that knows what was meant."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a typo most likely meant, or None."""
    choices = list(known)
    starting = [item for item in choices if len(word) > 1 and item.startswith(word)]
    if len(starting) == 1:
        return starting[0]
    found = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return found[0] if found else None
