"""The reader of the OpenAPI document: whole, self-contained and harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.surfaces.http.serving import Running

MODULE = re.compile(r'^import .* from "([^"]+)";$', re.MULTILINE)


class Links(HTMLParser):
    """What a page loads, and what it runs by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        target = given.get("src") or (given.get("href") if tag == "link" else None)
        if target:
            self.loaded.append(target)
        self._in_script = tag in {"script", "style"}
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


def reachable(server: Running) -> dict[str, str]:
    """Return every file that the page loads, by its path."""
    page = server.request("GET", "/docs", token=None)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = Links()
    links.feed(page.body.decode())
    assert links.inline == []
    found: dict[str, str] = {"/docs": page.body.decode()}
    wanted = list(links.loaded)
    while wanted:
        path = wanted.pop()
        if path in found:
            continue
        reply = server.request("GET", path, token=None)
        assert reply.status == 200, path
        found[path] = reply.body.decode()
        wanted += MODULE.findall(found[path])
    return found


def test_everything_comes_from_the_node_itself(server: Running):
    files = reachable(server)
    assert {"/docs/reader.js", "/docs/reader.css", "/docs/icon.svg", "/docs/try.js"} <= set(files)
    for path, text in files.items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<>]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path


def test_no_text_of_others_can_become_markup(server: Running):
    for path, text in reachable(server).items():
        if path.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)


@pytest.mark.parametrize("path", ["/docs", "/docs/reader.js"])
def test_the_pages_may_run_and_reach_only_their_own(server: Running, path: str):
    policy = server.request("GET", path, token=None).headers["content-security-policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"


def test_a_path_outside_the_pages_is_nothing(server: Running):
    for path in ("/docs/", "/docs/../app.py", "/docs/..%2Fapp.py", "/docs/app.py"):
        assert server.request("GET", path, token=None).status == 404


def test_the_bare_address_leads_to_the_reader(server: Running):
    reply = server.request("GET", "/", token=None)
    assert (reply.status, reply.headers["location"]) == (307, "/docs")
