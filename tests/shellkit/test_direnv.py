"""`use covey` in an .envrc, with the real direnv."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from covey.engines.rendered_env import RenderedDirectory
from covey.env.render import render_all
from covey.shellkit.hook_text import hook_text

NASTY = "q'\"$HOME `id` $(id) !! \\ é\u2019\n\ttail\n\n"


def test_use_covey_loads_the_project_and_follows_changes(tmp_path: Path) -> None:
    rendered = tmp_path / "home" / "run" / "env"
    directory = RenderedDirectory(str(rendered))

    def publish(value: str) -> None:
        shown = {"@": {"A": "fleet"}, "shop@": {"A": value, "UID": "7"}}
        directory.publish(
            {
                (shell, place): data
                for place, values in shown.items()
                for shell, data in render_all(values).items()
            }
        )

    library = tmp_path / "config" / "direnv" / "lib"
    library.mkdir(parents=True)
    (library / "covey.sh").write_text(hook_text("direnv", str(rendered)))
    programs = tmp_path / "bin"
    programs.mkdir()
    program = "import sys; from covey.fastpath import run_fast_path as r; sys.exit(r(sys.argv[1:]))"
    (programs / "covey").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(program)} "$@"\n'
    )
    (programs / "covey").chmod(0o755)
    inside = tmp_path / "shop" / "deep"
    inside.mkdir(parents=True)
    (tmp_path / "shop" / ".covey.toml").write_text('project = "shop"\n')
    (tmp_path / "shop" / ".envrc").write_text("set -eu\nuse covey\n")
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "COVEY_HOME": str(tmp_path / "home"),
    }

    def direnv(*words: str) -> bytes:
        done = subprocess.run(
            ["direnv", *words], cwd=inside, env=environ, capture_output=True, check=True, timeout=60
        )
        return done.stdout

    publish(NASTY)
    direnv("allow", str(tmp_path / "shop"))
    assert direnv("exec", ".", "printenv", "-0", "A") == NASTY.encode() + b"\0"
    loaded = json.loads(direnv("export", "json"))
    assert loaded["A"] == NASTY
    environ.update({name: value for name, value in loaded.items() if value is not None})
    assert direnv("export", "json") == b""
    publish("changed")
    stamp = rendered / "stamp"
    os.utime(stamp, (stamp.stat().st_mtime + 2, stamp.stat().st_mtime + 2))
    assert json.loads(direnv("export", "json"))["A"] == "changed"
