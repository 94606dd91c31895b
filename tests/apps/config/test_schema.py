"""The published JSON Schema agrees with what Covey reads, and the pages' examples are real."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest

from covey.apps.config.load import parse_app_file
from covey.apps.config.merge import effective
from covey.apps.config.schema import app_file_schema, sections
from covey.apps.config.tables import all_keys
from tests.apps.config.test_load import WHOLE
from tests.docs.markdown import ROOT, blocks

PUBLISHED = ROOT / "docs/reference/covey.app.schema.json"
PAGES = [ROOT / "docs/reference/app-file.md", ROOT / "docs/how-to/deploy-an-app.md"]
EXAMPLES = sorted((ROOT / "examples/apps").glob("*/covey.app.toml"))
SCHEMA = jsonschema_rs.Draft202012Validator(app_file_schema())


def examples() -> list[tuple[str, str]]:
    found = [(path.parent.name, path.read_text("utf-8")) for path in EXAMPLES]
    found.append(("whole", WHOLE))
    for page in PAGES:
        for block in blocks(page):
            if block.language == "toml":
                found.append((str(block), block.text))  # noqa: PERF401 - three levels read better so
    return found


def test_the_schema_is_one() -> None:
    jsonschema_rs.meta.validate(json.loads(PUBLISHED.read_text("utf-8")))


def test_there_are_examples() -> None:
    assert len(examples()) > 8
    assert [path.parent.name for path in EXAMPLES] == ["node", "python", "static"]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in examples()])
def test_examples_are_read_and_fit_the_schema(text: str) -> None:
    assert effective(parse_app_file(text)).warnings == () or "[[volumes]]" in text
    assert [error.message for error in SCHEMA.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "prot = 1",
        "port = 0",
        'port = "80"',
        "app = 'Shop'",
        "deploy.strategy = 'canary'",
        "deploy.healthcheck = { path = '/', tcp = true }",
        "deploy.healthcheck = {}",
        "deploy.healthcheck = 'up'",
        "volumes = [{ name = 'data' }]",
        "domains = 'a.example'",
        "processes.Web = 'x'",
        "env.A = 1.5",
        "cron.tidy = '@daily'",
        "resources.memory = 'lots'",
    ],
)
def test_mistakes_do_not_fit_the_schema(text: str) -> None:
    assert list(SCHEMA.iter_errors(tomllib.loads(text)))


def test_the_page_has_every_key() -> None:
    listed = {
        f"{section.header.strip('[]')}.{row.key}".lstrip(".")
        for section in sections()
        for row in section.rows
    }
    assert set(all_keys()) <= listed
    assert "domains.host" in listed
    assert "processes.NAME.command" in listed


def test_every_key_is_described() -> None:
    bare = [row.key for section in sections() for row in section.rows if not row.meaning]
    assert bare == []
    assert [section.header for section in sections() if section.header and not section.about] == []


def test_pages_are_where_they_are_looked_for() -> None:
    assert [page for page in (PUBLISHED, *PAGES) if not Path(page).is_file()] == []
