"""Integrations: which forge may cause what here, and the secret that it proves itself with.

They belong to the node that is called: its sealed local state keeps them, not the fleet's records.
A secret that every member could read would let a lost laptop deploy to the server.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from covey.apps.webhooks.model import ForgeName
from covey.apps.webhooks.ports import ForgeAccess
from covey.apps.webhooks.rules import Options
from covey.errors import ConflictError, DamagedError, NotFoundError
from covey.operations.secret import Secret
from covey.store.ports import LocalState

_NAMESPACE = "webhooks"
_MOST = 100
_SECRET_BYTES = 32


class Integration(msgspec.Struct, frozen=True):
    """One webhook of a forge. Without `apps`, it feeds those whose source is the repository.

    `former_secret` is accepted until `former_until`, while a new one is brought to the forge.
    """

    name: str
    forge: ForgeName
    secret: str
    options: Options
    created: datetime
    created_by: str
    apps: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    api_base: str = ""
    api_token: str = ""
    former_secret: str = ""
    former_until: datetime | None = None

    def secrets_at(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that are accepted at a time."""
        if self.former_until is not None and now < self.former_until:
            return (self.secret, self.former_secret)
        return (self.secret,)

    def access(self) -> ForgeAccess | None:
        """Return the way to the forge's interface, None without a token."""
        if not self.api_token:
            return None
        return ForgeAccess(self.forge, self.api_base, Secret(self.api_token))

    def __repr__(self) -> str:
        """Return it without its secrets."""
        return f"Integration({self.name!r}, {self.forge.value!r})"


class Integrations:
    """The integrations of this node; methods raise `StorageError`."""

    def __init__(
        self, local: LocalState, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._local = local
        self._clock = clock

    def all(self) -> list[Integration]:
        """Return every integration by name."""
        return [_read(key, value) for key, value in self._local.scan_local(_NAMESPACE)]

    def find(self, name: str) -> Integration | None:
        """Return an integration or None."""
        value = self._local.get_local(_NAMESPACE, name)
        return None if value is None else _read(name, value)

    def get(self, name: str) -> Integration:
        """Return an integration; raises `NotFoundError`."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(
                f"No webhook is called {name}.", hint="See them all: covey webhooks list"
            )
        return found

    async def create(self, integration: Integration) -> Integration:
        """Add an integration; raises `ConflictError` if its name is taken or there are too many."""
        present = self.all()
        if any(item.name == integration.name for item in present):
            raise ConflictError(
                f"There is a webhook called {integration.name} already.",
                hint=f"Choose another name, or remove it: covey webhooks remove {integration.name}",
            )
        if len(present) >= _MOST:
            raise ConflictError(
                f"There are {_MOST} webhooks already.",
                hint="One can feed many apps: give it no --app, and make it for an organization.",
            )
        await self._put(integration)
        return integration

    async def rotate(self, name: str, overlap: timedelta) -> Integration:
        """Give an integration a new secret; the present one is accepted for `overlap` more."""
        present = self.get(name)
        changed = msgspec.structs.replace(
            present,
            secret=new_secret(present.forge),
            former_secret=present.secret if overlap else "",
            former_until=self._clock() + overlap if overlap else None,
        )
        await self._put(changed)
        return changed

    async def remove(self, name: str) -> Integration:
        """Remove an integration; raises `NotFoundError`."""
        present = self.get(name)
        await self._local.put_local(_NAMESPACE, name, None)
        return present

    async def _put(self, integration: Integration) -> None:
        await self._local.put_local(
            _NAMESPACE, integration.name, msgspec.msgpack.encode(integration)
        )


def new_secret(forge: ForgeName) -> str:
    """Make a secret of 256 random bits; GitLab's has the form of its signing tokens."""
    random = b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    if forge is ForgeName.GITLAB:
        return f"whsec_{random}"
    return secrets.token_hex(_SECRET_BYTES)


def _read(name: str, value: bytes) -> Integration:
    try:
        return msgspec.msgpack.decode(value, type=Integration)
    except msgspec.DecodeError as error:
        raise DamagedError(
            f"The record of the webhook {name} cannot be read.",
            hint="It may be of a newer Covey: update this machine.",
        ) from error
