"""The command document: what the CLI knows of every operation, without importing any domain.

It is generated from the registry (`covey.operations.document`) and packaged as `commands.json`.
This module imports msgspec alone, because every start of the CLI pays for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

DOCUMENT_PATH = Path(__file__).with_name("commands.json")
"""Where the packaged document lies."""

ParameterType = Literal["string", "integer", "number", "boolean", "mapping", "json"]
"""How a value is written on the command line.

`mapping` is a repeated `KEY=VALUE`, and `json` any JSON text; they are the sole types that are
not scalars. A list of scalars is its element's type with `repeated` set.
"""

ResultKind = Literal["record", "list", "page", "value", "none"]
"""`page` has `items` and `next_cursor`; of a stream, the kind of one item."""


class CommandParameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One argument or option; `flag` is `--its-name`, and empty for an argument.

    A boolean that is true by default has the flag `--no-its-name`. `default` is meaningful only
    when `required` is false. `minimum` and `maximum` are inclusive.
    """

    name: str
    kind: Literal["argument", "option"]
    location: Literal["path", "query", "body"]
    type: ParameterType
    flag: str = ""
    repeated: bool = False
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


class ResultField(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column of a result; `type` is a JSON type, or `datetime`, or `value` for a mixture."""

    name: str
    type: str
    help: str = ""
    secret: bool = False


class CommandResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes back; `fields` are those of the record, or of the list's or page's items."""

    kind: ResultKind
    fields: tuple[ResultField, ...] = ()


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation as a command: `path` is its words, such as `("env", "set")`.

    `module` is where the operation is defined.
    `route` is the path template; `effect` and `access` are the labels of `Effect` and `Role`.
    `examples` are command lines without the leading `covey`. A `duplex` one takes items while it
    runs: over HTTP it is a WebSocket.
    """

    name: str
    path: tuple[str, ...]
    summary: str
    method: str
    route: str
    effect: str
    access: str
    result: CommandResult
    description: str = ""
    examples: tuple[str, ...] = ()
    params: tuple[CommandParameter, ...] = ()
    streams: bool = False
    duplex: bool = False
    paginated: bool = False
    module: str = ""


class CommandDocument(msgspec.Struct, frozen=True):
    """All commands, sorted by name."""

    commands: tuple[Command, ...]


def load_commands(path: Path = DOCUMENT_PATH) -> CommandDocument:
    """Read the packaged document; raises `OSError` or `msgspec.DecodeError` if it is damaged."""
    return msgspec.json.decode(path.read_bytes(), type=CommandDocument)


def encode_commands(document: CommandDocument) -> bytes:
    """Encode the document as it is kept in git: the same bytes for the same registry."""
    return (
        msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1) + b"\n"
    )
