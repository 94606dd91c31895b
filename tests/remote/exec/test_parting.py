"""What becomes of a command's descriptors when its caller leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covey.engines import processes
from covey.remote.exec.registry import Commands
from tests.remote.exec.machine import CALLER, on_machine, request, typed, until


def test_what_input_waits_for_is_closed_after_it_waits_no_more(tmp_path: Path):
    """Else its descriptor's number may be another's by the time that the waiting ends."""

    async def work(service: Commands) -> None:
        output = service.run(request("sleep", "60"), CALLER, typed(bytes(4 << 20)))
        await anext(output)
        [command] = service._attached.values()
        process = command._process
        assert isinstance(process, processes.Attached)
        order: list[str] = []
        until_writable, close = process._until, process.close

        async def watched(*arguments: Any) -> None:
            order.append("waits")
            try:
                await until_writable(*arguments)
            finally:
                order.append("waits no more")

        process._until = watched  # type: ignore[method-assign]
        process.close = lambda: (order.append("closed"), close())  # type: ignore[method-assign]
        await until(lambda: bool(order), "a full pipe")
        await output.aclose()
        assert order == ["waits", "waits no more", "closed"]

    on_machine(tmp_path, work)
