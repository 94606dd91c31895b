"""A generated Containerfile is built and run by a real Podman."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from covey.apps.config.buildplan import GeneratedBuild, prepare
from tests.apps.config.sources import write
from tests.podman import Podman
from tests.system.harness import eventually

EXAMPLES = Path(__file__).parents[3] / "examples/apps"
MAIN = """
import getpass, greeting, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(greeting.TEXT.encode())

if sys.argv[1:] == ["check"]:
    open("/data/written", "w").close()
    print(getpass.getuser(), os.getuid(), os.environ["PORT"], greeting.TEXT)
    print(os.path.exists("built"), os.path.exists(".env"), os.environ.get("TOKEN"))
else:
    HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Page).serve_forever()
"""
CONFIG = """
port = 9000
build.command = "test $TOKEN = hush && touch built"
build.secrets = ["TOKEN"]

[[volumes]]
name = "data"
path = "/data"
"""


def write_wheel(path: Path) -> None:
    files = {
        "greeting.py": "TEXT = 'hello'\n",
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: covey\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{name},sha256={digest.decode().rstrip('=')},{len(text)}\n"
        wheel.writestr("greeting-1.0.dist-info/RECORD", record)


@pytest.mark.slow
def test_a_python_app_is_built_and_runs_without_root(podman: Podman, tmp_path: Path) -> None:
    source = write(
        tmp_path / "source",
        {
            "main.py": MAIN,
            "requirements.txt": "./greeting-1.0-py3-none-any.whl\n",
            ".python-version": "3.13\n",
            ".env": "TOKEN=1\n",
            "covey.app.toml": CONFIG,
        },
    )
    write_wheel(source / "greeting-1.0-py3-none-any.whl")
    (tmp_path / "token").write_text("hush")
    plan = prepare(source).plan
    assert isinstance(plan, GeneratedBuild)
    (source / ".dockerignore").write_text("\n".join(plan.ignore))
    file = write(tmp_path, {"Containerfile": plan.text}) / "Containerfile"
    image = podman.run(
        *(
            "build",
            "--quiet",
            "--pull=never",
            "--layers=false",
            f"--secret=id=TOKEN,src={tmp_path / 'token'}",
        ),
        *("--file", str(file), str(source)),
    ).strip()
    run = ("run", "--rm", "--network=none", "--volume=data:/data", image)
    first, second = podman.run(*run, "python", "main.py", "check").splitlines()
    assert first == "app 10001 9000 hello"
    assert second == "True False None"
    assert "hush" not in podman.run("history", "--no-trunc", image)


@pytest.mark.slow
def test_the_example_is_built_and_answers(podman: Podman, tmp_path: Path) -> None:
    source = EXAMPLES / "python"
    plan = prepare(source).plan
    assert isinstance(plan, GeneratedBuild)
    file = write(tmp_path, {"Containerfile": plan.text}) / "Containerfile"
    build = ("build", "--quiet", "--pull=never", "--layers=false", "--file", str(file))
    image = podman.run(*build, str(source)).strip()
    podman.run("run", "--detach", "--network=none", "--env=GREETING=Hi", "--name=guests", image)
    ask = ("exec", "guests", "wget", "-qO-", "http://127.0.0.1:8080/")
    assert "<h1>Hi</h1>" in eventually(lambda: podman.run(*ask, check=False))
    podman.run("stop", "--time=30", "guests")
    assert podman.run("inspect", "--format={{.State.ExitCode}}", "guests").strip() == "0"
