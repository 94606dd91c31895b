"""How long commands take from start to end: `covey env export`, `--help` and `status`."""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import partial
from pathlib import Path

from benchmarks.measure import MS, interleaved, median, process_seconds
from benchmarks.report import Row, main, version_of
from tests.system.harness import COVEY, Node, new_fleet

ROUNDS = 60
VARIABLES = 20
PYTHON = "/usr/bin/python3"


def fill(node: Node, count: int = VARIABLES) -> dict[str, str]:
    """Set variables of an ordinary size; returns them."""
    variables = {f"VARIABLE_{number:02}": f"value-{number:02}-" * 4 for number in range(count)}
    node.run("env", "set", *(f"{name}={value}" for name, value in variables.items()))
    return variables


def allow_direnv(directory: Path, variables: dict[str, str]) -> dict[str, str]:
    """Give `directory` an allowed .envrc with the same variables; returns direnv's environment."""
    lines = [f"export {name}={value}\n" for name, value in variables.items()]
    (directory / ".envrc").write_text("".join(lines))
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "TERM": "dumb"}
    process_seconds([program("direnv"), "allow", str(directory)], environment)
    return environment


def program(name: str) -> str:
    """Return the path of a program that must be there."""
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is needed: apt-get install {name}")
    return path


def run() -> list[Row]:
    """Time each command, in turn with the floor and with direnv."""
    with new_fleet() as fleet, contextlib.chdir(fleet.directory):
        node = fleet.founder("freya")
        peer = allow_direnv(fleet.directory, fill(node))
        bare = {"PATH": os.environ["PATH"]}
        floor = f"{PYTHON} -I -S -c pass"
        direnv = "direnv export bash"
        times = interleaved(
            {
                floor: partial(process_seconds, [PYTHON, "-I", "-S", "-c", "pass"], bare),
                "covey env export": partial(
                    process_seconds, [COVEY, "env", "export"], node.environment
                ),
                direnv: partial(process_seconds, [program("direnv"), "export", "bash"], peer),
                "covey --help": partial(process_seconds, [COVEY, "--help"], node.environment),
                "covey status": partial(process_seconds, [COVEY, "status"], node.environment),
            },
            ROUNDS,
        )
    middle = {name: median(samples) * MS for name, samples in times.items()}
    version = f"direnv {version_of('direnv', 'version')}"
    ratio = middle["covey env export"] / middle[floor]
    return [
        Row(floor, middle[floor], "ms", note="the floor"),
        Row("covey env export", middle["covey env export"], "ms", note=f"{VARIABLES} variables"),
        Row("covey env export / floor", ratio, "times", 3),
        Row(direnv, middle[direnv], "ms", note=version),
        Row("covey --help", middle["covey --help"], "ms", 60),
        Row("covey status", middle["covey status"], "ms", 100),
    ]


if __name__ == "__main__":
    raise SystemExit(main("startup", run))
