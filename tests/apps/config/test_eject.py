"""The Containerfile of a source is handed out from names and a few texts alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from covey.apps.config.buildplan import prepare
from covey.apps.config.eject_operations import Ejected, SourceText, eject
from covey.operations.context import Context
from tests.apps.config.sources import SOURCES, write
from tests.apps.config.texts import refusal

CONTEXT = cast("Context", None)


def ejected(files: dict[str, str]) -> Ejected:
    """Answer what is wanted until nothing is, as the command line does."""
    texts: list[SourceText] = []
    for _ in range(4):
        found = asyncio.run(eject(CONTEXT, sorted(files), texts=texts))
        if not found.wanted:
            return found
        texts += [SourceText(name, files[name]) for name in found.wanted]
    raise AssertionError(found.wanted)


BUILT = sorted(name for name in SOURCES if not name.startswith("site"))


@pytest.mark.parametrize("name", BUILT)
def test_it_is_what_a_deployment_builds(name: str, tmp_path: Path) -> None:
    found = ejected(SOURCES[name])
    plan = prepare(write(tmp_path, SOURCES[name])).plan
    assert found.reason == plan.reason
    assert found.text.splitlines()[2:] == (plan.text or "").splitlines()[2:]
    assert found.text.startswith("# Begun by Covey: ")
    assert ".env" in found.ignore


def test_what_is_kept_is_then_built(tmp_path: Path) -> None:
    write(tmp_path, {**SOURCES["node-npm-start"], "Containerfile": "FROM scratch\n"})
    assert prepare(tmp_path).plan.reason == "Built by Containerfile."


def test_the_app_file_is_heeded(tmp_path: Path) -> None:
    files = {f"backend/{name}": text for name, text in SOURCES["python-flask"].items()}
    files["covey.app.toml"] = 'port = 5000\n[build]\ncontext = "backend"\n'
    found = ejected(files)
    plan = prepare(write(tmp_path, files)).plan
    assert found.text.splitlines()[2:] == (plan.text or "").splitlines()[2:]
    assert "EXPOSE 5000" in found.text


def test_no_secret_is_asked_for() -> None:
    names = [".env", ".env.local", "../app.py", "/etc/passwd", "node_modules/x/package.json"]
    found = asyncio.run(eject(CONTEXT, [*names, "requirements.txt"]))
    assert found.wanted == ("requirements.txt",)


@pytest.mark.parametrize(
    "files, told",
    [
        ({"Dockerfile": "", "app.py": ""}, "There is a Dockerfile already"),
        ({"index.html": ""}, "are served as they are"),
        (SOURCES["site-vite"], "This is a static site"),
        ({"notes.txt": ""}, "sees nothing here"),
        ({"covey.app.toml": "prot = 1"}, "there is no key prot"),
    ],
)
def test_when_there_is_none(files: dict[str, str], told: str) -> None:
    assert told in refusal(lambda: ejected(files))
