"""The line of a key is found wherever TOML lets it stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.config.lines import find_line
from covey.apps.config.tables import Path

TEXT = '''\
# The shop.
app = "shop"

build.args = {A = 1}
build.secrets = [
  "NPM_TOKEN",
]
[deploy]
replicas = 2 # two
healthcheck = """
/healthz"""

[[domains]]
host = "a.example"
[[domains]]
# The second.
host = "b.example"
path = "/b"
[processes]
'''


@pytest.mark.parametrize(
    "path, line",
    [
        (("app",), 2),
        (("build", "args", "A"), 4),
        (("build", "secrets", 0), 5),
        (("deploy",), 8),
        (("deploy", "replicas"), 9),
        (("deploy", "healthcheck"), 10),
        (("domains", 0, "host"), 14),
        (("domains", 1), 15),
        (("domains", 1, "host"), 17),
        (("domains", 1, "path"), 18),
        (("processes",), 19),
        (("domains", 2), None),
        (("nothing",), None),
    ],
)
def test_where_it_stands(path: Path, line: int | None) -> None:
    assert find_line(TEXT, path) == line


@given(st.integers(1, 200), st.data())
def test_one_key_among_many(count: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(0, count - 1))
    gaps = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    text, place = "", 0
    for number, gap in enumerate(gaps):
        text += "\n" * gap
        if number == wanted:
            place = text.count("\n") + 1
        text += f"k{number} = '''\n'''\n" if gap == 2 else f"k{number} = 1\n"
    assert find_line(text, (f"k{wanted}",)) == place


def test_a_text_made_to_be_slow_is_given_up() -> None:
    """Each beginning but the whole is no document, so that all would have to be tried."""
    text = "a = [\n" + "1,\n" * 20_000 + "]\nb = 1\n"
    assert find_line(text, ("b",)) in {None, 20_003}
