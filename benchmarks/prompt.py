"""What the hook costs at a prompt where nothing changed, beside direnv's hook."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.measure import MS, interleaved, median
from benchmarks.report import Row, main, version_of
from benchmarks.startup import VARIABLES, allow_direnv, fill, program
from tests.system.harness import new_fleet

ROUNDS = 11
PROMPTS = 500
# direnv starts a process at each prompt, so fewer of them give the same precision.
DIRENV_PROMPTS = 20

# Each script sources the hook ($1) and prints the seconds for $2 prompts.
LOOPS = {
    "bash": """
        . "$1"
        begin=$EPOCHREALTIME
        for ((i = 0; i < $2; i++)); do
          for command in "${PROMPT_COMMAND[@]}"; do eval "$command"; done
        done
        end=$EPOCHREALTIME
        echo "$begin $end"
    """,
    "zsh": """
        zmodload zsh/datetime
        . "$1"
        begin=$EPOCHREALTIME
        for ((i = 0; i < $2; i++)); do
          for function in $precmd_functions; do $function; done
        done
        end=$EPOCHREALTIME
        echo "$begin $end"
    """,
    "fish": """
        source $argv[1]
        set begin (date +%s.%N)
        for i in (seq $argv[2])
            emit fish_prompt
        end
        set end (date +%s.%N)
        echo $begin $end
    """,
}


def per_prompt(shell: str, hook: Path, prompts: int, environment: Mapping[str, str]) -> float:
    """Seconds for one prompt in a real shell with this hook."""
    after = [] if shell == "fish" else [shell]
    done = subprocess.run(
        [program(shell), *quiet(shell), "-c", LOOPS[shell], *after, str(hook), str(prompts)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    begin, end = (float(part.replace(",", ".")) for part in done.stdout.split()[-2:])
    return (end - begin) / prompts


def quiet(shell: str) -> list[str]:
    """Keep the tester's own start-up files out."""
    return {"bash": ["--noprofile", "--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]


def run() -> list[Row]:
    """Time both hooks in each shell, with the same variables."""
    rows: list[Row] = []
    with new_fleet() as fleet, contextlib.chdir(fleet.directory):
        node = fleet.founder("freya")
        peer = allow_direnv(fleet.directory, fill(node))
        direnv = f"direnv {version_of('direnv', 'version')}"
        for shell in LOOPS:
            ours = fleet.directory / f"covey.{shell}"
            theirs = fleet.directory / f"direnv.{shell}"
            ours.write_text(node.out("shell-init", shell) + "\n")
            theirs.write_text(
                subprocess.run(
                    ["direnv", "hook", shell], capture_output=True, text=True, check=True
                ).stdout
            )
            environment = {**node.environment, "HOME": str(fleet.directory)}
            times = interleaved(
                {
                    "covey": partial(per_prompt, shell, ours, PROMPTS, environment),
                    "direnv": partial(per_prompt, shell, theirs, DIRENV_PROMPTS, peer),
                },
                ROUNDS,
                warm_up=1,
            )
            covey_ms, direnv_ms = (median(times[name]) * MS for name in ("covey", "direnv"))
            note = f"{version_of(shell, '--version').partition('(')[0]}, {VARIABLES} variables"
            rows += [
                Row(f"covey hook, {shell}", covey_ms, "ms", 0.2, note),
                Row(
                    f"direnv hook, {shell}",
                    direnv_ms,
                    "ms",
                    note=f"{direnv}; {direnv_ms / covey_ms:.0f} times covey's",
                ),
            ]
    return rows


if __name__ == "__main__":
    raise SystemExit(main("prompt", run))
