"""Variables as they are stored: names, kinds, limits, and the bytes in the sealed record."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from covey.env.scope import Scope
from covey.errors import DamagedError, InvalidRequestError, TooLargeError
from covey.shellkit.names import MAX_VARIABLE_NAME, RESERVED_PREFIXES, is_variable_name

COLLECTION = "env"
MAX_VALUE_BYTES = 64 * 1024
MAX_NOTE_CHARACTERS = 1000

VarName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)",
        min_length=1,
        max_length=MAX_VARIABLE_NAME,
        description="Name of the variable: letters, digits and underscores.",
    ),
]


class Kind(StrEnum):
    """Whether a value is masked in lists and output, or may be shown."""

    SECRET = "secret"  # noqa: S105 - the kind's name, not a credential
    PLAIN = "plain"


class Stored(msgspec.Struct, frozen=True):
    """What a record holds. Text is literal unless `expand` is true.

    Only with `expand` are `${OTHER}`, `op://`, `file:` and `cmd:` understood, so that every value
    comes back exactly as it was given.
    """

    value: str
    kind: Kind = Kind.SECRET
    expand: bool = False
    note: str = ""
    author: str = ""

    def __repr__(self) -> str:
        return f"Stored(kind={self.kind.value!r}, expand={self.expand!r})"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stored)


def record_key(scope: Scope, name: str) -> str:
    """Return the store's key of a variable; neither part can contain the space between them."""
    return f"{scope} {name}"


def split_record_key(key: str) -> tuple[Scope, str]:
    """Return the scope and name in a key of the store."""
    scope, _, name = key.partition(" ")
    return Scope.parse(scope), name


def encode_stored(stored: Stored) -> bytes:
    """Return a record's bytes."""
    return _encoder.encode(stored)


def decode_stored(data: bytes) -> Stored:
    """Read a record's bytes; raises `DamagedError`."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise DamagedError(
            "A stored variable cannot be read.",
            hint="It was perhaps written by a newer Covey: update this node.",
        ) from error


def check_name(name: str) -> None:
    """Raise `InvalidRequestError` unless `name` can be an environment variable's."""
    if is_variable_name(name):
        return
    if name.startswith(RESERVED_PREFIXES):
        raise InvalidRequestError(
            f"{name[:80]} is reserved: names that begin with COVEY_ configure Covey itself.",
            hint="Choose another name.",
        )
    raise InvalidRequestError(
        f"{name[:80]!r} is not a variable name.",
        hint="Use letters, digits and underscores, not a digit first, at most "
        f"{MAX_VARIABLE_NAME} characters.",
    )


def check_value(name: str, value: str) -> None:
    """Raise if no environment can hold the value; the error does not contain it."""
    if "\0" in value:
        raise InvalidRequestError(
            f"The value of {name} contains a NUL character, which no environment can hold.",
            hint="Store binary data encoded, for example as base64.",
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"The value of {name} is not valid UTF-8.",
            hint="Store binary data encoded, for example as base64.",
        ) from None
    if size > MAX_VALUE_BYTES:
        raise TooLargeError(
            f"The value of {name} has {size} bytes; at most {MAX_VALUE_BYTES} are kept.",
            hint="Keep large data in a file and store its path.",
        )


def check_note(note: str) -> None:
    """Raise `TooLargeError` for a note that is too long."""
    if len(note) > MAX_NOTE_CHARACTERS:
        raise TooLargeError(f"A note has at most {MAX_NOTE_CHARACTERS} characters.")
