"""Help pages at eighty columns, as kept in `golden/`; and what each page owes its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.operations.command_document import load_commands
from covey.surfaces.cli.help import root_page
from covey.surfaces.cli.tree import Node, build_tree, walk
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.sample import DOCUMENT

GOLDEN = Path(__file__).with_name("golden")
PRODUCT = build_tree(load_commands())
COMMANDS = [node.words for node in walk(PRODUCT) if node.words]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("thing",),
        ("thing", "get"),
        ("thing", "set"),
        ("thing", "drop"),
        ("peers",),
        ("init",),
        ("agent", "install"),
    ],
    ids=lambda words: "-".join(words) or "covey",
)
def test_a_help_page_is_as_kept(covey: Covey, words: tuple[str, ...]):
    kept = GOLDEN / f"{'-'.join(words) or 'covey'}.txt"
    done = covey(*words, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out == kept.read_text(encoding="utf-8")


def test_the_quick_overview_is_the_same_page(covey: Covey):
    assert root_page(build_tree(DOCUMENT)) == covey("--help").out == covey().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_page_of_the_product_fits_and_says_how_to_go_on(covey: Covey, words: tuple[str, ...]):
    done = covey(*words, "--help", document=None)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"Usage: covey {' '.join(words)} ")
    too_wide = [line for line in done.out.splitlines() if len(line) > 80]
    assert [line for line in too_wide if not line.startswith("  covey ")] == []
    node = _find(words)
    assert ("\nCommands:\n" in done.out) is node.is_group
    if not node.is_group:
        assert "\nExamples:\n" in done.out, "an operation without an example"


def _find(words: tuple[str, ...]) -> Node:
    node = PRODUCT
    for word in words:
        node = node.children[word]
    return node


def test_help_can_be_asked_for_in_three_ways(covey: Covey):
    page = covey("thing", "get", "--help").out
    assert covey("thing", "get", "-h").out == covey("help", "thing", "get").out == page


def test_an_alias_speaks_under_its_own_name(covey: Covey):
    assert covey("status", "--help").out.startswith("Usage: covey status [OPTIONS]\n")


def test_the_version_is_printed(covey: Covey):
    assert covey("--version").out.startswith("covey 0.")
