"""Links lead somewhere, and the examples in the pages are at least well formed."""

from __future__ import annotations

import ast
import json
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs.markdown import ROOT, Block, anchors, blocks, links, pages

PAGES = pages()
LANGUAGES = {"", "console", "fish", "http", "ini", "json", "powershell", "python", "sh", "text"} | {
    "toml",
    "yaml",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        place, _, anchor = target.partition("#")
        if ":" in place:
            continue
        path = (page.parent / place).resolve() if place else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_are_well_formed(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: unknown language {block.language}"
        check(block)


def check(block: Block) -> None:
    match block.language:
        case "python":
            ast.parse(block.text)
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "yaml":
            list(yaml.safe_load_all(block.text))
        case "sh":
            done = subprocess.run(
                ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block}: {done.stderr}"
        case _:
            pass


def test_every_page_is_reachable_from_the_index() -> None:
    index = ROOT / "docs/index.md"
    seen = {index}
    waiting = [index]
    while waiting:
        page = waiting.pop()
        for target in links(page):
            path = (page.parent / target.partition("#")[0]).resolve()
            found = sorted(path.glob("*.md")) if path.is_dir() else [path]
            for item in found:
                if item.suffix == ".md" and item.exists() and item not in seen:
                    seen.add(item)
                    waiting.append(item)
    lost = [name(page) for page in PAGES if ROOT / "docs" in page.parents and page not in seen]
    assert lost == []
