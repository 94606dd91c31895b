"""The options that every command takes, before or after its name."""

from __future__ import annotations

from typing import Any

import click

from covey.surfaces.cli.session import Session

GLOBAL_FLAGS = ("--json", "--quiet", "--url", "--token-file", "--no-color")


class GlobalOption(click.Option):
    """An option of the whole program, explained once by `covey --help`."""


def global_options(taken: frozenset[str] = frozenset()) -> list[click.Parameter]:
    """Make the options, without those whose flag a command uses for itself."""
    return [
        option
        for option in (
            _flag(["--json"], "Print JSON.", _set_json),
            _flag(["-q", "--quiet"], "Print names alone, and nothing for a change.", _set_quiet),
            _text("--url", "URL", "Talk to the node at this https URL. Or COVEY_URL.", _set_url),
            _text(
                "--token-file",
                "PATH",
                "The file with the token for --url. Or COVEY_TOKEN.",
                _set_token_file,
            ),
            _flag(["--no-color"], "Print without colours. Or NO_COLOR.", _set_no_colour),
        )
        if not taken.intersection(option.opts)
    ]


def _flag(names: list[str], help_text: str, callback: Any) -> GlobalOption:
    return GlobalOption(
        names, is_flag=True, expose_value=False, is_eager=True, callback=callback, help=help_text
    )


def _text(name: str, metavar: str, help_text: str, callback: Any) -> GlobalOption:
    return GlobalOption(
        [name],
        metavar=metavar,
        expose_value=False,
        is_eager=True,
        callback=callback,
        help=help_text,
    )


def _set_json(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value:
        ctx.ensure_object(Session).output.as_json = True


def _set_quiet(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value:
        ctx.ensure_object(Session).output.quiet = True


def _set_url(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Session).url = value


def _set_token_file(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Session).token_file = value


def _set_no_colour(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value:
        ctx.ensure_object(Session).output.no_colour = True
        ctx.color = False
