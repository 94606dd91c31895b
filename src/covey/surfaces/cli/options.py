"""The options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from covey.surfaces.cli.help import GLOBAL_OPTIONS, HOST_FLAGS
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.values import WholeNumber

_MOST_PARALLEL = 256
"""What the node accepts; its own constant comes with modules that cost time."""


class GlobalOption(click.Option):
    """An option of the whole program, explained once by `covey --help`."""


def global_options(
    taken: frozenset[str] = frozenset(), *, hosts: bool = True
) -> list[click.Parameter]:
    """Make the options, without those whose flag a command uses for itself.

    `hosts` is whether those that choose hosts are among them.
    """
    made = [_option(flags, text) for flags, text in GLOBAL_OPTIONS]
    return [
        option
        for option in made
        if not taken.intersection(option.opts)
        and (hosts or not HOST_FLAGS.intersection(option.opts))
    ]


def _option(flags: str, text: str) -> GlobalOption:
    *short, last = flags.split(", ")
    name, _, metavar = last.partition(" ")
    return GlobalOption(
        [*short, name, f"global_{name.strip('-').replace('-', '_')}"],
        is_flag=None if metavar else True,
        multiple=name == "--host",
        type=WholeNumber(1, _MOST_PARALLEL) if name == "--parallel" else None,
        metavar=metavar or None,
        expose_value=False,
        is_eager=True,
        callback=_CALLBACKS[name],
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


def _add_hosts(ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> None:
    for text in value:
        ctx.ensure_object(Session).target.add_hosts(text)


def _set_everyone(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value:
        ctx.ensure_object(Session).target.everyone = True


def _set_tag(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).target.tag = value


def _set_parallel(ctx: click.Context, _param: click.Parameter, value: int | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).target.parallel = value


_CALLBACKS: dict[str, Callable[[click.Context, click.Parameter, Any], None]] = {
    "--host": _add_hosts,
    "--all": _set_everyone,
    "--tag": _set_tag,
    "--parallel": _set_parallel,
    "--json": _set_json,
    "--quiet": _set_quiet,
    "--url": _set_url,
    "--token-file": _set_token_file,
    "--no-color": _set_no_colour,
}

GLOBAL_FLAGS = frozenset(_CALLBACKS)
