"""The job engine of a node, put together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from covey.engines.sqlite.database import Database
from covey.engines.sqlite.job_storage import SqliteJobStorage
from covey.jobs.engine import JobEngine
from covey.jobs.log_files import LogFiles
from covey.paths import Paths
from covey.settings import Settings


def make_jobs(paths: Paths, settings: Settings, database: Database) -> JobEngine:
    """Return the engine on this node's database; whoever has kinds of jobs registers them.

    It is started once all kinds are there, and stopped before the database is closed.
    """
    policy = settings.jobs
    return JobEngine(
        SqliteJobStorage(database),
        LogFiles(Path(paths.state_dir) / "jobs", policy.log_bytes),
        at_once=policy.at_once,
        keep=timedelta(days=policy.keep_days),
    )
