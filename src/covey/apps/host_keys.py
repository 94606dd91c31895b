"""The SSH host keys of git servers: the first one seen is remembered, another one is refused."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import msgspec

from covey.errors import RefusedError
from covey.store.ports import LocalState

_NAMESPACE = "git_hosts"


class HostKey(msgspec.Struct, frozen=True):
    """A host's key in SSH's wire form, and when it was first seen (RFC 3339)."""

    place: str
    key: bytes
    since: str

    @property
    def algorithm(self) -> str:
        """For instance ssh-ed25519 (RFC 4253, section 6.6)."""
        length = int.from_bytes(self.key[:4], "big")
        return self.key[4 : 4 + length].decode("ascii", "replace")

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen prints it."""
        return fingerprint(self.key)


def fingerprint(key: bytes) -> str:
    """Return `SHA256:…` of a public key in SSH's wire form."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


class KnownHosts:
    """What this node has seen; `check` may be called from any thread, the rest from the loop."""

    def __init__(self, local: LocalState) -> None:
        self._local = local
        self._known: dict[str, HostKey] | None = None
        self._new: dict[str, HostKey] = {}

    def load(self) -> None:
        """Read what is remembered, before the first `check`."""
        if self._known is None:
            rows = self._local.scan_local(_NAMESPACE)
            self._known = {key: msgspec.msgpack.decode(row, type=HostKey) for key, row in rows}

    def check(self, place: str, key: bytes) -> bool:
        """Return whether a host is new; raises `RefusedError` if its key is another one."""
        if not key:
            raise RefusedError(f"{place} showed no SSH host key that can be checked.")
        known = (self._known or {}).get(place) or self._new.get(place)
        if known is None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._new[place] = HostKey(place, key, now)
            return True
        if known.key != key:
            raise RefusedError(
                f"{place} shows another SSH host key than on {known.since[:10]}: now "
                f"{fingerprint(key)}, then {known.fingerprint}. Somebody may be in between.",
                hint=f"If its owner has changed it: covey apps keys forget-host {place}",
            )
        return False

    async def keep(self) -> None:
        """Remember the hosts that were new."""
        new, self._new = self._new, {}
        for place, found in new.items():
            self._remember()[place] = found
            await self._local.put_local(_NAMESPACE, place, msgspec.msgpack.encode(found))

    def all(self) -> list[HostKey]:
        """Return what is remembered, by place."""
        return [found for _, found in sorted(self._remember().items())]

    async def forget(self, place: str) -> bool:
        """Forget a host, so that its next key is taken; False if it was not known."""
        found = self._remember().pop(place, None)
        await self._local.put_local(_NAMESPACE, place, None)
        return found is not None

    def _remember(self) -> dict[str, HostKey]:
        self.load()
        assert self._known is not None  # noqa: S101
        return self._known
