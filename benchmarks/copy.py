"""Files to another machine, beside scp and rsync over SSH."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import interleaved, median, process_seconds
from benchmarks.peers import plain_server
from benchmarks.report import Row, main, version_of
from tests.system.harness import COVEY, eventually, new_fleet

FILES, FILE_BYTES = 1000, 4096
LARGE = 1 << 30
PIECE = 1 << 24


def plant(directory: Path) -> tuple[Path, Path]:
    """Make the small files and the large one, of bytes that do not compress."""
    small = directory / "small"
    small.mkdir()
    for number in range(FILES):
        (small / f"{number:04}").write_bytes(os.urandom(FILE_BYTES))
    large = directory / "large"
    with large.open("wb") as file:
        for _ in range(LARGE // PIECE):
            file.write(os.urandom(PIECE))
    return small, large


def command(words: list[str], host: str, end: str, target: Path) -> list[str]:
    """Return a command with its destination."""
    return [*words, f"{host}{target}{end}"]


def timed(
    make: Callable[[Path], list[str]], environment: dict[str, str], source: Path, target: Path
) -> float:
    """Seconds for one copy to a place where nothing is."""
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    os.sync()
    began = time.perf_counter()
    process_seconds(make(target), environment)
    took = time.perf_counter() - began
    copied = target / "0999" if source.is_dir() else target
    original = source / "0999" if source.is_dir() else source
    if copied.stat().st_size != original.stat().st_size:
        raise RuntimeError(f"{make(target)[0]} did not copy it all")
    return took


def run() -> list[Row]:
    """Copy each with each, in turn."""
    with new_fleet() as fleet, plain_server(fleet) as server:
        roots = {"COVEY_FILES_ROOTS": str(fleet.directory)}
        freya = fleet.founder("freya", **roots)
        fleet.member(freya, "frigg", **roots)
        eventually(lambda: freya.run("exec", "-H", "frigg", "true", expect=None).returncode == 0)
        ssh = f"/usr/bin/ssh -F {server.config} -p {server.port}"
        bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        scp = ["/usr/bin/scp", "-q", "-r", "-p", "-F", str(server.config), "-P", str(server.port)]
        rows: list[Row] = []
        for source in plant(fleet.directory):
            end = "/" if source.is_dir() else ""
            rsync = ["/usr/bin/rsync", "-a", "-e", ssh, f"{source}{end}"]
            makers: dict[str, Callable[[Path], list[str]]] = {
                "covey cp": partial(command, [COVEY, "cp", str(source)], "frigg:", ""),
                "scp": partial(command, [*scp, str(source)], "127.0.0.1:", ""),
                "rsync": partial(command, rsync, "127.0.0.1:", end),
            }
            target = fleet.directory / "target"
            contenders = {
                name: partial(timed, make, freya.environment | bare, source, target)
                for name, make in makers.items()
            }
            times = interleaved(contenders, 3, 1)
            what = "1,000 files of 4 KiB" if source.is_dir() else "one file of 1 GiB"
            best = min(median(times["scp"]), median(times["rsync"]))
            rows += [
                Row(f"covey cp, {what}", median(times["covey cp"]), "s", best, "two daemons here"),
                Row(f"scp, {what}", median(times["scp"]), "s", None, version_of("ssh", "-V")),
                Row(f"rsync -e ssh, {what}", median(times["rsync"]), "s", None, rsync_version()),
            ]
    return rows


def rsync_version() -> str:
    """Return the version alone."""
    return " ".join(version_of("rsync", "--version").split()[:3])


if __name__ == "__main__":
    raise SystemExit(main("copy", run))
