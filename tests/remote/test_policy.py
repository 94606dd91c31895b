"""The rules of `[access]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from covey.errors import InvalidRequestError
from covey.operations.access import Limits, Role
from covey.remote.policy import limits_of
from covey.settings import load, load_settings
from covey.settings_access import AccessRule

FREYA = "f1" * 16


def limits(*rules: AccessRule, role: Role = Role.OPERATOR, default: bool = True) -> Limits:
    return limits_of(rules, member="freya", node_id=FREYA, role=role, allow_by_default=default)


def test_without_rules_the_default_holds():
    assert limits() == Limits()
    assert not limits(default=False).permit("env.list")


@pytest.mark.parametrize("member", ["freya", "FREYA", "fr*", "*", FREYA, FREYA[:8]])
def test_a_rule_names_members_by_name_pattern_or_id(member: str):
    rule = AccessRule(members=("odin", member), deny=("exec.*",))
    assert not limits(rule).permit("exec.run")
    assert limits(rule).permit("env.list")


@pytest.mark.parametrize("member", ["frey", "odin", FREYA[:7], "e1" * 4])
def test_a_rule_for_others_does_not_count(member: str):
    assert limits(AccessRule(members=(member,), deny=("*",))) == Limits()


def test_a_machine_that_is_named_like_an_id_is_not_that_member():
    rule = AccessRule(members=(FREYA,), allow=("exec.*",))
    found = limits_of([rule], member=FREYA, node_id="0" * 32, role=Role.ADMIN)
    assert found == Limits()


def test_a_token_is_of_no_member():
    rules = (AccessRule(members=("*",), deny=("*",)), AccessRule(deny=("exec.*",)))
    found = limits_of(rules, member="", node_id="", role=Role.ADMIN)
    assert found.permit("env.list")
    assert not found.permit("exec.run")


def test_a_rule_for_roles_counts_for_those_alone():
    rule = AccessRule(roles=("viewer", "developer"), deny=("*",))
    assert limits(rule, role=Role.OPERATOR).permit("exec.run")
    assert not limits(rule, role=Role.DEVELOPER).permit("exec.run")


def test_what_is_allowed_somewhere_denies_the_rest():
    found = limits(AccessRule(allow=("exec.*",)), AccessRule(allow=("env.list",)))
    assert found.permit("exec.run")
    assert found.permit("env.list")
    assert not found.permit("env.get")


def test_a_denial_goes_before_what_is_allowed():
    found = limits(AccessRule(deny=("exec.kill",)), AccessRule(allow=("exec.*",)), default=False)
    assert found.permit("exec.run")
    assert not found.permit("exec.kill")


def test_the_first_user_counts_among_the_rules_that_fit():
    rules = (
        AccessRule(members=("odin",), as_user="nobody"),
        AccessRule(allow=("exec.*",)),
        AccessRule(as_user="guest"),
        AccessRule(as_user="root"),
    )
    assert limits(*rules).as_user == "guest"
    assert limits(*rules[:2]).as_user is None


TOML = """
[access]
default = "deny"
[[access.rule]]
members = ["frigg"]
roles = ["developer"]
allow = ["exec.*"]
deny = ["exec.kill"]
as_user = "guest"
[[access.rule]]
allow = ["env.list"]
"""


def test_rules_are_read_from_the_file_and_the_environment(tmp_path: Path):
    path = tmp_path / "covey.toml"
    path.write_text(TOML)
    access = load_settings(str(path), {}).access
    assert access.default == "deny"
    assert access.rule == (
        AccessRule(("frigg",), ("developer",), ("exec.*",), ("exec.kill",), "guest"),
        AccessRule(allow=("env.list",)),
    )
    environ = {"COVEY_ACCESS_RULE": '[{"deny": ["exec.*"]}]'}
    assert load(str(path), environ).settings.access.rule == (AccessRule(deny=("exec.*",)),)


@pytest.mark.parametrize(
    "rule,told",
    [
        ('roles = ["king"]', "king is no role"),
        ('alow = ["*"]', "alow"),
        ('members = ["frigg"]', "allows, denies or names"),
        ('allow = "exec.*"', "allow"),
        ('as_user = ""', "names no user"),
    ],
)
def test_a_rule_that_is_none_says_why(tmp_path: Path, rule: str, told: str):
    path = tmp_path / "covey.toml"
    path.write_text(f"[[access.rule]]\n{rule}\n")
    with pytest.raises(InvalidRequestError) as refused:
        load_settings(str(path), {})
    assert told in refused.value.message
    assert "covey.toml, line" in refused.value.message
