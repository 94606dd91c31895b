"""What is made of a build's output."""

from __future__ import annotations

from covey.engines.containers.build import Told, shortened
from covey.errors import StorageError

SECRET = "canary-31-value"


def told(**secrets: str) -> tuple[Told, list[str]]:
    lines: list[str] = []
    return Told(lines.append, secrets), lines


def test_a_line_without_end_is_handed_on_in_parts_and_no_secret_is_cut_in_two():
    one, lines = told(token=SECRET)
    text = "x" * 65530 + SECRET + "y" * 65530 + SECRET
    for start in range(0, len(text), 1000):
        one.feed(text[start : start + 1000])
        assert len(one._rest) < 70_000
    one.end()
    assert "".join(lines) == "x" * 65530 + "***" + "y" * 65530 + "***"
    assert len(lines) > 1


def test_a_full_disk_is_told_as_such_whether_the_engine_or_a_step_says_it():
    one, _ = told()
    one.feed("dd: writing '/big': No space left on device\n")
    failure = one.failure("exit status 1")
    assert isinstance(failure, StorageError)
    assert "exit status 1" in failure.message
    one, _ = told()
    failure = one.failure("committing: write /var/lib/x: no space left on device" + "x" * 5000)
    assert isinstance(failure, StorageError)
    assert len(failure.message) < 100
    assert not isinstance(told()[0].failure("exit status 1"), StorageError)


def test_long_lines_keep_their_ends():
    assert shortened("short") == "short"
    assert shortened("a" * 5000 + "b" * 5000).startswith("aaa")
    assert shortened("a" * 5000 + "b" * 5000).endswith("bbb")
