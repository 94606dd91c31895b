"""What commands set wins over the file, and everyone can see where a value is from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.config.load import AppFile, parse_app_file
from covey.apps.config.merge import (
    Origin,
    effective,
    explain,
    merge_tables,
    override,
    override_text,
    without_override,
)
from covey.apps.config.model import HealthCheck, Process, Strategy
from tests.apps.config.texts import refusal

FILE = parse_app_file(
    'app = "shop"\nport = 8000\ndomains = ["a.example"]\n'
    '[deploy]\nreplicas = 2\ndrain = "1m"\n'
    'healthcheck = { path = "/up", port = 9000, timeout = 2 }\n'
    '[processes]\nworker = "work"\n[env]\nGREETING = "hello"\nCOLOR = "red"\n'
)


def test_a_typed_value_is_read_as_the_file_would_be() -> None:
    overrides = override_text({}, "deploy.drain", "1m30s")
    overrides = override_text(overrides, "deploy.replicas", "3")
    overrides = override_text(overrides, "deploy.strategy", "blue-green")
    overrides = override_text(overrides, "env.GREETING", "007")
    overrides = override_text(overrides, "proxy.compress", "false")
    overrides = override_text(overrides, "processes.mailer", "mail me")
    overrides = override_text(overrides, "domains", '["b.example", "c.example"]')
    found = effective(FILE, overrides).config
    assert (found.deploy.drain, found.deploy.replicas) == (90.0, 3)
    assert found.deploy.strategy is Strategy.BLUE_GREEN
    assert found.env == {"GREETING": "007", "COLOR": "red"}
    assert not found.proxy.compress
    assert found.processes == {"worker": Process("work"), "mailer": Process("mail me")}
    assert [domain.host for domain in found.domains] == ["b.example", "c.example"]


def test_tables_are_read_as_the_file_would_be() -> None:
    overrides = override({}, {"resources": {"memory": "64mb"}, "env": {"COLOR": None}})
    found = effective(FILE, overrides).config
    assert found.resources.memory == 64 << 20
    assert found.env == {"GREETING": "hello"}


def test_a_check_of_another_kind_takes_the_place_of_the_first() -> None:
    found = effective(FILE, override_text({}, "deploy.healthcheck", "{ command = 'true' }")).config
    assert found.deploy.healthcheck == HealthCheck(command="true", timeout=2.0)
    found = effective(FILE, override_text({}, "deploy.healthcheck", "/other")).config
    assert found.deploy.healthcheck == HealthCheck(path="/other", port=9000, timeout=2.0)
    found = effective(FILE, override({}, {"deploy": {"healthcheck": None}})).config
    assert found.deploy.healthcheck is None


@pytest.mark.parametrize("key", ["deploy.replicas", "processes.web.replicas"])
def test_replicas_of_web_have_two_names(key: str) -> None:
    other = parse_app_file("deploy.replicas = 2")
    third = parse_app_file("processes.web = { replicas = 4 }")
    for file in (other, third):
        assert effective(file, override_text({}, key, "3")).config.replicas("web") == 3


def test_one_value_of_a_process_can_be_set() -> None:
    found = effective(FILE, override_text({}, "processes.worker.replicas", "5")).config
    assert found.processes["worker"] == Process("work", 5)
    told = refusal(lambda: effective(AppFile(), override_text({}, "processes.x.replicas", "5")))
    assert told.startswith(
        "A setting of the app that wins over its file: processes.x has no command."
    )


def test_an_override_is_taken_away_again() -> None:
    overrides = override_text(override_text({}, "deploy.replicas", "3"), "port", "1")
    assert without_override(overrides, "deploy.replicas") == {"port": 1}
    assert "is not overridden" in refusal(lambda: without_override({}, "deploy.replicas"))


def test_mistakes_name_the_override_or_the_line() -> None:
    assert refusal(lambda: override_text({}, "deploy.replica", "3")) == (
        "there is no key deploy.replica.\n> Did you mean deploy.replicas?"
    )
    assert "is not a whole number" in refusal(lambda: override_text({}, "deploy.replicas", "many"))
    assert "is not a key" in refusal(lambda: override_text({}, "deploy replicas", "3"))
    file = parse_app_file('\n[deploy]\nstrategy = "recreate"')
    told = refusal(lambda: effective(file, override_text({}, "deploy.replicas", "3")))
    assert told.startswith('covey.app.toml, line 3: deploy.strategy is "recreate" for 3 replicas.')


def test_overrides_of_another_version_are_refused_not_a_crash() -> None:
    assert "wins over its file is not valid" in refusal(lambda: effective(FILE, {"prot": 1}))


def test_where_each_value_is_from() -> None:
    overrides = override(
        {}, {"deploy": {"replicas": 3}, "domains": ["b.example"], "env": {"COLOR": None}}
    )
    found = {item.key: (item.value, item.origin) for item in explain(FILE, overrides)}
    assert found["app"] == ("shop", Origin.FILE)
    assert found["deploy.drain"] == ("1m", Origin.FILE)
    assert found["deploy.grace"] == ("10s", Origin.DEFAULT)
    assert found["deploy.replicas"] == (3, Origin.OVERRIDE)
    assert found["domains[0].host"] == ("b.example", Origin.OVERRIDE)
    assert found["env.GREETING"] == ("hello", Origin.FILE)
    assert "env.COLOR" not in found
    taken = override({}, {"deploy": {"drain": None}})
    back = {item.key: (item.value, item.origin) for item in explain(FILE, taken)}
    assert back["deploy.drain"] == ("30s", Origin.OVERRIDE)


def test_hashes_of_passwords_are_not_told() -> None:
    hashed = "$2b$12$" + "x" * 53
    shown = explain(AppFile(), override({}, {"proxy": {"basic_auth": {"ann": hashed}}}))
    assert hashed not in str(shown)
    assert any(item.key == "proxy.basic_auth.ann" for item in shown)


LEAVES = st.dictionaries(
    st.sampled_from(["x", "y"]), st.none() | st.integers() | st.lists(st.integers()), max_size=2
)
TABLES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda leaves, tables: {**leaves, **tables},
        LEAVES,
        st.dictionaries(st.sampled_from(["deploy", "a"]), inner, max_size=2),
    ),
    max_leaves=6,
)


def without_none(tables: object) -> object:
    if not isinstance(tables, dict):
        return tables
    return {name: without_none(value) for name, value in tables.items() if value is not None}


@given(TABLES)
def test_nothing_over_or_under_changes_nothing(tables: dict[str, object]) -> None:
    assert merge_tables(tables, {}, keep_none=True) == tables
    assert merge_tables({}, tables) == without_none(tables)


@given(TABLES, TABLES, TABLES)
def test_what_is_collected_counts_as_if_set_in_turn(
    file: dict[str, object], first: dict[str, object], second: dict[str, object]
) -> None:
    base = without_none(file)
    assert isinstance(base, dict)
    once = merge_tables(base, merge_tables(first, second, keep_none=True))
    assert once == merge_tables(merge_tables(base, first), second)
