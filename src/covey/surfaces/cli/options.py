"""The options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from covey.surfaces.cli.help import GLOBAL_OPTIONS
from covey.surfaces.cli.session import Session


class GlobalOption(click.Option):
    """An option of the whole program, explained once by `covey --help`."""


def global_options(taken: frozenset[str] = frozenset()) -> list[click.Parameter]:
    """Make the options, without those whose flag a command uses for itself."""
    made = [_option(flags, text) for flags, text in GLOBAL_OPTIONS]
    return [option for option in made if not taken.intersection(option.opts)]


def _option(flags: str, text: str) -> GlobalOption:
    names, _, metavar = flags.partition(" ") if ", " not in flags else (flags, "", "")
    opts = names.split(", ")
    return GlobalOption(
        opts,
        is_flag=None if metavar else True,
        metavar=metavar or None,
        expose_value=False,
        is_eager=True,
        callback=_CALLBACKS[opts[-1]],
        help=text,
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


_CALLBACKS: dict[str, Callable[[click.Context, click.Parameter, Any], None]] = {
    "--json": _set_json,
    "--quiet": _set_quiet,
    "--url": _set_url,
    "--token-file": _set_token_file,
    "--no-color": _set_no_colour,
}

GLOBAL_FLAGS = frozenset(_CALLBACKS)
