"""The app's file is found, read, and its mistakes are told with their lines."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.config.load import AppFile, load_app_file, parse_app_file
from covey.apps.config.merge import effective, override
from covey.apps.config.model import (
    AppConfig,
    Domain,
    HealthCheck,
    Limits,
    PathRedirect,
    Process,
    ScheduledCommand,
    StaticSite,
    Strategy,
    Volume,
)
from covey.apps.config.tables import read_tables
from covey.apps.routing.model import TlsMode
from covey.errors import CoveyError, InvalidRequestError
from tests.apps.config.texts import refusal

HASH = "$2y$12$" + "a" * 53
WHOLE = f"""
app = "shop"
port = 8000
release = "python manage.py migrate"

[build]
dockerfile = "docker/Dockerfile"
context = "./backend/"
args = {{ RELEASE = 7, DEBUG = false }}
target = "runtime"
secrets = ["NPM_TOKEN"]
ignore = ["*.md"]

[deploy]
strategy = "blue-green"
replicas = 2
healthcheck = {{ path = "/healthz", port = 9000, timeout = "500ms", interval = 2, status = 204 }}
healthcheck_timeout = "2m"
drain = "1m30s"
grace = 5
watch = "0s"
git = {{ branch = "main", paths = ["backend/**"] }}

[processes]
worker = "celery -A shop worker"
mailer = {{ command = "python mail.py", replicas = 3, resources = {{ memory = "64mb" }} }}

[resources]
cpu = "500m"
memory = "256Mi"
pids = 200

[env]
WORKERS = 4
DEBUG = false
GREETING = "hello"

[[volumes]]
name = "uploads"
path = "/srv/uploads/"

[[domains]]
host = "Shop.Example.org."
canonical = true
[[domains]]
host = "bücher.example"
path = "/shop"
strip = true
tls = "internal"

[cron]
nightly = {{ schedule = "@daily", command = "python tidy.py", zone = "Europe/Berlin" }}

[proxy]
basic_auth = {{ ann = "{HASH}" }}
allow_from = ["10.1.2.3/8", "::1"]
max_body = "10mb"
headers = {{ X-Frame-Options = "DENY" }}
redirects = [{{ from = "/old", to = "/new", permanent = false }}]
response_timeout = "30s"

[preview]
enabled = true
env = {{ GREETING = "hi" }}
"""


def config(text: str) -> AppConfig:
    return effective(parse_app_file(text)).config


def test_everything_that_a_file_can_say() -> None:
    found = config(WHOLE)
    assert (found.app, found.port) == ("shop", 8000)
    assert found.build.context == "backend"
    assert found.build.args == {"RELEASE": "7", "DEBUG": "false"}
    assert found.deploy.strategy is Strategy.BLUE_GREEN
    assert found.deploy.healthcheck == HealthCheck(
        path="/healthz", port=9000, timeout=0.5, interval=2.0, status="204-204"
    )
    assert (found.deploy.healthcheck_timeout, found.deploy.drain) == (120.0, 90.0)
    assert (found.deploy.grace, found.deploy.watch) == (5.0, 0.0)
    assert found.deploy.git.paths == ("backend/**",)
    assert found.processes == {
        "worker": Process("celery -A shop worker"),
        "mailer": Process("python mail.py", 3, Limits(memory=64 << 20)),
    }
    assert found.resources == Limits(cpu=0.5, memory=256 << 20, pids=200)
    assert found.env == {"WORKERS": "4", "DEBUG": "false", "GREETING": "hello"}
    assert found.volumes == (Volume("uploads", "/srv/uploads"),)
    assert found.domains == (
        Domain("shop.example.org", canonical=True),
        Domain("xn--bcher-kva.example", path="/shop", strip=True, tls=TlsMode.INTERNAL),
    )
    assert found.cron == {
        "nightly": ScheduledCommand("0 0 * * *", "python tidy.py", "Europe/Berlin")
    }
    assert found.proxy.allow_from == ("10.0.0.0/8", "::1/128")
    assert found.proxy.max_body == 10 << 20
    assert found.proxy.redirects == (PathRedirect("/old", "/new", permanent=False),)
    assert found.proxy.response_timeout == 30.0
    assert found.preview.env == {"GREETING": "hi"}


def test_what_follows_from_it() -> None:
    found = config(WHOLE)
    assert [found.replicas(name) for name in ("web", "worker", "mailer")] == [2, 1, 3]
    assert found.limits("mailer") == Limits(cpu=0.5, memory=64 << 20, pids=200)
    assert found.limits("web") == found.resources
    assert config("").healthcheck == HealthCheck(tcp=True)


def test_short_forms() -> None:
    found = config(
        'domains = ["a.example", { host = "b.example" }]\n'
        'processes.worker = "work"\n'
        'deploy.healthcheck = "/up"\n'
    )
    assert [item.host for item in found.domains] == ["a.example", "b.example"]
    assert found.healthcheck == HealthCheck(path="/up")
    assert config('build.static = "dist"').build.static == StaticSite("dist")


def test_an_app_needs_no_file(tmp_path: Path) -> None:
    file = load_app_file(tmp_path)
    assert file == AppFile()
    assert effective(file).config == AppConfig()


@pytest.mark.parametrize("name", ["covey.app.toml", "deploy.toml"])
def test_both_names_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'\xef\xbb\xbfapp = "shop"\r\nport = 1\r\n')
    file = load_app_file(tmp_path)
    assert (file.name, file.tables) == (name, {"app": "shop", "port": 1})


def test_two_files_are_one_too_many(tmp_path: Path) -> None:
    for name in ("covey.app.toml", "deploy.toml"):
        (tmp_path / name).write_text("")
    assert refusal(lambda: load_app_file(tmp_path)) == (
        "Both covey.app.toml and deploy.toml are there, and only covey.app.toml would be used.\n"
        "> Move what is needed into covey.app.toml, and remove deploy.toml."
    )


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    """A repository's link could show a file of the machine that deploys it."""
    (tmp_path / "covey.app.toml").symlink_to("/etc/passwd")
    assert "is not a plain file" in refusal(lambda: load_app_file(tmp_path))


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "covey.app.toml")
    assert "is not a plain file" in refusal(lambda: load_app_file(tmp_path))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "covey.app.toml").mkdir()
    assert "is not a plain file" in refusal(lambda: load_app_file(tmp_path))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deploy.toml").write_text("#" * 70_000)
    assert "larger than 64 KiB" in refusal(lambda: load_app_file(tmp_path))


def test_what_is_kept_can_be_stored_and_read_again() -> None:
    file = parse_app_file(WHOLE)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(file), type=AppFile)
    assert stored == file
    found = effective(stored).config
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=AppConfig) == found


def test_reading_what_was_kept_changes_nothing() -> None:
    kept = parse_app_file(WHOLE).tables
    assert read_tables(kept) == (kept, [])


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    error = None
    try:
        effective(parse_app_file(text))
    except InvalidRequestError as caught:
        error = caught
    assert error is None or (error.message.startswith("covey.app.toml") and error.hint)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*AppConfig.__struct_fields__, "other"])


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_tables_are_read_or_refused(tables: dict[str, object]) -> None:
    error = None
    try:
        effective(AppFile(), override({}, tables))
    except CoveyError as caught:
        error = caught
    assert error is None or error.message


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 20_000, "a = " + "9" * 10_000, "a." * 500 + "b = 1"]
)
def test_texts_made_to_break_a_parser_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_app_file(text)


def test_the_sample_is_toml() -> None:
    assert tomllib.loads(WHOLE)["app"] == "shop"
