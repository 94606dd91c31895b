"""Which pushes the file of an app is interested in."""

from __future__ import annotations

import pytest

from covey.apps.changed_files import names_any


@pytest.mark.parametrize(
    "patterns, changed, wanted",
    [
        (["src/"], ["src/deep/x.py"], True),
        (["src/"], ["docs/x.md"], False),
        (["*.py"], ["deep/x.py"], True),
        (["/x.py"], ["deep/x.py"], False),
        (["src/", "!*.md"], ["src/x.md"], False),
        (["src/", "!*.md"], ["src/x.md", "src/x.py"], True),
        (["!docs/"], ["docs/x.md"], False),
        (["!docs/"], ["docs/x.md", "x"], True),
        (["!docs/", "docs/api/"], ["docs/api/x"], True),
        (["services/web/**"], ["services/web/a/b"], True),
        (["services/web"], ["services/webs/a"], False),
        (["src/"], [], False),
    ],
)
def test_the_last_pattern_that_names_a_file_or_what_it_is_in_decides(
    patterns: list[str], changed: list[str], *, wanted: bool
) -> None:
    assert names_any(patterns, changed) is wanted
