"""What goes through a tunnel, and what is told of connections that arrive."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=1, le=65_535, description="The TCP port.")]
Address = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.:%-]{1,255}$", description="A name or an IP address.")
]


class Data(Struct, frozen=True, tag="data"):
    """Bytes of the connection."""

    data: bytes


class DataEnd(Struct, frozen=True, tag="data_end"):
    """Its sender will send no more; it may still receive."""


class Opened(Struct, frozen=True, tag="opened"):
    """The connection stands."""


class Listening(Struct, frozen=True, tag="listening"):
    """Connections are accepted at this address."""

    host: str
    port: int


class Arrived(Struct, frozen=True, tag="arrived"):
    """A connection came in from `peer`; `ticket` is for accepting it, soon and once."""

    ticket: str
    peer: str


TunnelInput = Data | DataEnd
TunnelOutput = Opened | Data | DataEnd
ListenOutput = Listening | Arrived
