"""References to the outside: 1Password's program, files under allowed roots, allowed commands."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from covey.engines.program_output import OutputTooLongError, program_output
from covey.env.expansion import ExpansionError, Reference, Scheme
from covey.env.model import MAX_VALUE_BYTES

_TIMEOUT_S = 30.0
_TOO_LONG = f"what it refers to is over {MAX_VALUE_BYTES} bytes"
_KEPT_ENVIRONMENT = (
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "XDG_RUNTIME_DIR",
    "TMPDIR",
)


class OutsideReferences:
    """Implements `ReferenceResolver`; no error text holds what was found or printed."""

    def __init__(
        self,
        *,
        allow_commands: Sequence[str] = (),
        file_roots: Sequence[str] = (),
        op_command: str = "op",
        environ: Mapping[str, str] = os.environ,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._commands = tuple(allow_commands)
        self._roots = tuple(file_roots)
        self._op = op_command
        self._environ = environ
        self._timeout_s = timeout_s

    async def resolve(self, reference: Reference) -> str:
        """Return what a reference points to, without its last newline; raises `ExpansionError`."""
        match reference.scheme:
            case Scheme.ONEPASSWORD:
                address = f"{Scheme.ONEPASSWORD}{reference.arguments[0]}"
                words = [self._op, "read", "--no-newline", "--", address]
                return _text(await self._run(words, "1Password", extra=("OP_", "SSH_AUTH_SOCK")))
            case Scheme.FILE:
                return _text(await asyncio.to_thread(self._read, reference.arguments[0]))
            case Scheme.COMMAND:
                program = self._allowed(reference.arguments[0])
                return _text(await self._run([program, *reference.arguments[1:]], "its command"))

    def _allowed(self, word: str) -> str:
        found = [path for path in self._commands if word in {path, Path(path).name}]
        if len(found) != 1:
            raise ExpansionError(
                f"the program {Path(word).name!r} is not in env.allow_commands of this "
                "machine's covey.toml"
            )
        return found[0]

    async def _run(self, words: Sequence[str], what: str, extra: tuple[str, ...] = ()) -> bytes:
        try:
            code, data = await program_output(
                words,
                most_bytes=MAX_VALUE_BYTES + 1,
                timeout_s=self._timeout_s,
                environ=self._child_environment(extra),
            )
        except TimeoutError:
            raise ExpansionError(f"{what} did not answer in {self._timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else "a bad argument"
            raise ExpansionError(f"{what} cannot be started: {cause}") from None
        except OutputTooLongError:
            raise ExpansionError(_TOO_LONG) from None
        if code:
            raise ExpansionError(f"{what} failed with exit code {code}")
        return data

    def _child_environment(self, extra: tuple[str, ...]) -> dict[str, str]:
        """Keep what programs need and nothing else: the daemon's own settings stay with it."""
        return {
            name: value
            for name, value in self._environ.items()
            if name in _KEPT_ENVIRONMENT or (extra and name.startswith(extra))
        }

    def _read(self, path: str) -> bytes:
        """Read a file under an allowed root, following no link anywhere below the root."""
        if "\0" in path or not Path(path).is_absolute():
            raise ExpansionError("a file: reference needs an absolute path")
        if ".." in path.split("/"):
            raise ExpansionError("a file: reference cannot contain ..")
        for root in self._roots:
            inside = os.path.relpath(os.path.normpath(path), os.path.normpath(root))
            if inside != "." and not inside.startswith(".."):
                return _read_beneath(root, inside.split("/"))
        raise ExpansionError("its file is not under env.file_roots of this machine's covey.toml")


def _read_beneath(root: str, parts: Sequence[str]) -> bytes:
    """Open each part by itself without following links, so that no link leads out of the root."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        here = os.open(root, flags | os.O_DIRECTORY)
        try:
            for number, part in enumerate(parts):
                kind = 0 if number == len(parts) - 1 else os.O_DIRECTORY
                below = os.open(part, flags | kind | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            if not stat.S_ISREG(os.fstat(here).st_mode):
                raise ExpansionError("its path is not a plain file")
            return _read_all(lambda size: os.read(here, size))
        finally:
            os.close(here)
    except OSError as error:
        raise ExpansionError(f"its file cannot be read: {error.strerror}") from None


def _read_all(read: Callable[[int], bytes]) -> bytes:
    parts = bytearray()
    while chunk := read(65536):
        parts += chunk
        if len(parts) > MAX_VALUE_BYTES + 1:
            raise ExpansionError(_TOO_LONG)
    return bytes(parts)


def _text(data: bytes) -> str:
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if len(data) > MAX_VALUE_BYTES:
        raise ExpansionError(_TOO_LONG)
    if b"\0" in data:
        raise ExpansionError("what it refers to contains a NUL character")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ExpansionError("what it refers to is not UTF-8 text") from None
