"""`covey apps eject` shows a node what it asks for, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon

ROUTE = ("POST", "/api/v1/containerfile")
ANSWER = {"wanted": [], "text": "FROM x\n", "ignore": [".env"], "reason": "A Go app."}


def wants(*names: str) -> dict[str, object]:
    return {"wanted": list(names), "text": "", "ignore": [], "reason": ""}


def source(tmp_path: Path) -> Path:
    for name in ("go.mod", "cmd/a/main.go", ".git/config", ".env", "node_modules/x/y.js"):
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "app"


def test_it_is_written_to_the_source(daemon: FakeDaemon, covey: Covey, tmp_path: Path) -> None:
    root = source(tmp_path)
    daemon.on(*ROUTE, wants("go.mod"))
    daemon.on(*ROUTE, ANSWER)
    done = covey("apps", "eject", str(root), document=None)
    assert done.status == 0, done.err
    names = ["go.mod", "cmd/a/main.go"]
    assert daemon.bodies == [
        {"names": names},
        {"names": names, "texts": [{"name": "go.mod", "text": "go.mod"}]},
    ]
    assert (root / "Containerfile").read_text() == "FROM x\n"
    assert (root / ".dockerignore").read_text() == ".env\n"
    again = covey("apps", "eject", str(root), document=None)
    assert again.status == 5
    assert "There is a Containerfile already" in again.err


def test_it_is_printed(daemon: FakeDaemon, covey: Covey, tmp_path: Path) -> None:
    daemon.on(*ROUTE, ANSWER)
    done = covey("apps", "eject", str(source(tmp_path)), "--print", document=None)
    assert (done.status, done.out) == (0, "FROM x\n")


def test_a_node_that_asks_for_more_gets_nothing(
    daemon: FakeDaemon, covey: Covey, tmp_path: Path
) -> None:
    """A node of someone else could ask for keys and passwords."""
    daemon.on(*ROUTE, wants(".env", "../../etc/passwd", "/etc/passwd"))
    done = covey("apps", "eject", str(source(tmp_path)), document=None)
    assert done.status == 5
    assert len(daemon.bodies) == 1


def test_a_directory_that_is_not_there(daemon: FakeDaemon, covey: Covey) -> None:
    done = covey("apps", "eject", "nowhere", document=None)
    assert done.status == 3
