from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import InvalidRequestError, StorageError
from covey.settings import (
    Address,
    Settings,
    describe,
    load,
    load_settings,
    parse_address,
    parse_duration,
    parse_size,
)
from covey.settings_file import line_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "covey.toml"


def refused(path: Path | str, environ: dict[str, str] | None = None) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        load_settings(str(path), environ or {})
    return caught.value


def test_without_a_file_every_key_has_its_default(file: Path):
    settings = load_settings(str(file), {})
    assert settings == Settings()
    assert settings.server.listen == "0.0.0.0:13500"
    assert (settings.store.retention_days, settings.store.keep_versions) == (90, 10)


def test_the_file_and_then_the_environment_win(file: Path):
    file.write_text(
        '[node]\nname = "frigg"\n[api]\nmax_body_bytes = "2 MiB"\n'
        '[fleet]\ncertificate_days = "12w"\npeers = ["freya", "[::1]:99"]\n'
        '[env]\nfile_roots = ["~/x/../y"]\n'
    )
    environ = {"COVEY_NODE_NAME": "odin", "COVEY_LOG_LEVEL": "WARNING", "COVEY_LOG_KEEP": ""}
    loaded = load(str(file), {**environ, "HOME": "/home/me", "PATH": "/bin"})
    settings = loaded.settings
    assert settings.node.name == "odin"
    assert settings.api.max_body_bytes == 2 << 20
    assert settings.fleet.certificate_days == 84
    assert settings.fleet.peers == ("freya:13500", "[::1]:99")
    assert settings.env.file_roots == (str(Path("~/y").expanduser()),)
    assert (settings.log.level, settings.log.keep) == ("warning", 5)
    assert loaded.sources["node.name"] == "environment"
    assert loaded.sources["fleet.peers"] == "file"
    assert loaded.warnings == ()


def test_every_setting_can_be_given_in_the_file_and_in_the_environment(file: Path):
    for item in describe():
        section, key = item.key.split(".")
        value = list(item.default) if isinstance(item.default, tuple) else item.default
        file.write_text(tomli_w.dumps({section: {key: value}}))
        loaded = load(str(file), {})
        assert loaded.sources == {item.key: "file"}
        assert loaded.settings == Settings()
        text = ",".join(item.default) if isinstance(item.default, tuple) else str(item.default)
        if text:
            loaded = load("/none", {item.variable: text})
            assert loaded.sources == {item.key: "environment"}
            assert loaded.settings == Settings()
        assert item.help.endswith(".")


def test_a_description_tells_the_source(file: Path):
    file.write_text("[log]\nkeep = 7\n")
    found = {item.key: item for item in describe(load(str(file), {"COVEY_NODE_NAME": "a"}))}
    assert (found["log.keep"].value, found["log.keep"].default) == (7, 5)
    assert found["log.keep"].source == "file"
    assert found["node.name"].source == "environment"
    assert found["log.level"].source == "default"


@pytest.mark.parametrize(
    "text, line, key, nearest",
    [
        ('# a\n[server]\nlisten = "a:1"\nlisen = 1\n', 4, "server.lisen", "server.listen"),
        ("[sever]\nlisten = 1\n", 1, "sever", "server"),
        ("\n\nserver.lisen = 1\n", 3, "server.lisen", "server.listen"),
        ("server = { lisen = 1 }\n", 1, "server.lisen", "server.listen"),
        ('name = "frigg"\n', 1, "name", "node.name"),
        ("[node]\nretention_days = 3\n", 2, "node.retention_days", "store.retention_days"),
        ("[node]\nqqqqqqqq = 3\n", 2, "node.qqqqqqqq", None),
        (
            '[env]\nop_command = """\n[node]\nnmae = 1\n"""\n[node]\nnmae = 1',
            2,
            "env.op_command",
            0,
        ),
        ('[server]\nadvertise = [\n "a:1",\n # x\n]\nzzz = 1\n', 6, "server.zzz", None),
        ("[server.listen]\na = 1\n", 1, "server.listen", 0),
        ("[[node]]\nname = 1\n", 1, "node", 0),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_nearest_key(
    file: Path, text: str, line: int, key: str, nearest: str | int | None
):
    file.write_text(text)
    error = refused(file)
    assert error.message.startswith(f"{file}, line {line}: ")
    assert key in error.message
    assert error.details["line"] == line
    if nearest is None:
        assert error.hint == "See them all: covey config show"
    elif isinstance(nearest, str):
        assert error.hint == f"Did you mean {nearest}?"
    else:
        assert "nearest" not in error.details


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[log]\nkeep = true", "log.keep is not valid: true is not a whole number"),
        ("[log]\nkeep = 0", "0 is outside 1 to 100"),
        ('[log]\nkeep = "5"', '"5" is not a whole number'),
        ('[log]\nlevel = "loud"', "'loud' is not one of debug, info, warning, error"),
        ("[log]\nlevel = 3", "3 is not one of debug"),
        ('[log]\nmax_bytes = "8 MM"', "'8 MM' is not a size such as 4096, 500 kB or 8 MiB"),
        ("[log]\nmax_bytes = 1.5", "1.5 is not a number of bytes"),
        ('[store]\nretention_days = "12h"', "'12h' is not a whole number of days"),
        ('[server]\nlisten = "13500"', "'13500' has no port"),
        ('[server]\nlisten = "a:99999"', "99999 is not a port"),
        ('[server]\nadvertise = "a:1"', '"a:1" is not a list in square brackets'),
        ("[fleet]\npeers = [1]", "1 is not text in quotes"),
        ('[env]\nallow_commands = ["date"]', "'date' is not an absolute path"),
        ('[node]\nname = "-x"', "'-x' is not a name"),
        ('[proxy]\ntrusted_proxies = ["all"]', "'all' is not a network such as 10.0.0.0/8"),
    ],
)
def test_a_value_of_the_wrong_form_is_explained(file: Path, text: str, reason: str):
    file.write_text(text)
    error = refused(file)
    assert reason in error.message
    assert error.message.startswith(f"{file}, line 2: ")
    assert error.hint is not None
    assert error.hint.startswith("It wants: ")


def test_what_is_no_toml_or_no_text_is_refused(file: Path):
    file.write_text("[node]\nname = \n")
    assert "not valid TOML" in refused(file).message
    assert "line 2" in refused(file).message
    file.write_bytes(b"[node]\n\nname = '\xff'\n")
    assert refused(file).message == f"{file}, line 3: not UTF-8 text."
    file.write_bytes(b"#" * (1 << 20) + b"#")
    assert "larger than 1 MiB" in refused(file).message


def test_a_file_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path):
    with pytest.raises(StorageError, match="Is a directory"):
        load_settings(str(tmp_path), {})


def test_a_mistyped_variable_is_refused_or_warned_of():
    error = refused("/none", {"COVEY_SERVER_LISEN": "a:1"})
    assert error.hint == "Did you mean COVEY_SERVER_LISTEN?"
    warned = load("/none", {"COVEY_SERVR_LISTEN": "a:1"}).warnings
    assert warned == (
        "COVEY_SERVR_LISTEN is no setting of Covey; did you mean COVEY_SERVER_LISTEN?",
    )


def test_variables_of_others_are_left_alone():
    environ = {
        "COVEY_HOME": "/x",
        "COVEY_URL": "https://x",
        "COVEY_TOKEN": "t",
        "COVEY_TOKEN_FILE": "f",
        "COVEY_SERVER_SERVICE_HOST": "10.0.0.1",
        "COVEY_SERVER_SERVICE_PORT_HTTPS": "13500",
        "COVEY_SERVER_PORT": "tcp://10.0.0.1:13500",
        "COVEY_SERVER_PORT_13500_TCP_ADDR": "10.0.0.1",
        "COVEY_DEPLOY_TARGET": "mine",
    }
    assert load("/none", environ).warnings == ()


def test_a_variable_of_the_wrong_form_is_explained():
    error = refused("/none", {"COVEY_LOG_KEEP": "many"})
    assert (
        error.message
        == "The environment variable COVEY_LOG_KEEP is not valid: 'many' is not a whole number."
    )


NAMES = st.text(alphabet="abcdefgh_", min_size=1, max_size=8)
VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4))
def test_every_key_of_any_document_has_its_line(tables: dict[str, dict[str, object]]):
    text = tomli_w.dumps(tables)
    lines = text.splitlines()
    for section, table in tables.items():
        for key in table:
            found = lines[line_of(text, (section, key)) - 1]
            assert key in found or section in found


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_any_document_of_strange_keys_is_refused_with_a_line(tables: dict[str, object]):
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_text(tomli_w.dumps({"node": tables}), "utf-8")
        assert refused(file.name).details["line"]


@given(st.integers(min_value=0, max_value=65_535), st.ip_addresses())
def test_addresses_round_trip(port: int, host: object):
    made = Address(str(host), port)
    assert parse_address(str(made)) == made


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str):
    with suppress(ValueError):
        found = parse_address(text)
        assert parse_address(str(found)) == found


def test_addresses_of_every_kind():
    assert parse_address("frigg.local:1") == Address("frigg.local", 1)
    assert parse_address("[fe80::1%eth0]:1") == Address("fe80::1%eth0", 1)
    for bad in ("", ":1", "a:", "a:b", "::1:5", "a b:1", "u@h:1", "http://a:1"):
        with pytest.raises(ValueError, match="is not an address"):
            parse_address(bad)


@pytest.mark.parametrize(
    "text, count",
    [("0", 0), ("4096", 4096), ("500 kB", 500_000), ("8MiB", 8 << 20), (" 1 gib ", 1 << 30)],
)
def test_sizes(text: str, count: int):
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text, seconds",
    [("90d", 7_776_000), ("1h30m", 5400), ("1w 2d", 777_600), ("5 s", 5)],
)
def test_durations(text: str, seconds: int):
    assert parse_duration(text) == seconds


@given(st.text(alphabet="0123456789smhdwkKMGiB .-", max_size=10))
def test_any_text_is_a_size_and_a_duration_or_refused(text: str):
    for parse in (parse_size, parse_duration):
        with suppress(ValueError):
            assert parse(text) >= 0
