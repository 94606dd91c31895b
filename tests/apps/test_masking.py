"""Secrets in what is said about an app."""

from __future__ import annotations

import pytest

from covey.apps.masking import Masking


def said(*lines: str, secrets: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    masking = Masking(found.append)
    masking.learn(secrets)
    for line in lines:
        masking(line)
    return found


@pytest.mark.parametrize(
    "line, shown",
    [
        ("token hunter2!", "token ********!"),
        ("hunter2hunter2", "****************"),
        ("xhunter2x hunter", "x********x hunter"),
        ("grün hunter2 grün", "grün ******** grün"),
        ("", ""),
        ("nothing", "nothing"),
    ],
)
def test_every_occurrence_in_a_line(line: str, shown: str) -> None:
    assert said(line, secrets=("hunter2",)) == [shown]


def test_overlapping_secrets_leave_no_part_of_either() -> None:
    assert said("abcdefgh", secrets=("abcdef", "cdefgh")) == ["********"]


def test_the_lines_of_a_secret_that_has_several() -> None:
    key = "-----BEGIN KEY-----\nbm90IGEga2V5IGF0IGFsbA==\n-----END KEY-----\n"
    masked = said(*key.splitlines(), key, secrets=(key,))
    assert masked == ["********", "********", "********", "********"]


def test_what_is_learned_counts_from_then_on() -> None:
    found: list[str] = []
    masking = Masking(found.append)
    masking("first-secret")
    masking.learn(["first-secret"])
    masking("first-secret")
    masking.learn(["second-secret"])
    masking("first-secret second-secret")
    assert found == ["first-secret", "********", "******** ********"]


def test_a_text_that_is_no_text_is_shown_as_far_as_it_is() -> None:
    assert said("bad \udcff hunter2", secrets=("hunter2",)) == ["bad ? ********"]
