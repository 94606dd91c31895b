"""Every format reads back what it wrote, or refuses; dotenv reads what people have."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.env.formats.choose import Format, guess, parse, write
from covey.errors import InvalidRequestError

NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,12}\Z")
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
PIECES = st.lists(
    st.sampled_from(
        [
            "'",
            '"',
            "`",
            "$",
            "${A}",
            "$A",
            "\\",
            "\n",
            "\r",
            "\r\n",
            " ",
            "#",
            " #",
            "=",
            ";",
            "\t",
            "null",
            "yes",
            "010",
            "1e3",
            "~",
            ": ",
            "- ",
            "é\u2019",
            "\\n",
            "|",
            "&x",
            "*x",
            "\x85",
        ]
    )
).map("".join)
VALUES = st.one_of(st.text(CHARACTERS, max_size=40), PIECES)
TABLES = st.dictionaries(NAMES, VALUES, max_size=6)
EXACT = [Format.DOTENV, Format.JSON, Format.YAML, Format.TOML, Format.KUBERNETES]
LIMITED = [Format.DOCKER, Format.SYSTEMD]


def _read(kind: Format, text: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in parse(kind, text)}


@pytest.mark.parametrize("kind", EXACT)
@given(table=TABLES)
def test_every_value_comes_back(kind: Format, table: dict[str, str]) -> None:
    assert _read(kind, write(kind, table)) == table


@pytest.mark.parametrize("kind", LIMITED)
@given(table=TABLES)
def test_limited_formats_refuse_or_keep(kind: Format, table: dict[str, str]) -> None:
    try:
        text = write(kind, table)
    except InvalidRequestError as error:
        refused = error.details["name"]
    else:
        assert _read(kind, text) == table
        return
    assert isinstance(refused, str)
    assert not table[refused].isprintable()


@pytest.mark.parametrize("kind", EXACT)
def test_the_largest_value_comes_back(kind: Format) -> None:
    table = {"A": "é'\n\"$" * 10922, "B": "x" * 65536}
    assert _read(kind, write(kind, table)) == table


@given(table=st.dictionaries(NAMES, VALUES.filter(lambda text: "\r" not in text), max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_shell_reads_our_dotenv_the_same(table: dict[str, str]) -> None:
    own = {"IFS", "PATH", "PS1", "PS2", "PS4", "OPTIND", "PPID", "_"}
    table = {name.upper() + "_X": value for name, value in table.items() if name not in own}
    script = write(Format.DOTENV, table)
    script += "".join(f"printf '%s\\0' \"${{{name}}}\"\n" for name in table)
    done = subprocess.run(["dash"], input=script.encode(), capture_output=True, check=True)
    assert [part.decode() for part in done.stdout.split(b"\0")[:-1]] == list(table.values())


DOTENV = r"""
# a comment
export PLAIN=value
SPACED = a b  # comment
EMPTY=
EMPTY_COMMENT= # nothing
HASH=a#b
COLOR=#fff
SINGLE='a $B # \n'  # comment
DOUBLE="line one\nline \"two\" \$5 \\ \d"
MULTI="-----BEGIN
KEY-----"
TICKS=`it's "fine"`
JOINED='it'\''s'"!"
URL=postgres://u:p@h/db?x=1&y=2
	TABBED=	x
QUOTE_INSIDE=it's
JSON={"a": "b"}
"""


def test_dotenv_as_people_write_it() -> None:
    assert _read(Format.DOTENV, DOTENV) == {
        "PLAIN": "value",
        "SPACED": "a b",
        "EMPTY": "",
        "EMPTY_COMMENT": "",
        "HASH": "a#b",
        "COLOR": "#fff",
        "SINGLE": r"a $B # \n",
        "DOUBLE": 'line one\nline "two" $5 \\ \\d',
        "MULTI": "-----BEGIN\nKEY-----",
        "TICKS": 'it\'s "fine"',
        "JOINED": "it's!",
        "URL": "postgres://u:p@h/db?x=1&y=2",
        "TABBED": "x",
        "QUOTE_INSIDE": "it's",
        "JSON": '{"a": "b"}',
    }


def test_dotenv_with_windows_line_ends_and_byte_order_mark() -> None:
    assert _read(Format.DOTENV, "\ufeffA=1\r\nB='x' # c\r\n\r\nC=\"y\"\r\n") == {
        "A": "1",
        "B": "x",
        "C": "y",
    }


def test_dotenv_marks_what_its_own_rules_expand() -> None:
    text = 'A=$B/${C}\nD="x ${C:-d} \\${E} $F"\nG=\'${C}\'\nH=a"${C}"\nI=\'${A}\'"$B"\n'
    found = {entry.name: entry.template for entry in parse(Format.DOTENV, text)}
    assert found == {
        "A": "${B}/${C}",
        "D": "x ${C:-d} $${E} ${F}",
        "G": "$${C}",
        "H": 'a"${C}"',
        "I": "$${A}${B}",
    }


@pytest.mark.parametrize(
    "kind, text, line",
    [
        (Format.DOTENV, "A=1\nnonsense\n", 2),
        (Format.DOTENV, "A=1\n\nB='open\n", 3),
        (Format.DOTENV, 'B="open\n', 1),
        (Format.DOTENV, "A='x' y\n", 1),
        (Format.DOTENV, "1A=x\n", 1),
        (Format.DOTENV, "A=1\nA-B=x\n", 2),
        (Format.JSON, '{\n"A": tru\n}', 2),
        (Format.JSON, "[]", 1),
        (Format.JSON, '{"A": "x",\n "B": {"x": 1}}', 2),
        (Format.JSON, '{\n"A": null}', 2),
        (Format.YAML, "A: x\nB: [1]\n", 2),
        (Format.YAML, "A: x\n  B: 'y\n", 2),
        (Format.YAML, "- A\n", 1),
        (Format.YAML, "A: x\nb c: y\n", 2),
        (Format.TOML, "A = 1\nB = x\n", 2),
        (Format.TOML, "A = 1\n[B]\n", 2),
        (Format.DOCKER, "A=1\n# c\nNAME\n", 3),
        (Format.DOCKER, "A B=1\n", 1),
        (Format.SYSTEMD, "A=1\n; c\nnothing\n", 3),
        (Format.SYSTEMD, 'A="open\n', 1),
        (Format.KUBERNETES, "kind: ConfigMap\n", 1),
        (Format.KUBERNETES, "kind: Secret\ndata:\n  A: '!!'\n", 3),
        (Format.KUBERNETES, "kind: Secret\ndata:\n  A: /w==\n", 3),
        (Format.KUBERNETES, "kind: Secret\nstringData:\n  tls.crt: x\n", 3),
    ],
)
def test_errors_name_the_line(kind: Format, text: str, line: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(kind, text)
    assert f"line {line}:" in caught.value.message


READABLE = [*EXACT, *LIMITED, Format.HOMELAB]
SNIPPETS = st.lists(
    st.sampled_from(
        [
            "kind: Secret\n",
            "data:\n",
            "  A: ",
            "A=",
            "A: ",
            "A = ",
            "{",
            "}",
            "[",
            "]",
            '"',
            "'",
            "\\",
            "\\U00110000",
            "&a",
            "*a",
            "!!x ",
            "|\n",
            "- ",
            "---\n",
            "\n",
            "é",
            "1" * 5000,
            "export ",
            "\x00",
            "\x85",
            "#",
            ";",
            ",",
            ":",
            "?",
            "1979-05-27",
            "inf",
            "null",
            "=",
            "==",
        ]
    )
).map("".join)


@pytest.mark.parametrize("kind", READABLE)
@given(text=st.one_of(SNIPPETS, st.text(max_size=80)))
def test_any_text_is_read_or_refused(kind: Format, text: str) -> None:
    with suppress(InvalidRequestError):
        parse(kind, text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"A":' * 100_000, "A: " + "[" * 5000, "A = " + "[" * 5000]
)
@pytest.mark.parametrize("kind", [Format.JSON, Format.YAML, Format.TOML, Format.KUBERNETES])
def test_deep_nesting_is_refused(kind: Format, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse(kind, text)


def test_errors_do_not_hold_values() -> None:
    for kind in (Format.DOTENV, Format.JSON, Format.YAML, Format.TOML, Format.SYSTEMD):
        with pytest.raises(InvalidRequestError) as caught:
            parse(kind, 'A="hunter2-secret')
        assert "hunter2" not in str(caught.value)


def test_numbers_and_booleans_keep_their_text() -> None:
    assert _read(Format.JSON, '{"A": 1.10, "B": true, "C": 12345678901234567890}') == {
        "A": "1.10",
        "B": "true",
        "C": "12345678901234567890",
    }
    assert _read(Format.YAML, "A: yes\nB: 010\nC:\nD: 1.10\n") == {
        "A": "yes",
        "B": "010",
        "C": "",
        "D": "1.10",
    }
    assert _read(Format.TOML, "A = 1.10\nB = true\nC = 7\n") == {"A": "1.10", "B": "true", "C": "7"}


def test_docker_reads_to_the_end_of_the_line() -> None:
    assert _read(Format.DOCKER, "# c\n  A='x' # y \nB==\r\n") == {"A": "'x' # y ", "B": "="}


def test_docker_refuses_lines() -> None:
    with pytest.raises(InvalidRequestError, match="KEY: its value has more than one line"):
        write(Format.DOCKER, {"KEY": "a\nb"})


def test_systemd_reads_what_systemd_reads() -> None:
    text = (
        '# c \\\ngoes on\n; d\nA=a b  \nB=\'x "y"\nz\'\nC="q \\" \\$ \\\\ \\n"\nD=one\\\n two\n'
        "E='a' \"b\"\nF=it's\nG=a\\ b\\ \n"
    )
    assert _read(Format.SYSTEMD, text) == {
        "A": "a b",
        "B": 'x "y"\nz',
        "C": 'q " $ \\ \\n',
        "D": "one two",
        "E": "ab",
        "F": "it's",
        "G": "a b ",
    }


def test_kubernetes_manifest() -> None:
    text = write(Format.KUBERNETES, {"A": "x\n"}, title="shop-dev")
    assert text == (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop-dev\ntype: Opaque\n"
        "data:\n  A: eAo=\n"
    )
    mixed = "kind: Service\n---\n" + text + "stringData:\n  A: plain\n  B: b\n"
    assert _read(Format.KUBERNETES, mixed) == {"A": "plain", "B": "b"}


def test_kubernetes_refuses_a_bad_name_and_too_much() -> None:
    with pytest.raises(InvalidRequestError):
        write(Format.KUBERNETES, {}, title="A_b")
    with pytest.raises(InvalidRequestError, match="bytes together"):
        write(Format.KUBERNETES, {f"A{n}": "x" * 65536 for n in range(17)})


def test_guess() -> None:
    assert guess("A=1") is Format.DOTENV
    assert guess('{"A": "1"}') is Format.JSON
    assert guess("apiVersion: v1\nkind: Secret\n") is Format.KUBERNETES
    assert guess("A: 1", "x.yml") is Format.YAML
    assert guess('# mine\nHOST_FRIGG_IP="1"\nHOST_FRIGG_BACKUP_PATH="/x"\n') is Format.HOMELAB
    assert guess('HOST_FRIGG_IP="1"\nHOST_PORT=80\n') is Format.DOTENV
    assert guess('A = "1"', str(Path("/x/.env.toml"))) is Format.TOML


def test_json_is_plain_json() -> None:
    assert json.loads(write(Format.JSON, {"A": "é\n"})) == {"A": "é\n"}
