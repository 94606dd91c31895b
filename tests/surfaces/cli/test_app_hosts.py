"""Commands that pass input on find the machine that runs an app without a list of all apps."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.operations.command_document import load_commands
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon

DOCUMENT = load_commands()
SHOW = "/api/v1/apps/shop"


@pytest.fixture
def elsewhere(daemon: FakeDaemon) -> FakeDaemon:
    """A node that names odin the first time, and then passes on what is for it."""
    error = {"code": "elsewhere", "message": "On odin.", "details": {"host": "odin"}}
    daemon.on("GET", SHOW, {"error": error}, status=409)
    daemon.on("GET", SHOW, {"name": "shop"})
    return daemon


def test_a_command_goes_to_the_machine_of_its_app(elsewhere: FakeDaemon, covey: Covey):
    elsewhere.refuse("GET", f"{SHOW}/exec", 409, "conflict")
    done = covey("apps", "exec", "-n", "shop", "--", "ls", document=DOCUMENT)
    assert "No: conflict." in done.err
    assert elsewhere.targets == [{"Covey-Host": "odin"}] * 2


def test_a_command_in_an_app_of_here_stays(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", SHOW, {"name": "shop"})
    daemon.refuse("GET", f"{SHOW}/exec", 409, "conflict")
    done = covey("apps", "exec", "-n", "shop", "--", "ls", document=DOCUMENT)
    assert "No: conflict." in done.err
    assert daemon.targets == []


def test_a_directory_goes_to_the_machine_of_its_app(
    elsewhere: FakeDaemon, covey: Covey, tmp_path: Path
):
    (tmp_path / "file").write_text("1")
    elsewhere.refuse("GET", f"{SHOW}/uploads", 409, "conflict")
    done = covey("deploy", str(tmp_path), "--app", "shop", document=DOCUMENT)
    assert "No: conflict." in done.err
    assert elsewhere.targets == [{"Covey-Host": "odin"}] * 2
