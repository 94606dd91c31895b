"""The node's whole registry, for tests that hold for every operation."""

from __future__ import annotations

from covey.operations.registry import Operation, Registry
from covey.wiring.modules import OPERATION_MODULES

REGISTRY = Registry.from_modules(OPERATION_MODULES)
OPERATIONS: list[Operation] = [REGISTRY[name] for name in sorted(REGISTRY)]
NAMES = [item.name for item in OPERATIONS]
