from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.env.expansion import (
    ExpansionError,
    Reference,
    Scheme,
    check_expandable,
    expand,
    looks_expandable,
)
from covey.env.model import Stored
from covey.env.resolve import Layered, Resolution, layer
from covey.env.scope import FLEET, Place, Scope
from covey.errors import InvalidRequestError
from covey.store.api import VersionId


def _at(scope: str, value: str, *, expand: bool = False) -> Layered:
    return Layered(Scope.parse(scope), Stored(value, expand=expand), VersionId("0.1"), 0)


def _resolution(*found: tuple[str, Layered]) -> Resolution:
    return Resolution(layer(found))


def _expanding(**texts: str) -> Resolution:
    return _resolution(*((name, _at("fleet", text, expand=True)) for name, text in texts.items()))


LABEL = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,10}\Z")
SCOPES = st.one_of(
    st.just(FLEET),
    LABEL.map(Scope.of_project),
    st.tuples(LABEL, LABEL).map(lambda pair: Scope.of_environment(*pair)),
    LABEL.map(Scope.of_host),
)


@given(SCOPES)
def test_scopes_read_back(scope: Scope) -> None:
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text", ["", "fleet:", "fleet:x", "project:", "project:a/b", "environment:a", "host:", "x:y"]
)
def test_malformed_scopes_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        Scope.parse(text)


def test_an_environment_needs_its_project() -> None:
    with pytest.raises(InvalidRequestError, match="project"):
        Place(environment="dev").scopes()


def test_the_narrowest_scope_wins_and_names_what_it_shadows() -> None:
    order = ["fleet", "project:shop", "environment:shop/dev", "host:frigg"]
    for count in range(1, 5):
        found = [("A", _at(scope, scope)) for scope in reversed(order[:count])]
        resolution = _resolution(*found)
        assert resolution.value("A") == order[count - 1]
        shadowed = [str(item.scope) for item in resolution.shadowed("A")]
        assert shadowed == order[: count - 1][::-1]


def test_place_lists_the_scopes_that_apply() -> None:
    assert [str(scope) for scope in Place("shop", "dev", "Frigg").scopes()] == [
        "fleet",
        "project:shop",
        "environment:shop/dev",
        "host:frigg",
    ]


@given(st.text())
def test_a_literal_value_is_never_touched(text: str) -> None:
    assert _resolution(("A", _at("fleet", text))).value("A") == text


@given(st.text().filter(lambda text: not looks_expandable(text)))
def test_expansion_touches_nothing_without_a_marker(text: str) -> None:
    assert expand(text, lambda _name: None) == text


@given(st.text())
def test_any_text_can_be_escaped(text: str) -> None:
    assert expand(text.replace("${", "$${"), lambda _name: None) == text


def test_references_between_variables() -> None:
    resolution = _expanding(A="${B}/x", B="${C:-none}-${D:-${C:-deep}}", D="d")
    assert resolution.value("A") == "none-d/x"


def test_escape_and_lone_dollars() -> None:
    assert _expanding(A="$${B} $B $ $$ $(x) }").value("A") == "${B} $B $ $$ $(x) }"


def test_default_stands_in_for_unset_and_empty_only() -> None:
    assert _expanding(A="${B:-x}", B="").value("A") == "x"
    assert _expanding(A="${B:-${MISSING}}", B="b").value("A") == "b"


def test_missing_reference_is_named() -> None:
    with pytest.raises(ExpansionError, match="MISSING, which is not set"):
        _expanding(A="${MISSING}").value("A")


def test_a_cycle_is_named_whole() -> None:
    with pytest.raises(ExpansionError, match="A → B → C → A is a cycle"):
        _expanding(A="${B}", B="${C}", C="x${A}").value("A")


def test_an_unused_default_makes_no_cycle() -> None:
    assert _expanding(A="${B:-${A}}", B="b").value("A") == "b"


def test_a_variable_may_extend_what_it_shadows() -> None:
    resolution = _resolution(
        ("OPTS", _at("fleet", "-a")),
        ("OPTS", _at("project:shop", "${OPTS} -b", expand=True)),
        ("OPTS", _at("host:frigg", "${OPTS} -c", expand=True)),
    )
    assert resolution.value("OPTS") == "-a -b -c"


def test_a_variable_that_extends_nothing_is_an_error() -> None:
    with pytest.raises(ExpansionError, match="refers to itself"):
        _expanding(A="${A}x").value("A")


def test_one_broken_variable_does_not_break_the_others() -> None:
    values, problems = _expanding(A="${X}", B="b").values()
    assert values == {"B": "b"}
    assert [problem.name for problem in problems] == ["A"]


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A", "${A:", "${A:-x", "${A-x}", "cmd:'x"])
def test_malformed_expansions_are_refused(text: str) -> None:
    with pytest.raises(ExpansionError):
        check_expandable(text)


def test_growth_is_bounded() -> None:
    doubling = {f"V{n}": f"${{V{n + 1}}}" * 4 for n in range(20)}
    with pytest.raises(ExpansionError, match="65536 bytes"):
        _expanding(**doubling, V20="xxxx").value("V0")
    with pytest.raises(ExpansionError, match="in a row"):
        _expanding(**{f"V{n}": f"${{V{n + 1}}}" for n in range(200)}, V200="x").value("V0")
    with pytest.raises(ExpansionError, match="nested too deeply"):
        expand("${A:-" * 40 + "}" * 40, lambda _name: None)


def test_references_to_the_outside() -> None:
    seen: list[Reference] = []

    def lookup(reference: Reference) -> str:
        seen.append(reference)
        return "found"

    found = {
        "A": "op://${VAULT}/item/field",
        "B": "file:/run/x",
        "C": "cmd:/bin/pass show '${VAULT}'",
        "VAULT": "a b; rm",
    }
    layers = layer([(name, _at("fleet", text, expand=True)) for name, text in found.items()])
    values, problems = Resolution(layers, lookup).values()
    assert problems == []
    assert values["A"] == values["B"] == values["C"] == "found"
    assert seen == [
        Reference(Scheme.ONEPASSWORD, ("a b; rm/item/field",)),
        Reference(Scheme.FILE, ("/run/x",)),
        Reference(Scheme.COMMAND, ("/bin/pass", "show", "a b; rm")),
    ]


def test_a_value_that_expands_to_a_reference_is_none() -> None:
    assert _expanding(A="${B}", B="$${x}").value("A") == "${x}"
    resolution = _resolution(
        ("A", _at("fleet", "${B}", expand=True)), ("B", _at("fleet", "cmd:/bin/id"))
    )
    assert resolution.value("A") == "cmd:/bin/id"
