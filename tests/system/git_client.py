"""git as a user of a node types it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_DEADLINE_S = 120


def run_git(directory: Path, environ: Mapping[str, str], *words: str, expect: int = 0) -> str:
    """Run git without the machine's settings and questions; return all that it says."""
    done = subprocess.run(
        ["git", *words],
        cwd=directory,
        env={
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )
    said = done.stdout + done.stderr
    assert done.returncode == expect, said
    return said
