"""Sources that were made to hold up whoever looks at them."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.config.buildplan import GeneratedBuild, plan_files
from covey.apps.config.load import parse_app_file
from covey.apps.config.model import WEB, AppConfig, Build, Process, Volume
from covey.apps.config.toml_text import read_toml
from covey.apps.config.tree import SourceTree
from covey.errors import InvalidRequestError

_LONG = 250_000


@pytest.mark.parametrize(
    "texts",
    [
        {"app.py": "a:" + " " * _LONG, "requirements.txt": "flask"},
        {"app.py": "a" * _LONG, "requirements.txt": "flask"},
        {"main.py": "", "requirements.txt": "\n" * _LONG},
        {"main.py": "", "requirements.txt": " " * _LONG},
        {".nvmrc": " " * _LONG, "package.json": '{"scripts":{"start":"node x"}}'},
        {"package.json": '{"scripts":{"start":"' + "a " * (_LONG // 2) + '"}}'},
        {"main.py": "", "pyproject.toml": "a." * (_LONG // 2) + "a=1"},
        {"main.py": "", "pyproject.toml": f'[project]\nrequires-python=">={"1" * _LONG}"'},
        {"main.py": "", ".python-version": "\u0663." + "\u0663" * _LONG},
        {"main.py": "", "Procfile": "web" + " " * _LONG},
    ],
)
def test_no_text_of_a_source_costs_more_than_its_length(texts: dict[str, str]) -> None:
    # Once, each of these took minutes, and no other thread of the process ran meanwhile.
    assert plan_files(AppConfig(), SourceTree(frozenset(texts), texts))


def test_no_key_of_a_file_has_thousands_of_parts() -> None:
    for text in ("a." * 30_000 + "a = 1", 'a = {"x"' + '."x"' * 10_000 + " = 1}"):
        with pytest.raises(InvalidRequestError, match="nested too deeply"):
            parse_app_file(text)
    many = ", ".join(f'"10.0.{number}.0/24"' for number in range(200))
    assert read_toml(f"allow_from = [{many}]\n")


def test_lines_are_not_looked_for_without_end() -> None:
    text = 'x = """' + "\n" * 60_000 + '"""\ny = 1'
    with pytest.raises(InvalidRequestError, match="2 problems"):
        parse_app_file(text)


INSTRUCTIONS = re.compile(r"(?:# |FROM |ENV |ARG |WORKDIR |COPY |RUN |EXPOSE |USER |CMD |    \w)")
texts = st.text(st.sampled_from("ab /\\$`'\"<[\n\r\t#-=&;é"), min_size=1, max_size=20).filter(
    str.strip
)


@given(command=texts, start=texts, path=texts)
def test_no_text_of_the_file_becomes_an_instruction(command: str, start: str, path: str) -> None:
    config = AppConfig(
        build=Build(command=command),
        processes={WEB: Process(command=start)},
        volumes=(Volume("data", f"/{path}"),),
    )
    plan = plan_files(config, SourceTree(frozenset({"main.py", "requirements.txt"})))
    assert isinstance(plan, GeneratedBuild)
    lines = [line for line in plan.text.split("\n") if line]
    assert [line for line in lines if INSTRUCTIONS.match(line) is None] == []
    assert "\r" not in plan.text
    plain = [line for line in lines if line.endswith("\\")]
    assert all(line.startswith(("ENV ", "    ")) for line in plain), "a line that goes on"
    (made,) = (line for line in lines if "mkdir -p" in line)
    if not made.startswith("RUN ["):
        words = shlex.split(made.removeprefix("RUN mkdir -p "))
        assert words == [f"/{path}", "&&", "chown", "app", f"/{path}"]
