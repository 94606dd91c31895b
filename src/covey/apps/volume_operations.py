"""The operations on the volumes of apps, which outlast the apps."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from covey.apps import volumes
from covey.apps.names import AppName
from covey.apps.service import Apps
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation

VolumeName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?(?!\n)$",
        description="The volume, as the app's file names it.",
    ),
]


class VolumeView(msgspec.Struct, frozen=True):
    """A volume of an app; `used` tells whether the app is still there and names it."""

    app: str
    name: str
    used: bool
    volume: Annotated[str, Meta(description="What the container engine calls it.")]


@operation(
    "apps.volumes.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/volumes",
    examples=("apps volumes list",),
)
async def list_volumes(ctx: Context) -> list[VolumeView]:
    """List the volumes that apps have on this machine, or have left here."""
    found = await volumes.list_volumes(ctx.service(Apps).hosting)
    return [VolumeView(item.app, item.name, item.used, item.volume) for item in found]


@operation(
    "apps.volumes.remove",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/volumes/{app}/{name}",
    examples=("apps volumes remove shop data",),
)
async def remove_volume(ctx: Context, app: AppName, name: VolumeName) -> None:
    """Remove a volume that no app uses any more, with its data."""
    await volumes.remove_volume(ctx.service(Apps).hosting, app, name)
