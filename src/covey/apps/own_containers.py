"""Containers by their names: those of others that happen to have such a name are never touched."""

from __future__ import annotations

from covey.apps.containers import ContainerEngine, ContainerSpec, ContainerState
from covey.errors import ConflictError


async def find_own(engine: ContainerEngine, spec: ContainerSpec) -> ContainerState | None:
    """Return the container of a specification, or None.

    Raises `ConflictError` if another's container has its name.
    """
    state = await engine.inspect(spec.name)
    if state is not None and not spec.labels.items() <= state.labels.items():
        raise ConflictError(
            f"There is a container {spec.name} already, which is not this deployment's.",
            hint="Rename or remove it; Covey does not touch it.",
        )
    return state


async def remove_own(engine: ContainerEngine, spec: ContainerSpec) -> None:
    """Remove the container of a specification, if it is there."""
    state = await engine.inspect(spec.name)
    if state is not None and spec.labels.items() <= state.labels.items():
        await engine.remove(state.id)
