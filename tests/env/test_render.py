from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from covey.env.render import render_for_eval, render_for_hook

QUOTES = "'\u2018\u2019\u201a\u201b"
LITERAL = f"[{QUOTES}](?:[^{QUOTES}]|[{QUOTES}][{QUOTES}])*[{QUOTES}]"
VALUES = st.dictionaries(
    st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,9}\Z"),
    st.text(
        st.one_of(
            st.sampled_from(QUOTES + '"$`\n\r{}();'),
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
        )
    ),
    max_size=5,
)


@given(VALUES)
def test_powershell_files_are_calls_with_verbatim_literals_only(values: dict[str, str]) -> None:
    for data, call in [
        (render_for_hook("powershell", values), r"__covey_set (\w+) "),
        (
            render_for_eval("powershell", values),
            r"\[Environment\]::SetEnvironmentVariable\('(\w+)', ",
        ),
    ]:
        statement = re.compile(rf"{call}({LITERAL})\)?\n", re.ASCII)
        text = data.decode()
        at = 0
        found = {}
        while at < len(text):
            one = statement.match(text, at)
            assert one is not None
            body = one.group(2)[1:-1]
            found[one.group(1)] = re.sub(f"[{QUOTES}]([{QUOTES}])", r"\1", body)
            at = one.end()
        assert found == values


def test_what_belongs_to_a_shell_is_left_out() -> None:
    values = {"UID": "0", "PPID": "1", "path": "x", "A": "1", "status": "2"}
    assert render_for_hook("bash", values) == (
        b"__covey_set A '1'\n__covey_set path 'x'\n__covey_set status '2'\n"
    )
    assert render_for_eval("zsh", values) == b"export A='1'\n"
    assert render_for_eval("sh", values) == b"export A='1'\n"
    assert render_for_eval("fish", values) == (
        b"set -gx A '1'\nset -gx PPID '1'\nset -gx UID '0'\nset -gx path 'x'\n"
    )
