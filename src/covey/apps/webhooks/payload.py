"""Reading a forge's payload strictly: bounded, unambiguous JSON, and fields of the right type."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import parse_qs

import msgspec

from covey.errors import InvalidRequestError

T = TypeVar("T")

PullNumber = Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]

MAX_DEPTH = 64
MAX_TEXT = 4096
"""Characters of a message or title that are read."""

MAX_PATHS = 10_000
"""Changed files that are looked at; of a push with more, all may have changed."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
_REF = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]{1,255}")
_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+){0,20}", re.ASCII)
_MAX_NAME = 255
_MAX_URL = 2048
_BRANCH = "refs/heads/"
_TAG = "refs/tags/"
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


def read_document(body: bytes, content_type: str, kind: type[T]) -> T:
    """Decode a delivery's body into a struct of the fields that are used.

    Raises `InvalidRequestError` for what is not one unambiguous JSON object of that form.
    """
    return read_as(read_fields(body, content_type), kind)


def read_fields(body: bytes, content_type: str) -> Any:
    """Decode a delivery's body; raises `InvalidRequestError` for what is no unambiguous JSON."""
    media = content_type.partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError("The delivery is not valid UTF-8.") from error
    if media == _FORM:
        text = _from_form(text)
    elif media != _JSON:
        raise InvalidRequestError(
            "The delivery is not declared as JSON.",
            hint=f"Choose the content type {_JSON} in the webhook's settings.",
        )
    return read_json(text)


def read_as(fields: Any, kind: type[T]) -> T:
    """Take the fields that a struct has; raises `InvalidRequestError` for another form."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"The delivery is not of the published form: {error}.") from error


def read_json(text: str) -> Any:
    """Decode JSON; raises `InvalidRequestError` for what parsers disagree on, or deep nesting."""
    if _too_deep(text):
        raise InvalidRequestError("The delivery's JSON is nested too deeply.")
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_not_a_number, parse_float=_no_float
        )
    except RecursionError as error:
        raise InvalidRequestError("The delivery's JSON is nested too deeply.") from error
    except ValueError as error:
        raise InvalidRequestError("The delivery is not valid JSON.") from error


def read_commit(text: str) -> str:
    """Return a commit's id in lower case; raises `InvalidRequestError`."""
    found = text.lower()
    if _COMMIT.fullmatch(found) is None:
        _refuse("a commit's id")
    return found


def read_ref(text: str) -> str:
    """Return a branch's or tag's name; raises `InvalidRequestError` for what git would refuse."""
    if (
        _REF.fullmatch(text) is None
        or not is_text(text)
        or ".." in text
        or "@{" in text
        or "//" in text
        or text.startswith(("/", "-", "."))
        or text.endswith(("/", ".", ".lock"))
    ):
        _refuse("the name of a branch or tag")
    return text


def split_ref(text: str) -> tuple[bool, str] | None:
    """Return whether a full ref is a tag, and its name; None for refs of other kinds."""
    if text.startswith(_BRANCH):
        return False, read_ref(text.removeprefix(_BRANCH))
    if text.startswith(_TAG):
        return True, read_ref(text.removeprefix(_TAG))
    return None


def read_name(text: str) -> str:
    """Return a repository's path; raises `InvalidRequestError`."""
    if len(text) > _MAX_NAME or _NAME.fullmatch(text) is None or ".." in text:
        _refuse("a repository's name")
    return text


def read_urls(*candidates: str | None) -> tuple[str, ...]:
    """Return those that are text of a sensible length."""
    return tuple(
        item for item in candidates if item and len(item) <= _MAX_URL and item.isprintable()
    )


def read_text(text: str | None) -> str:
    """Return a message or title, cut at its limit and without what is no text."""
    cut = (text or "")[:MAX_TEXT]
    return cut if is_text(cut) else cut.encode("utf-8", "replace").decode("utf-8")


def read_time(text: str | None) -> datetime | None:
    """Return a moment in UTC, or None for what cannot be read as one."""
    if not text:
        return None
    plain = text.strip().replace(" UTC", "+00:00", 1)
    plain = re.sub(r" ([+-]\d\d):?(\d\d)\Z", r"\1:\2", plain)
    try:
        found = datetime.fromisoformat(plain)
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: JSON can hold halves of characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def gather_paths(
    commits: Sequence[tuple[list[str] | None, ...]], *, complete: bool
) -> frozenset[str] | None:
    """Return the files that commits changed; None if any of it is not told."""
    if not complete or not commits:
        return None
    found: set[str] = set()
    for lists in commits:
        for item in lists:
            if item is None:
                return None
            found.update(item)
            if len(found) > MAX_PATHS:
                return None
    return frozenset(found)


def _from_form(text: str) -> str:
    try:
        fields = parse_qs(text, strict_parsing=True, errors="strict", max_num_fields=4)
    except ValueError as error:
        raise InvalidRequestError("The delivery is not a valid form.") from error
    found = fields.get("payload", [])
    if len(found) != 1:
        raise InvalidRequestError("The delivery is a form without the one field: payload")
    return found[0]


def _too_deep(text: str) -> bool:
    """Whether brackets outside of strings nest deeper than allowed; cheap for usual payloads."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for part in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', text, re.DOTALL):
        match part[0][0]:
            case "[" | "{":
                depth += 1
                if depth > MAX_DEPTH:
                    return True
            case "]" | "}":
                depth -= 1
            case _:
                pass
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _not_a_number(_text: str) -> NoReturn:
    raise ValueError("not a number")


def _no_float(_text: str) -> None:
    """Drop numbers with fractions: no field that is used has one."""


def _refuse(what: str) -> NoReturn:
    raise InvalidRequestError(f"The delivery holds something that is not {what}.")
