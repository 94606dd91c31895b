"""What people read after a change, and when there is nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_daemon import FakeDaemon

VERSION: dict[str, Any] = {
    "version": "aaaaaaaa.1",
    "value": "red",
    "author": "ann@freya",
    "updated_at": "2026-01-02T03:04:05Z",
    "current": True,
    "deleted": False,
}


@pytest.mark.parametrize(
    "words, route, result, said",
    [
        (
            ["env", "unset", "A"],
            ("DELETE", "/api/v1/env/A"),
            {"name": "A", "scope": "fleet", "version": "aaaaaaaa.1"},
            "Unset A (fleet).\n",
        ),
        (
            ["env", "rollback", "A", "aaaaaaaa.1"],
            ("POST", "/api/v1/env/A/rollback"),
            {"name": "A", "scope": "host:freya", "value": "••••", "note": ""},
            "Set A (host:freya) as it was in that version.\n",
        ),
        (
            ["env", "rollback", "A", "aaaaaaaa.1"],
            ("POST", "/api/v1/env/A/rollback"),
            None,
            "That version is a deletion: the variable is unset again.\n",
        ),
        (
            ["env", "resolve", "A", "--version", "aaaaaaaa.1"],
            ("POST", "/api/v1/env/A/resolution"),
            {"name": "A", "scope": "fleet"},
            "Settled A (fleet).\n",
        ),
        (
            ["env", "copy", "fleet", "project:shop"],
            ("POST", "/api/v1/env:copy"),
            ["A", "B"],
            "Copied A, B.\n",
        ),
        (
            ["env", "copy", "fleet", "project:shop"],
            ("POST", "/api/v1/env:copy"),
            [],
            "Nothing to copy: the target has all of it.\n",
        ),
        (
            ["sync"],
            ("POST", "/api/v1/sync"),
            {"level_with": ["frigg"], "not_level": [], "unreachable": ["hub"]},
            "Level with: frigg\nNot reached: hub\n",
        ),
        (
            ["sync"],
            ("POST", "/api/v1/sync"),
            {"level_with": [], "not_level": [], "unreachable": []},
            "This fleet has no other machine. Let one in: covey invite\n",
        ),
        (
            ["fleet", "rename", "frigg", "odin"],
            ("PUT", "/api/v1/fleet/nodes/frigg/name"),
            {"node": {"name": "odin"}, "fields": {}},
            "The machine is called odin now.\n",
        ),
        (
            ["fleet", "set-field", "frigg", "ip", "10.0.0.8"],
            ("PUT", "/api/v1/fleet/nodes/frigg/fields/ip"),
            {"node": {"name": "frigg"}, "fields": {"ip": "10.0.0.8"}},
            "On record of frigg: ip=10.0.0.8\n",
        ),
    ],
)
def test_a_change_is_told_in_a_sentence(
    daemon: FakeDaemon,
    covey: Covey,
    words: list[str],
    route: tuple[str, str],
    result: Any,
    said: str,
):
    daemon.on(*route, result)
    assert covey(*words, document=None).out == said
    assert json.loads(covey(*words, "--json", document=None).out) == result
    assert covey(*words, "--quiet", document=None).out == ""


def test_conflicts_are_shown_by_version_with_the_next_step(daemon: FakeDaemon, covey: Covey):
    rival = {**VERSION, "version": "bbbbbbbb.2", "value": None, "deleted": True}
    found = [{"name": "COLOUR", "scope": "fleet", "versions": [VERSION, rival]}]
    daemon.on("GET", "/api/v1/env:conflicts", found)
    done = covey("env", "conflicts", document=None)
    heading, first, second = done.out.splitlines()
    assert heading.split() == ["NAME", "SCOPE", "VERSION", "VALUE", "AUTHOR", "UPDATED", "COUNTS"]
    assert first.split()[:4] == ["COLOUR", "fleet", "aaaaaaaa.1", "red"]
    assert first.endswith("yes")
    assert second.split()[:2] == ["bbbbbbbb.2", "(deleted)"]
    assert "covey env resolve NAME --version VERSION" in done.err
    assert covey("env", "conflicts", "--quiet", document=None).out == "COLOUR\n"


def test_no_password_is_asked_for_when_nothing_is_locked(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", "/api/v1/node", {"state": "ready"})
    done = covey("unlock", document=None)
    assert (done.status, done.out) == (0, "The node is unlocked already.\n")


@pytest.mark.parametrize("word", ["1X=3", "A B=3", "=x", "Ä=1"])
def test_a_name_that_cannot_be_is_refused_in_words(covey: Covey, word: str):
    done = covey("env", "set", word, document=None)
    assert done.status == 2
    assert "cannot be the name of a variable" in done.err
    assert "letters, digits and underscores" in done.err


@pytest.mark.parametrize("option", ["--url", "--token-file", "--scope"])
def test_an_option_without_its_value_is_refused(covey: Covey, option: str):
    done = covey("env", "list", option, document=None)
    assert (done.status, done.out) == (2, "")
    assert f"{option} needs a value." in done.err


def test_an_export_for_eval_names_what_it_lacks(daemon: FakeDaemon, covey: Covey):
    found = {
        "format": "fish",
        "text": "set -gx A '1'\n",
        "names": ["A"],
        "problems": [{"name": "B", "reason": "it refers to C, which is not set"}],
    }
    daemon.on("GET", "/api/v1/env:export?format=fish", found)
    done = covey("env", "export", "--format", "fish", document=None)
    assert (done.status, done.out) == (0, "set -gx A '1'\n")
    assert done.err == "warning: B is left out: it refers to C, which is not set\n"
