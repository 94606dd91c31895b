"""Hashes passwords for basic authentication, by `caddy hash-password`."""

from __future__ import annotations

import asyncio

from covey.engines.caddy.process import find_program
from covey.errors import InvalidRequestError, StorageError
from covey.operations.secret import Secret

_COST = "11"
"""About a tenth of a second: Caddy's own 14 lets a few guesses a second fill a processor."""
_LONGEST = 72
"""bcrypt looks at no more bytes."""


class CaddyPasswords:
    """Implements `PasswordHasher`."""

    async def hash_password(self, password: Secret) -> str:
        """Return the bcrypt hash of a password, which goes to the program's input alone."""
        text = password.reveal()
        if not text or not text.isprintable() or len(text.encode()) > _LONGEST:
            raise InvalidRequestError(
                "The password is empty, longer than 72 bytes, or has control characters.",
                hint="Choose another one.",
            )
        running = await asyncio.create_subprocess_exec(
            find_program(),
            "hash-password",
            "--algorithm",
            "bcrypt",
            "--bcrypt-cost",
            _COST,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await running.communicate(text.encode() + b"\n")
        if running.returncode != 0 or not output.startswith(b"$2"):
            raise StorageError("The password could not be hashed.", hint="Run: covey doctor")
        return output.decode().strip()
