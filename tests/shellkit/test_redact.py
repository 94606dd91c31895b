from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from covey.shellkit.redact import MASK, Redactor

LETTERS = st.binary(min_size=0, max_size=60).map(lambda data: bytes(b"abcX"[b % 4] for b in data))
SECRETS = st.lists(LETTERS.filter(lambda data: len(data) >= 4).map(lambda d: d[:9]), max_size=5)


def _whole(secrets: list[bytes], data: bytes) -> bytes:
    redactor = Redactor(secrets)
    return redactor.feed(data) + redactor.finish()


@given(SECRETS, LETTERS, st.lists(st.integers(0, 60)))
def test_chunks_do_not_matter(secrets: list[bytes], data: bytes, cuts: list[int]) -> None:
    redactor = Redactor(secrets)
    out = b""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        out += redactor.feed(data[start:stop])
    assert out + redactor.finish() == _whole(secrets, data)


@given(SECRETS, LETTERS)
def test_no_secret_is_left(secrets: list[bytes], data: bytes) -> None:
    out = _whole(secrets, data)
    assert not [secret for secret in secrets if secret in out]
    covered = bytearray(len(data))
    for secret in secrets:
        for at in range(len(data)):
            if data.startswith(secret, at):
                covered[at : at + len(secret)] = b"\1" * len(secret)
    kept = bytes(byte for byte, hidden in zip(data, covered, strict=True) if not hidden)
    assert out.replace(MASK, b"") == kept


def test_what_cannot_go_on_is_shown_at_once() -> None:
    redactor = Redactor(["hunter2"])
    assert redactor.feed(b"prompt> ") == b"prompt> "
    assert redactor.feed(b"a hun") == b"a "
    assert redactor.feed(b"gry") == b"hungry"
    assert redactor.feed(b"hunter") == b""
    assert redactor.feed(b"2!") == MASK + b"!"
    assert redactor.feed(b"hun") + redactor.finish() == b"hun"


def test_the_longer_of_two_wins() -> None:
    redactor = Redactor(["abcd", "abcdef"])
    assert redactor.feed(b"abcd") == b""
    assert redactor.feed(b"ef") == MASK
    assert redactor.feed(b"abcdx") + redactor.finish() == MASK + b"x"


def test_overlapping_values_are_masked_whole() -> None:
    assert _whole([b"abcX", b"Xyz1"], b"-abcXyz1-") == b"-" + MASK + b"-"


def test_short_values_stay() -> None:
    assert _whole([b"abc", b""], b"abc") == b"abc"
    assert Redactor([]).feed(b"x") == b"x"


def test_lines_of_a_key_are_masked_each_and_through_a_terminal() -> None:
    key = "-----BEGIN KEY-----\nc2VjcmV0LXZhbHVl\n-----END KEY-----\n"
    out = _whole([key.encode()], b"x\r\n" + key.replace("\n", "\r\n").encode() + b"y")
    assert out == b"x\r\n" + MASK + b"y"
    assert b"c2Vj" not in _whole([key.encode()], b"  | c2VjcmV0LXZhbHVl\n")
    assert _whole([b"token\n"], b"a token b") == b"a " + MASK + b" b"


def test_utf_8_and_large_values() -> None:
    secret = "é\u2019\n" * 10000
    redactor = Redactor([secret])
    data = b"<" + secret.encode() + b">"
    out = b"".join(redactor.feed(data[at : at + 4096]) for at in range(0, len(data), 4096))
    assert out + redactor.finish() == b"<" + MASK + b">"
