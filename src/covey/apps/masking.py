"""Keeping secrets out of what is said about an app."""

from __future__ import annotations

from collections.abc import Callable, Collection

from covey.shellkit.redact import Redactor


class Masking:
    """Passes lines on with all known secrets masked; `learn` them before they can be said."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._secrets: set[str] = set()
        self._redactor = Redactor(())

    def learn(self, secrets: Collection[str]) -> None:
        """Mask these from now on."""
        self._secrets.update(secrets)
        self._redactor = Redactor(self._secrets)

    def __call__(self, text: str) -> None:
        """Say it."""
        self._say(self.clean(text))

    def clean(self, text: str) -> str:
        """Return the text without secrets."""
        return self._redactor.whole(text.encode(errors="replace")).decode(errors="replace")
