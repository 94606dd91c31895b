"""What Covey keeps to get at repositories: deploy keys for SSH, tokens for HTTPS."""

from __future__ import annotations

from typing import Protocol

import msgspec


class SshKey(msgspec.Struct, frozen=True, tag="ssh", tag_field="kind"):
    """An Ed25519 key pair: OpenSSH's private form, and the line for the forge."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"SshKey(public={self.public!r})"


class Token(msgspec.Struct, frozen=True, tag="token", tag_field="kind"):
    """A token that is sent to `host` (and port, if not 443) alone, with any `user` name."""

    host: str
    user: str
    token: str

    def __repr__(self) -> str:
        return f"Token(host={self.host!r})"


Credential = SshKey | Token


class Credentials(Protocol):
    """Where an engine finds what it proves itself with."""

    def credential(self, name: str) -> Credential:
        """Return a key by its name; raises `NotFoundError`."""
        ...
