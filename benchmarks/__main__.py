"""Runs every benchmark: `./dev bench`. One alone: `./dev bench NAME`."""

from __future__ import annotations

from benchmarks import (
    copy,
    deploy,
    failover,
    fanout,
    first_sync,
    idle,
    idle_apps,
    jobs,
    latency,
    new_shell,
    prompt,
    proxy,
    startup,
    webhook,
)
from benchmarks import exec as exec_
from benchmarks.report import main

BENCHMARKS = {
    "prompt": prompt.run,
    "new_shell": new_shell.run,
    "startup": startup.run,
    "latency": latency.run,
    "first_sync": first_sync.run,
    "idle": idle.run,
    "idle_apps": idle_apps.run,
    "exec": exec_.run,
    "copy": copy.run,
    "fanout": fanout.run,
    "failover": failover.run,
    "deploy": deploy.run,
    "proxy": proxy.run,
    "webhook": webhook.run,
    "jobs": jobs.run,
}

if __name__ == "__main__":
    raise SystemExit(max([main(name, run) for name, run in BENCHMARKS.items()]))
