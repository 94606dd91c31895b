"""What reads repositories and archives is loaded with the first of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import asyncio, sys
from covey.apps.sources import GitSource
from covey.paths import Paths
from covey.settings import Settings
from covey.wiring.sources import make_sources

def tell():
    parts = ("pygit2", "covey.engines.git.fetcher", "covey.engines.archives")
    print(*(part in sys.modules for part in parts))

place = sys.argv[1]
sources = make_sources(Paths(place, place, place, place), Settings(), None, None)
tell()
pinned = GitSource("https://git.example.org/shop.git", commit="a" * 40)
assert asyncio.run(sources.fetcher.resolve(pinned)) == pinned
tell()
"""


def test_what_reads_repositories_is_loaded_with_the_first(tmp_path: Path):
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["False False False", "True True False"]
