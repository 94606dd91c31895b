from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from covey.errors import InvalidRequestError
from covey.operations.codec import convert, from_json, to_json
from covey.operations.secret import Secret

Name = Annotated[str, msgspec.Meta(pattern="^[a-z]+$", description="Small letters.")]


class Sample(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    others: list[Name] = []
    maybe: Name | None = None
    inner: list[Sample] = []
    key: Secret | None = None


@pytest.mark.parametrize(
    "text,parameter",
    [
        (b'{"name": "A"}', "name"),
        (b'{"name": "a", "others": ["b", "C"]}', "others"),
        (b'{"name": "a", "maybe": "D"}', "maybe"),
    ],
)
def test_a_wrong_form_is_explained_by_what_the_parameter_is_for(text: bytes, parameter: str):
    with pytest.raises(InvalidRequestError) as raised:
        from_json(text, Sample)
    assert raised.value.message == f"{parameter} does not have the right form."
    assert raised.value.hint == "Small letters."
    assert raised.value.details == {"parameter": parameter}


def test_a_wrong_form_deep_inside_is_named_by_its_place():
    with pytest.raises(InvalidRequestError, match=r"inner\[0\]\.name does not have") as raised:
        from_json(b'{"name": "a", "inner": [{"name": "A"}]}', Sample)
    assert raised.value.hint


@pytest.mark.parametrize("value", ["1", "{}", "[]", "true", "1.5"])
def test_a_secret_that_is_no_text_is_a_request_that_is_not_valid(value: str):
    with pytest.raises(InvalidRequestError, match="key"):
        from_json(b'{"name": "a", "key": %s}' % value.encode(), Sample)


def test_a_faulty_value_is_never_repeated():
    for text in (
        b'{"name": "a", "key": 5555}',
        b'{"name": "S3CRET"}',
        b'{"name": "a", "maybe": 5555}',
    ):
        with pytest.raises(InvalidRequestError) as raised:
            from_json(text, Sample)
        assert "5555" not in str(raised.value)
        assert "S3CRET" not in str(raised.value)


def test_text_is_read_as_the_type_only_when_asked():
    assert convert({"limit": "5"}, dict[str, int], lax=True) == {"limit": 5}
    with pytest.raises(InvalidRequestError):
        convert({"limit": "5"}, dict[str, int])


def test_a_secret_survives_and_stays_masked():
    found = from_json(b'{"name": "a", "key": "x"}', Sample)
    assert to_json(found) == b'{"name":"a","others":[],"maybe":null,"inner":[],"key":"x"}'
    assert "x" not in repr(found.key)
