"""The arguments that operations on variables share, and who may see values."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from covey.env.model import Kind, VarName
from covey.env.results import Shown
from covey.operations.access import Role, authorize
from covey.operations.context import Context
from covey.operations.secret import Secret

_LABEL = "[a-z0-9][a-z0-9._-]{0,62}"
_HOST = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"

ScopeText = Annotated[
    str,
    Meta(
        max_length=200,
        pattern=f"^(fleet|project:{_LABEL}|environment:{_LABEL}/{_LABEL}|host:{_HOST}|app:{_LABEL})$(?!\\n)",
        description="fleet, project:NAME, environment:PROJECT/NAME, host:NAME or app:NAME.",
    ),
]
Project = Annotated[str | None, Meta(description="Resolve for this project.")]
Environment = Annotated[str | None, Meta(description="Resolve for this environment of it.")]
Host = Annotated[str | None, Meta(description="Resolve for this machine instead of the node's.")]
Reveal = Annotated[bool, Meta(description="Show secret values too.")]
Expand = Annotated[
    bool,
    Meta(
        description="Resolve ${OTHER}, ${OTHER:-default}, op://, file: and cmd: when it is used; "
        "else every character is literal."
    ),
]
KindOption = Annotated[
    Kind | None, Meta(description="secret (masked) or plain; by default as it was, else secret.")
]
Note = Annotated[Annotated[str, Meta(max_length=1000)] | None, Meta(description="What it is for.")]
ShortText = Annotated[str, Meta(max_length=64)]
IfVersion = Annotated[ShortText | None, Meta(description="Only if this is the present version.")]
VersionText = Annotated[
    str, Meta(max_length=64, description="A version of the variable's history.")
]


class EnvChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several changes: `value` sets the variable, null unsets it."""

    name: VarName
    value: Secret | None = None
    scope: ScopeText = "fleet"
    kind: Kind | None = None
    expand: bool = False
    note: Note = None
    if_version: IfVersion = None


class ScanText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text to scan, under the name that its findings get."""

    name: Annotated[str, Meta(max_length=4096)]
    text: str


def shown(ctx: Context, operation: str, *, reveal: bool) -> Shown:
    """Return what the caller sees; raises `RefusedError` if a viewer wants values revealed."""
    if reveal:
        authorize(ctx.caller, f"{operation} --reveal", Role.DEVELOPER)
    return Shown(secret=reveal, plain=ctx.caller.role >= Role.DEVELOPER)
