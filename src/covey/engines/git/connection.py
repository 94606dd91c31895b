"""What libgit2 asks while it talks to a server: credentials, trust, and whether to go on."""

from __future__ import annotations

import time

import pygit2
from pygit2.enums import CredentialType

from covey.apps.git_urls import GitUrl, place_of
from covey.apps.host_keys import KnownHosts, fingerprint
from covey.apps.key_model import Credential, SshKey, Token
from covey.engines.working import Work
from covey.errors import (
    CoveyError,
    NotFoundError,
    RefusedError,
    StorageError,
    TooLargeError,
    UnreachableError,
)

_REPORT_S = 2.0
_MOST_OFFERS = 2
_TOGETHER = 2


class Connection(pygit2.RemoteCallbacks):
    """The callbacks of one conversation; libgit2 calls them in its own thread."""

    def __init__(
        self,
        url: GitUrl,
        credential: Credential | None,
        hosts: KnownHosts,
        work: Work,
        most_bytes: int,
    ) -> None:
        super().__init__()
        self._url = url
        self._credential = credential
        self._hosts = hosts
        self._work = work
        self._most_bytes = most_bytes
        self._received = 0
        self._offers = 0
        self._told = time.monotonic()

    def credentials(
        self, url: str, username_from_url: str | None, allowed_types: CredentialType
    ) -> pygit2.Username | pygit2.UserPass | pygit2.KeypairFromMemory:
        """Answer with the source's key; raises `RefusedError` if it has none that fits."""
        if allowed_types == CredentialType.USERNAME:
            return pygit2.Username(username_from_url or "git")
        self._offers += 1
        if self._offers > _MOST_OFFERS:
            raise self._refused("does not take the key")
        match self._credential:
            case SshKey() as key if allowed_types & CredentialType.SSH_MEMORY:
                user = username_from_url or "git"
                return pygit2.KeypairFromMemory(user, key.public, key.private, "")
            case Token() as token if allowed_types & CredentialType.USERPASS_PLAINTEXT:
                # A redirect asks for credentials with the URL to which it has led.
                asking = place_of(url)
                if token.host != asking:
                    raise RefusedError(
                        f"The token is for {token.host}: it is not sent to {asking}.",
                        hint="Keep a token for that host: covey apps keys create --help",
                    )
                return pygit2.UserPass(token.user, token.token)
            case None:
                raise self._refused("asks for a key")
            case _:
                raise self._refused("takes keys of another kind")

    def host_key(self, host: str, key: bytes) -> None:
        """Check an SSH server's key; raises `RefusedError` if it has changed."""
        if self._hosts.check(self._url.place, key):
            self._work.log(f"{self._url.place} is new: its SSH host key is {fingerprint(key)}")

    def tls_certificate(self, host: str, *, valid: bool) -> None:
        """Raise `RefusedError` unless TLS has verified the server's certificate."""
        if not valid:
            raise RefusedError(
                f"The certificate of {host} is not valid here.",
                hint="If its authority is your own, add it to the machine's trusted certificates",
            )

    def transfer_progress(self, stats: pygit2.remotes.TransferProgress) -> None:
        """Tell how far it is, now and then."""
        self._go_on()
        self._work.received += max(0, stats.received_bytes - self._received)
        self._received = stats.received_bytes
        # Submodules count together, and something may be fetched a second time.
        together = self._work.received > _TOGETHER * self._most_bytes
        if together or stats.received_bytes > self._most_bytes:
            raise TooLargeError(
                f"The repository has more than {self._most_bytes >> 20} MiB"
                + (", with its submodules." if together else "."),
                hint="Put large files into Git LFS, or deploy an image",
            )
        now = time.monotonic()
        if now - self._told >= _REPORT_S and stats.total_objects:
            self._told = now
            share = 100 * stats.received_objects // stats.total_objects
            self._work.log(f"receiving: {share} % ({stats.received_bytes >> 10} KiB)")

    def sideband_progress(self, string: str) -> None:
        """Listen to what the server says of its work."""
        self._go_on()

    def _go_on(self) -> None:
        self._work.checkpoint()

    def _refused(self, what: str) -> RefusedError:
        hint = (
            "Make a deploy key and add it to the forge: covey apps keys create NAME"
            if self._url.scheme == "ssh"
            else "Keep a token for it: covey apps keys create NAME --site HOST --token-stdin"
        )
        return RefusedError(f"{self._url.place} {what}.", hint=hint)


def translate(error: Exception, url: GitUrl) -> CoveyError:
    """Return the error for the user of what libgit2 raised."""
    if isinstance(error, CoveyError):
        return error
    text = str(error).strip().rstrip(".")
    place = url.place or "this machine"
    words = text.lower()
    if isinstance(error, pygit2.AuthError) or any(
        sign in words for sign in ("status code: 401", "status code: 403", "too many redirects")
    ):
        return RefusedError(
            f"{place} does not take the key, or it may not read {url.path}.",
            hint="Is the key added to the repository? covey apps keys show NAME",
        )
    if any(sign in words for sign in _MISSING) or isinstance(error, pygit2.NotFoundError):
        return NotFoundError(
            f"{place} has no repository {url.path}, or shows it only to those with a key.",
            hint="Check the URL; a private repository needs a key: covey apps keys --help",
        )
    if any(sign in words for sign in _FULL):
        return StorageError(f"The repository cannot be kept: {text}.", hint="covey doctor")
    return UnreachableError(
        f"The repository at {place} cannot be fetched: {text}.",
        hint="Check the URL and this machine's network: covey doctor",
    )


_FULL = ("no space left", "disk quota", "file too large", "read-only file system")
_MISSING = (
    "status code: 404",
    "repository not found",
    "does not exist",
    "not appear to be a git repo",
    "could not find repository",
    "failed to resolve path",
    "access denied or repository not exported",
)
