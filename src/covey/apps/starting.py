"""Starting a container on a port that the engine chose, which may be taken until it starts."""

from __future__ import annotations

from covey.apps.containers import ContainerEngine, ContainerSpec, PortTakenError

_TRIES = 5


async def start_container(
    engine: ContainerEngine, spec: ContainerSpec, made: str | None = None
) -> str:
    """Make a container unless it is `made`, start it, and return its id.

    One whose port somebody else has by then is made anew, on another port.
    """
    for _ in range(_TRIES - 1):
        identifier = made or await engine.create(spec)
        try:
            await engine.start(identifier)
        except PortTakenError:
            await engine.remove(identifier)
            made = None
        else:
            return identifier
    identifier = await engine.create(spec)
    await engine.start(identifier)
    return identifier
