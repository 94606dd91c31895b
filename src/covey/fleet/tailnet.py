"""What Tailscale tells of its machines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TailnetMachine:
    """One machine; `stable_id` stays when it is renamed or gets other addresses."""

    stable_id: str
    name: str
    dns_name: str
    addresses: tuple[str, ...]
    os: str
    online: bool


@dataclass(frozen=True, slots=True)
class Tailnet:
    """This machine and the others of its tailnet."""

    me: TailnetMachine
    others: tuple[TailnetMachine, ...]
