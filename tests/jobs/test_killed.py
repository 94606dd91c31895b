"""After kill -9 a job goes on at the step that it had reached."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.killed_daemon import STEPS

ROOT = Path(__file__).parents[2]


def daemon(directory: Path, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.jobs.killed_daemon", str(directory), kill_at]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("place", ["in", "behind"])
@pytest.mark.parametrize("number", range(len(STEPS)), ids=STEPS)
def test_a_killed_daemon_goes_on_at_the_step_reached(tmp_path: Path, place: str, number: int):
    name = STEPS[number]
    assert daemon(tmp_path, f"{place} {name}").returncode == -signal.SIGKILL
    before = [f"{where} {step}" for step in STEPS[:number] for where in ("in", "behind")]
    before += [f"in {name}"] if place == "in" else [f"in {name}", f"behind {name}"]
    done = tmp_path / "done"
    assert done.read_text().splitlines() == before
    done.unlink()

    ended = daemon(tmp_path)
    assert ended.returncode == 0
    assert "was broken off, and is resumed" in ended.stderr
    assert "Traceback" not in ended.stderr
    first, second, *lines = ended.stdout.splitlines()
    assert (first, second) == ("succeeded", "5")
    again = done.read_text().splitlines()
    assert again[-1] == "end, resumed True, attempt 1"
    run_again = [text.removeprefix("in ") for text in again if text.startswith("in ")]
    recorded = number if place == "in" else number + 1
    assert run_again == list(STEPS[recorded:])
    doing = [f"doing {step}" for step in STEPS[recorded:]]
    assert lines[len(lines) - len(doing) :] == doing


def test_a_job_that_kills_the_daemon_each_time_is_given_up(tmp_path: Path):
    for _ in range(10):
        assert daemon(tmp_path, "in build").returncode == -signal.SIGKILL
    ended = daemon(tmp_path, "in build")
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[0] == "failed"
    assert "was broken off, and was given up" in ended.stderr
    assert (tmp_path / "done").read_text().splitlines().count("in fetch") == 1
