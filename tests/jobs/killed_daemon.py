"""A process with an engine: `killed_daemon.py HOME KILL_AT` dies by SIGKILL at that place.

It enqueues a job of steps if there is none, and ends once the job has. What was done goes to
HOME/done, a line for each, before anything else happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import NoneType

import msgspec

from covey.engines.sqlite.job_storage import SqliteJobStorage
from covey.jobs.api import JobKind, JobRun, NewJob
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from tests.engines.sqlite_home import SqliteHome

STEPS = ("fetch", "build", "switch", "prune")


class Nothing(msgspec.Struct, frozen=True):
    pass


async def main(directory: Path, kill_at: str) -> None:
    done = os.open(directory / "done", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def reach(place: str) -> None:
        os.write(done, f"{place}\n".encode())
        if place == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async def deploy(run: JobRun) -> None:
        results = []
        for name in STEPS:

            async def work(name: str = name) -> str:
                run.log(f"doing {name}")
                reach(f"in {name}")
                return f"result of {name}"

            results.append(await run.step(name, work, str))
            reach(f"behind {name}")
        assert results == [f"result of {name}" for name in STEPS]
        await run.step("last", lambda: asyncio.sleep(0), NoneType)
        reach(f"end, resumed {run.resumed}, attempt {run.attempt}")

    home = SqliteHome(directory / "covey.db")
    engine = JobEngine(SqliteJobStorage(home.database), LogFiles(directory / "jobs", 1 << 20))
    engine.register(JobKind("deploy", deploy))
    await engine.start()
    jobs = engine.find()
    job = jobs[0] if jobs else await engine.enqueue(NewJob("deploy", Nothing(), "Deploy"))
    ended = await engine.wait(job.id)
    lines = [line.text async for line in engine.logs(job.id)]
    print(ended.state.value, len(ended.steps), *lines, sep="\n")
    await engine.stop()
    home.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
