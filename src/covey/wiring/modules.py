"""The modules whose operations a node offers; registration is this tuple and nothing else."""

from __future__ import annotations

from types import ModuleType

from covey.fleet import node_operations

OPERATION_MODULES: tuple[ModuleType, ...] = (node_operations,)
