"""Secrets are read from a hidden prompt or standard input, never from the command line."""

from __future__ import annotations

import getpass
import sys

from covey.errors import InvalidRequestError
from covey.operations.secret import Secret

SHORTEST_PASSWORD = 8

_LARGEST = 1 << 20


def is_interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def read_stdin_text(largest: int = _LARGEST) -> str:
    """Read all of standard input exactly; raises `InvalidRequestError` if it is no UTF-8 text."""
    data = sys.stdin.buffer.read(largest + 1)
    if len(data) > largest:
        raise InvalidRequestError(f"Standard input is larger than {largest >> 20} MiB.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"Standard input is not UTF-8 text (at byte {error.start}).",
            hint="Encode binary data first, for instance with base64.",
        ) from error


def read_stdin_line(what: str) -> Secret:
    """Read the first line of standard input; raises `InvalidRequestError` if it is empty."""
    text = read_stdin_text().split("\n", 1)[0].removesuffix("\r")
    if not text:
        raise InvalidRequestError(
            f"Standard input holds no {what}.", hint=f"Send the {what} as its first line."
        )
    return Secret(text)


def ask(prompt: str, *, otherwise: str) -> Secret:
    """Ask for a secret without showing it; raises `InvalidRequestError` where nobody can answer."""
    if not is_interactive():
        raise InvalidRequestError(
            f"{prompt} is needed, and there is no terminal to ask on.", hint=otherwise
        )
    return Secret(getpass.getpass(f"{prompt}: ", stream=sys.stderr))


def check_password(password: Secret) -> Secret:
    """Return a password that is not too weak; raises `InvalidRequestError`."""
    text = password.reveal()
    if len(text) < SHORTEST_PASSWORD:
        raise InvalidRequestError(
            f"The password is shorter than {SHORTEST_PASSWORD} characters.",
            hint="It guards every secret of this machine; four random words make a good one.",
        )
    if len(set(text)) < SHORTEST_PASSWORD // 2:
        raise InvalidRequestError(
            "The password repeats too few characters.",
            hint="It guards every secret of this machine; four random words make a good one.",
        )
    return password


def ask_new_password() -> Secret:
    """Ask for a new master password twice."""
    otherwise = "Send it by --password-stdin, or use --key-file PATH on an unattended server."
    password = check_password(ask("New master password", otherwise=otherwise))
    if ask("The same again", otherwise=otherwise) != password:
        raise InvalidRequestError(
            "The two passwords differ; nothing was changed.", hint="Run the command again."
        )
    return password
