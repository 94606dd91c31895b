"""The operation that takes a directory to be deployed, packed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from covey.apps.names import AppName
from covey.apps.service import Apps
from covey.apps.uploads import Uploaded, UploadPart, Uploads
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation


@operation(
    "apps.upload",
    access=Role.DEVELOPER,
    effect=Effect.CHANGE,
    http="POST /api/v1/apps/{app}/uploads",
)
async def upload(
    ctx: Context,
    app: AppName,
    *,
    sha256: Annotated[
        str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$", description="The archive's SHA-256, in hex.")
    ],
    size: Annotated[int, Meta(ge=0, description="The archive's size in bytes.")],
    input: AsyncIterator[UploadPart],  # noqa: A002 - the name that callers know
) -> Uploaded:
    """Keep a directory for a deployment: the input is a tar archive compressed by gzip."""
    ctx.service(Apps).here(app)
    return await ctx.service(Uploads).receive(app, sha256, size, input)
