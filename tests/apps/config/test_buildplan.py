"""How a source is built is seen from its files; generated Containerfiles are kept word for word.

COVEY_REFRESH_GOLDEN=1 writes them anew; then read what changed.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.config.buildplan import (
    DockerfileBuild,
    GeneratedBuild,
    SiteBuild,
    is_public,
    leads_out,
    plan_files,
    prepare,
)
from covey.apps.config.load import parse_app_file
from covey.apps.config.merge import effective, override
from covey.apps.config.model import AppConfig, Process, StaticSite
from covey.apps.config.tree import MOST_NAMES, SourceTree, read_tree, wanted_texts
from covey.errors import CoveyError
from tests.apps.config.sources import FLASK, MANAGE, SOURCES, package, tree, write
from tests.apps.config.texts import refusal

GOLDEN = Path(__file__).with_name("containerfiles")
EXAMPLES = Path(__file__).parents[3] / "examples/apps"
INSTRUCTION = re.compile(r"(FROM|ENV|ARG|WORKDIR|COPY|RUN|EXPOSE|USER|CMD|#) ")


def config(text: str) -> AppConfig:
    return effective(parse_app_file(text)).config


def golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.Containerfile"
    if os.environ.get("COVEY_REFRESH_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("name", SOURCES)
def test_generated_containerfiles(name: str) -> None:
    plan = plan_files(AppConfig(), tree(SOURCES[name]))
    assert isinstance(plan, GeneratedBuild | SiteBuild)
    assert plan.text is not None
    golden(name, plan.text)


def test_a_generated_containerfile_with_all_that_the_file_can_ask_for() -> None:
    asked = config(
        'port = 9000\nprocesses.web = "gunicorn shop"\n'
        "[build]\nargs = { PIP_INDEX_URL = 'https://x' }\nsecrets = ['PIP_TOKEN']\n"
        "command = '''\npython manage.py collectstatic --noinput\necho built\n'''\n"
        "[[volumes]]\nname = 'data'\npath = '/data/the files'\n"
    )
    plan = plan_files(asked, tree(SOURCES["python-django-uv"]))
    assert isinstance(plan, GeneratedBuild)
    golden("python-everything", plan.text)


@pytest.mark.parametrize("name", [*SOURCES, "python-everything"])
def test_what_every_generated_containerfile_keeps_to(name: str) -> None:
    text = (GOLDEN / f"{name}.Containerfile").read_text("utf-8")
    joined = text.replace("\\\n", "")
    lines = [line for line in joined.splitlines() if line]
    assert [line for line in lines if not INSTRUCTION.match(line)] == []
    bases = re.findall(r"^FROM (\S+)", joined, re.MULTILINE)
    assert all(re.fullmatch(r"docker\.io/library/[a-z]+:[0-9][\w.-]*", base) for base in bases)
    if len(bases) > 1:
        assert joined.index("\nUSER ") < joined.index("\nCMD ")
    first = next(line for line in lines if line.startswith("COPY") and "--from" not in line)
    assert lines.index(first) < lines.index("COPY . .") or first == "COPY . ."


@pytest.mark.parametrize(
    "name, reason",
    [
        ("python-flask", "Python 3.13 with requirements.txt, Flask found in app.py."),
        ("python-django-uv", "Python 3.12 with uv (uv.lock), Django found in shop/wsgi.py."),
        (
            "python-pipenv-procfile",
            "Python 3.12 with pipenv (Pipfile.lock), started as the Procfile says.",
        ),
        ("node-pnpm-next", "Node 22 with pnpm (pnpm-lock.yaml), started by its start script."),
        ("go-commands", "Go (go.mod), started as server, built from ./cmd/server."),
        (
            "site-vite",
            "A static site: the directory dist, made by npm run build; Vite builds it.",
        ),
    ],
)
def test_the_reason_is_one_sentence(name: str, reason: str) -> None:
    assert plan_files(AppConfig(), tree(SOURCES[name])).reason == reason


def test_a_dockerfile_of_ones_own_comes_first(tmp_path: Path) -> None:
    write(tmp_path, {**SOURCES["python-flask"], "Containerfile": "FROM scratch\n"})
    plan = prepare(tmp_path).plan
    assert isinstance(plan, DockerfileBuild)
    assert (plan.context, plan.dockerfile, plan.outside) == (".", "Containerfile", False)


@pytest.mark.parametrize(
    "asked, dockerfile, outside",
    [
        ('dockerfile = "docker/web"', "docker/web", False),
        ('dockerfile = "docker/web"\ncontext = "app"', "docker/web", True),
        ('dockerfile = "app/Dockerfile"\ncontext = "app"', "Dockerfile", False),
        ('context = "app"', "Dockerfile", False),
        ('dockerfile = "Other"\ncontext = "app"', "Other", False),
    ],
)
def test_where_the_dockerfile_is(
    tmp_path: Path, asked: str, dockerfile: str, outside: bool
) -> None:
    files = {"docker/web": "", "app/Dockerfile": "", "app/Other": "", "covey.app.toml": ""}
    write(tmp_path, {**files, "covey.app.toml": f"[build]\n{asked}\n"})
    plan = prepare(tmp_path).plan
    assert isinstance(plan, DockerfileBuild)
    assert (plan.dockerfile, plan.outside) == (dockerfile, outside)


def test_a_dockerfile_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, {"covey.app.toml": 'build.dockerfile = "Dockerfile.web"'})
    assert refusal(lambda: prepare(tmp_path)).startswith("There is no file Dockerfile.web")


def test_a_context_that_leads_out_by_a_link(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app").symlink_to("/etc")
    (source / "covey.app.toml").write_text('build.context = "app"')
    assert refusal(lambda: prepare(source)).startswith("There is no directory app in the source")


def test_a_dockerfile_that_leads_out_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "web").symlink_to("/etc/passwd")
    (tmp_path / "app").mkdir()
    write(tmp_path, {"covey.app.toml": '[build]\ndockerfile = "web"\ncontext = "app"\n'})
    assert refusal(lambda: prepare(tmp_path)).startswith("There is no file web")


def test_links_that_a_site_must_not_show(tmp_path: Path) -> None:
    root = write(tmp_path / "site", {"a.css": "", "below/b.css": ""})
    for name, target in {
        "inside": "below/b.css",
        "absolute": str(root / "a.css"),
        "etc": "/etc",
        "up": "../other",
        "below/round": "../../site/a.css",
    }.items():
        (root / name).symlink_to(target)
    shown = [path.name for path in sorted(root.rglob("*")) if not leads_out(path, root)]
    assert shown == ["a.css", "below", "b.css", "round", "inside"]


def test_a_procfile_counts_where_covey_writes_the_containerfile(tmp_path: Path) -> None:
    write(tmp_path, SOURCES["python-pipenv-procfile"])
    found = prepare(tmp_path)
    assert found.config.release == "flask db upgrade"
    assert found.config.processes == {"worker": Process("python work.py")}
    assert found.file.tables["release"] == "flask db upgrade"
    (tmp_path / "covey.app.toml").write_text('release = "true"\n')
    assert prepare(tmp_path).config.release == "true"
    assert prepare(tmp_path, override({}, {"release": None})).config.release is None
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert prepare(tmp_path).config.processes == {}


def test_files_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, {"public/index.html": "", "public/404.html": "", "README.md": ""})
    found = prepare(tmp_path)
    assert isinstance(found.plan, SiteBuild)
    assert (found.plan.directory, found.plan.text) == ("public", None)
    assert found.config.build.static == StaticSite("public", not_found="404.html")


def test_a_site_that_a_command_makes(tmp_path: Path) -> None:
    write(tmp_path, {"covey.app.toml": '[build]\nstatic = "out"\ncommand = "sh make.sh"\n'})
    plan = prepare(tmp_path).plan
    assert isinstance(plan, SiteBuild)
    assert plan.text is not None
    assert "RUN sh make.sh" in plan.text
    assert plan.built_at == "/app/out"


def test_a_site_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, {"covey.app.toml": 'build.static = "dist"'})
    assert refusal(lambda: prepare(tmp_path)).startswith("There is no directory dist in the source")


def test_a_site_of_a_python_tool() -> None:
    asked = config('[build]\nstatic = "site"\ncommand = "mkdocs build"')
    plan = plan_files(asked, tree({"requirements.txt": "mkdocs", "mkdocs.yml": ""}))
    assert isinstance(plan, SiteBuild)
    assert plan.text is not None
    assert "pip install -r requirements.txt" in plan.text
    assert "RUN mkdocs build" in plan.text


@pytest.mark.parametrize(
    "files, told",
    [
        ({"README.md": "", "notes.txt": ""}, "at the top there is: README.md, notes.txt"),
        ({}, "the source is empty"),
        ({"requirements.txt": "requests", "tool.py": ""}, "does not see what starts it"),
        ({"package.json": package()}, "does not see what starts it"),
        ({"go.mod": "module x"}, "no package main"),
        ({"go.mod": "module x", "cmd/a/a.go": "", "cmd/b/b.go": ""}, "which of the commands a, b"),
    ],
)
def test_what_cannot_be_built(files: dict[str, str], told: str) -> None:
    assert told in refusal(lambda: plan_files(AppConfig(), tree(files)))


def test_a_command_of_ones_own_is_enough() -> None:
    asked = config('processes.web = "python tool.py"')
    plan = plan_files(asked, tree({"requirements.txt": "requests", "tool.py": ""}))
    assert isinstance(plan, GeneratedBuild)
    assert plan.text.endswith("CMD python tool.py\n")
    assert plan.reason == "Python 3.13 with requirements.txt, started as processes.web says."


def test_a_python_app_with_packages_of_node_is_a_python_app() -> None:
    files = {"package.json": package(), "manage.py": MANAGE, "shop/wsgi.py": ""}
    assert plan_files(AppConfig(), tree(files)).reason.startswith("Python")


def test_a_node_app_with_a_python_file_is_a_node_app() -> None:
    files = {"package.json": package(main="index.js"), "index.js": "", "main.py": ""}
    assert plan_files(AppConfig(), tree(files)).reason.startswith("Node")


@pytest.mark.parametrize("start", ["vite", "react-scripts start", "ng serve", "next dev"])
def test_a_development_server_is_not_deployed(start: str) -> None:
    files = {
        "package.json": package(
            scripts={"start": start, "build": "x"}, dependencies={"react-scripts": "5"}
        )
    }
    plan = plan_files(AppConfig(), tree(files))
    assert isinstance(plan, SiteBuild)
    assert plan.site == StaticSite("build", fallback="index.html")
    assert plan.warnings == (
        "There is no lock file of packages, so each build takes the newest that fit.",
    )


def test_secrets_of_the_source_are_neither_read_nor_copied(tmp_path: Path) -> None:
    write(tmp_path, {**SOURCES["python-flask"], ".env": "SECRET=1", ".env.local": "SECRET=2"})
    found = read_tree(tmp_path)
    assert not [name for name in found.texts if ".env" in name]
    plan = prepare(tmp_path).plan
    assert {".env", ".env.*", ".git"} <= set(plan.ignore)


def test_links_and_deep_or_many_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "package.json").symlink_to("/etc/passwd")
    write(tmp_path, {"a/b/c/d.py": "", "a/b/app.py": FLASK, "node_modules/x/app.py": FLASK})
    os.mkfifo(tmp_path / "go.mod")
    found = read_tree(tmp_path)
    assert found.names == {"package.json", "go.mod", "a/b/app.py"}
    assert found.texts == {"a/b/app.py": FLASK}
    many = tmp_path / "many"
    many.mkdir()
    for number in range(50):
        (many / str(number)).touch()
    assert len(read_tree(tmp_path).names) == 53 <= MOST_NAMES


@pytest.mark.parametrize("path", ["index.html", ".well-known/acme", "a/b.css", "a/deploy.toml"])
def test_what_a_site_shows(path: str) -> None:
    assert is_public(path)


@pytest.mark.parametrize("path", [".git/config", ".env", "a/.htpasswd", "covey.app.toml"])
def test_what_a_site_hides(path: str) -> None:
    assert not is_public(path)


TEXTS = st.sampled_from(
    ["", "{}", "[]", '{"scripts": 1, "engines": []}', "[project]\n", FLASK, "\0"]
)
NAMES = st.sampled_from(
    [
        *("package.json", "pyproject.toml", "app.py", "go.mod", "cmd/x y/main.go", "Procfile"),
        *("main.go", "a;rm/app.py", "requirements-\n.txt", "requirements.txt", "uv.lock"),
        "shop/wsgi.py",
    ]
)


@given(st.dictionaries(NAMES, TEXTS | st.text(max_size=30), max_size=5))
def test_any_files_are_planned_or_refused(files: dict[str, str]) -> None:
    names = frozenset(files)
    found = SourceTree(names, {name: files[name] for name in wanted_texts(names)})
    try:
        plan = plan_files(AppConfig(), found)
    except CoveyError:
        return
    text = getattr(plan, "text", None) or "# \n"
    lines = [line for line in text.replace("\\\n", "").splitlines() if line]
    assert [line for line in lines if not INSTRUCTION.match(line)] == []
    assert "\n" not in plan.reason


@pytest.mark.parametrize("name", ["python", "node", "static"])
def test_the_examples_are_planned_without_a_warning(name: str) -> None:
    found = prepare(EXAMPLES / name)
    assert found.warnings == ()
    assert found.config.app is not None
    assert isinstance(found.plan, SiteBuild if name == "static" else GeneratedBuild)


@pytest.mark.parametrize("name", [*SOURCES, "python-everything"])
def test_every_command_is_shell(name: str) -> None:
    text = (GOLDEN / f"{name}.Containerfile").read_text("utf-8")
    for kind, command in re.findall(r"^(RUN|CMD) (?:--mount=\S+ )*(.*)$", text, re.MULTILINE):
        if command.startswith("["):
            continue
        done = subprocess.run(
            ["sh", "-n", "-c", command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (kind, command, done.stderr)
