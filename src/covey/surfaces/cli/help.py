"""Help pages: what it does, how to write it, what it takes, and examples."""

from __future__ import annotations

from collections.abc import Sequence

import click

from covey.surfaces.cli.menu import HIDDEN, SECTIONS
from covey.surfaces.cli.options import GLOBAL_FLAGS, GlobalOption
from covey.surfaces.cli.tree import Node

WIDTH = 80

_DOCS_HINT = "Help on a command: covey COMMAND --help"


def format_command(
    command: click.Command,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    *,
    description: str,
    examples: Sequence[str],
    arguments: Sequence[tuple[str, str]],
) -> None:
    """Write a command's page."""
    command.format_usage(ctx, formatter)
    _paragraphs(formatter, command.help or "", description)
    if arguments:
        with formatter.section("Arguments"):
            formatter.write_dl(list(arguments))
    options = [
        record
        for param in command.get_params(ctx)
        if isinstance(param, click.Option)
        and not isinstance(param, GlobalOption)
        and (record := param.get_help_record(ctx))
    ]
    with formatter.section("Options"):
        formatter.write_dl(options)
    _examples(formatter, examples)
    formatter.write_paragraph()
    formatter.write_text(f"Also: {', '.join(GLOBAL_FLAGS)} (covey --help).")


def format_group(
    group: click.Command, ctx: click.Context, formatter: click.HelpFormatter, node: Node
) -> None:
    """Write a group's page: its commands, and what it does when none is named."""
    group.format_usage(ctx, formatter)
    _paragraphs(formatter, node.summary, "")
    with formatter.section("Commands"):
        formatter.write_dl([(name, node.children[name].summary) for name in sorted(node.children)])
    if node.default is not None:
        formatter.write_paragraph()
        formatter.write_text(
            f"Without a command: {node.default.summary} "
            f"Its options: covey {' '.join(node.default.words)} --help"
        )
    formatter.write_paragraph()
    formatter.write_text(f"Help on a command: {ctx.command_path} COMMAND --help")


def format_root(
    group: click.Command, ctx: click.Context, formatter: click.HelpFormatter, root: Node
) -> None:
    """Write the page of `covey --help`."""
    group.format_usage(ctx, formatter)
    _paragraphs(formatter, "Turn the machines that you own into one private cloud.", "")
    shown: set[str] = set()
    for title, names in SECTIONS:
        present = [name for name in names if name in root.children]
        shown.update(present)
        if present:
            with formatter.section(title):
                formatter.write_dl([(name, root.children[name].summary) for name in present])
    more = sorted(root.children.keys() - shown - HIDDEN)
    if more:
        with formatter.section("More"):
            formatter.write_dl([(name, root.children[name].summary) for name in more])
    records = [param.get_help_record(ctx) for param in group.get_params(ctx)]
    with formatter.section("Options, before or after any command"):
        formatter.write_dl([record for record in records if record])
    _examples(formatter, ("init", "set GREETING=hello", "run -- make deploy"))
    formatter.write_paragraph()
    formatter.write_text(_DOCS_HINT)


def _paragraphs(formatter: click.HelpFormatter, *texts: str) -> None:
    for text in texts:
        if text:
            formatter.write_paragraph()
            formatter.write_text(text)


def _examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            # Commands are never wrapped, so that they can be copied.
            formatter.write(f"{' ' * formatter.current_indent}covey {example}\n")
