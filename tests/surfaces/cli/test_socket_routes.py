"""The paths of calls that pass input on: no name that is given reaches out of its place."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest

from covey.operations.command_document import load_commands
from covey.surfaces.cli import git_remote
from covey.surfaces.cli.session import Locals
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_control import FakeControl, FakeServices
from tests.surfaces.cli.fake_daemon import FakeDaemon

DOCUMENT = load_commands()


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_a_command_in_an_app(daemon: FakeDaemon, covey: Covey, verb: str):
    daemon.refuse("GET", f"/api/v1/apps/a%2Fb%3F%20c/{verb}", 404, "not_found")
    done = covey("apps", verb, "-H", "frigg", "-n", "a/b? c", "--", "ls", document=DOCUMENT)
    assert "No: not_found." in done.err


def test_an_upload(daemon: FakeDaemon, covey: Covey, tmp_path: Path):
    (tmp_path / "file").write_text("1")
    daemon.on("GET", "/api/v1/apps/a%2Fb%3F%20c", {"name": "a/b? c"})
    daemon.refuse("GET", "/api/v1/apps/a%2Fb%3F%20c/uploads", 404, "not_found")
    words = ("deploy", str(tmp_path), "--app", "a/b? c", "-H", "frigg")
    assert "No: not_found." in covey(*words, document=DOCUMENT).err


def test_what_git_says(
    daemon: FakeDaemon,
    control: FakeControl,
    services: FakeServices,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    refs = "/api/v1/apps/a%3Fb%20c/git:refs?service=git-upload-pack&protocol=version%3D2"
    daemon.on("GET", refs, {"data": base64.b64encode(b"0000").decode()})
    daemon.refuse("GET", "/api/v1/apps/a%3Fb%20c/git:pull", 404, "not_found")
    said = io.BytesIO(b"connect git-upload-pack\n0005a0000")
    monkeypatch.setattr(git_remote, "_read", said.read)
    git_remote.run(["origin", "covey://a?b c"], Locals(lambda: control, lambda: services))
    assert "No: not_found." in capfd.readouterr().err
