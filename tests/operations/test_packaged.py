"""The operations that a daemon knows from the command document are those of the modules."""

from __future__ import annotations

import subprocess
import sys

from covey.operations.packaged import packaged_operations
from covey.operations.registry import Operation
from tests.operations.every_operation import NAMES, REGISTRY


def outline(operation: Operation) -> tuple[object, ...]:
    return (
        *(operation.name, operation.access, operation.effect, operation.route),
        *(operation.streams, operation.duplex, operation.module),
    )


def test_they_are_the_same_operations():
    found = packaged_operations()
    assert sorted(found) == NAMES
    for name in NAMES:
        assert outline(found[name]) == outline(REGISTRY[name])
        assert found[name].definition is REGISTRY[name].definition


def test_a_module_is_loaded_with_the_first_call_of_its_operations():
    code = (
        "import sys\n"
        "from covey.operations.packaged import packaged_operations\n"
        "found = packaged_operations()\n"
        "domains = ('apps', 'env', 'fleet', 'jobs', 'remote')\n"
        "assert not [name for name in domains if f'covey.{name}' in sys.modules]\n"
        "assert found['jobs.list'].signature.parameters\n"
        "assert 'covey.jobs.job_operations' in sys.modules\n"
        "assert 'covey.apps' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
