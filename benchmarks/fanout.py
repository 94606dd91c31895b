"""One command on twenty machines at the same time, beside Ansible with twenty forks."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import interleaved, median, process_seconds
from benchmarks.peers import plain_server
from benchmarks.report import Row, main, version_of
from tests.system.harness import COVEY, eventually, new_fleet

NODES = 20
ROUNDS = 10
ANSIBLE = str(Path(sys.executable).with_name("ansible"))


def run() -> list[Row]:
    """Run `true` everywhere, with each in turn."""
    with new_fleet() as fleet, plain_server(fleet) as server:
        founder = fleet.founder("node-01")
        for number in range(2, NODES + 1):
            fleet.member(founder, f"node-{number:02}")
        ours = [COVEY, "exec", "--all", "--parallel", str(NODES), "--", "true"]
        eventually(lambda: founder.run(*ours[1:], expect=None).returncode == 0, 120)
        inventory = fleet.directory / "hosts.ini"
        lines = [
            f"node-{number:02} ansible_host=127.0.0.1 ansible_port={server.port} "
            f"ansible_python_interpreter={sys.executable}\n"
            for number in range(1, NODES + 1)
        ]
        inventory.write_text("".join(lines))
        theirs = [ANSIBLE, "all", "-i", str(inventory), "--forks", str(NODES)]
        theirs += ["--ssh-common-args", f"-F {server.config}", "-m", "command", "-a", "true"]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(fleet.directory),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_PIPELINING": "true",
        }
        times = interleaved(
            {
                "covey": partial(process_seconds, ours, founder.environment),
                "ansible": partial(process_seconds, theirs, environment),
            },
            ROUNDS,
            1,
        )
    mine, other = median(times["covey"]), median(times["ansible"])
    version = version_of(ANSIBLE, "--version").replace("[", "").replace("]", "")
    return [
        Row(f"true on {NODES} nodes, covey exec --all", mine, "s", other, "all on this machine"),
        Row(f"true on {NODES} hosts, ansible --forks {NODES}", other, "s", None, version),
    ]


if __name__ == "__main__":
    raise SystemExit(main("fanout", run))
