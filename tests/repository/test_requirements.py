"""The locked requirements agree with pyproject.toml, are pinned by hash, and name no address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("build", "dev", "runtime")


def locked(name: str) -> dict[str, str]:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ \\]+)", text, re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


def wanted(name: str) -> list[Requirement]:
    groups = PROJECT["dependency-groups"]
    runtime = PROJECT["project"]["dependencies"]
    lines = {"build": groups["build"], "dev": [*runtime, *groups["dev"]], "runtime": runtime}
    return [Requirement(line) for line in lines[name]]


@pytest.mark.parametrize("name", LOCKS)
def test_each_dependency_is_locked_within_its_range(name: str) -> None:
    versions = locked(name)
    assert versions
    stale = [
        str(item)
        for item in wanted(name)
        if canonicalize_name(item.name) not in versions
        or versions[canonicalize_name(item.name)] not in item.specifier
    ]
    assert stale == [], "run ./dev lock"


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_has_hashes(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked(name))
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", LOCKS)
def test_no_address_is_written_down(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text("utf-8")
    assert re.findall(r"^.*(?:://|--\w*index|--find-links).*$", text, re.MULTILINE) == []


def test_the_node_and_the_tests_run_the_same_versions() -> None:
    runtime, dev = locked("runtime"), locked("dev")
    assert {name: dev.get(name) for name in runtime} == runtime
