"""The forges' published payloads, and hostile ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.webhooks.forges import forge_of
from covey.apps.webhooks.globs import any_matches, matches
from covey.apps.webhooks.model import (
    Event,
    ForgeName,
    Ping,
    PullAction,
    PullRequest,
    Push,
    RefKind,
    Release,
    Unused,
)
from covey.apps.webhooks.payload import MAX_PATHS, read_json, read_time
from covey.errors import InvalidRequestError, TooLargeError
from tests.apps.webhooks.sending import HEAD, PULL_HEAD, Sent, delivery, payload

FORGES = [item.value for item in ForgeName]
PATHS = frozenset({"src/basket.py", "src/old.py", "README.md"})


def parse(forge: str, sent: Sent) -> tuple[Event, ...]:
    return forge_of(ForgeName(forge)).parse(sent.headers, sent.body)


def read(forge: str, name: str, body: dict[str, Any] | None = None) -> Event:
    (event,) = parse(forge, delivery(forge, name, body=body))
    return event


def push(forge: str, name: str) -> Push:
    event = read(forge, name)
    assert isinstance(event, Push)
    return event


def pull(forge: str, name: str) -> PullRequest:
    event = read(forge, name)
    assert isinstance(event, PullRequest)
    return event


@pytest.mark.parametrize("forge", FORGES)
def test_a_push(forge: str):
    event = push(forge, "push")
    assert event.repository.name == "acme/shop"
    assert (event.kind, event.ref, event.commit) == (RefKind.BRANCH, "main", HEAD)
    assert event.message.startswith("Count the basket")
    assert (event.created, event.deleted, event.forced) == (False, False, False)
    assert event.paths == (None if forge == "bitbucket" else PATHS)
    assert event.repository.default_branch == ("" if forge == "bitbucket" else "main")
    assert any("acme/shop" in url for url in event.repository.urls)


@pytest.mark.parametrize("forge", ["gitlab", "gitea"])
def test_a_push_whose_commits_are_not_all_told(forge: str):
    assert push(forge, "push_many").paths is None


def test_a_push_of_more_files_than_are_looked_at():
    body = payload("github", "push")
    body["commits"][0]["added"] = [f"file{number}" for number in range(MAX_PATHS + 1)]
    event = read("github", "push", body)
    assert isinstance(event, Push)
    assert event.paths is None


@pytest.mark.parametrize("forge", ["github", "gitlab", "gitea"])
def test_a_deleted_branch(forge: str):
    event = push(forge, "push_deleted")
    assert (event.ref, event.deleted, event.commit) == ("old", True, "")


@pytest.mark.parametrize(
    "forge,name", [("github", "push_tag"), ("gitlab", "tag_push"), ("gitea", "push_tag")]
)
def test_a_tag(forge: str, name: str):
    event = push(forge, name)
    assert (event.kind, event.ref, event.commit) == (RefKind.TAG, "v1.2.0", HEAD)
    assert event.created


def test_a_push_of_several_refs():
    events = parse("bitbucket", delivery("bitbucket", "push_several"))
    branch, gone, tag = events
    assert isinstance(branch, Push)
    assert isinstance(gone, Push)
    assert isinstance(tag, Push)
    assert (branch.ref, branch.forced, branch.deleted) == ("main", True, False)
    assert (gone.ref, gone.deleted, gone.commit) == ("old", True, "")
    assert (tag.kind, tag.ref, tag.created) == (RefKind.TAG, "v1.2.0", True)


PULLS = [
    ("github", "pull_opened", PullAction.OPENED),
    ("github", "pull_synchronize", PullAction.UPDATED),
    ("github", "pull_closed", PullAction.CLOSED),
    ("gitlab", "merge_open", PullAction.OPENED),
    ("gitlab", "merge_update", PullAction.UPDATED),
    ("gitlab", "merge_merge", PullAction.CLOSED),
    ("gitea", "pull_opened", PullAction.OPENED),
    ("gitea", "pull_synchronized", PullAction.UPDATED),
    ("gitea", "pull_closed", PullAction.CLOSED),
    ("bitbucket", "pull_created", PullAction.OPENED),
    ("bitbucket", "pull_updated", PullAction.UPDATED),
    ("bitbucket", "pull_fulfilled", PullAction.CLOSED),
]


@pytest.mark.parametrize("forge,name,action", PULLS)
def test_a_pull_request(forge: str, name: str, action: PullAction):
    event = pull(forge, name)
    assert (event.action, event.number, event.title) == (action, 7, "Sell umbrellas")
    assert event.repository.name == event.head_repository == "acme/shop"
    assert event.base_ref == "main"
    assert PULL_HEAD.startswith(event.head_commit)
    assert event.head_ref == (
        "umbrellas" if name != "pull_closed" or forge != "gitea" else "refs/pull/7/head"
    )
    assert not event.from_fork
    assert event.at is not None


@pytest.mark.parametrize(
    "forge,first,second",
    [
        ("github", "pull_synchronize", "pull_closed"),
        ("gitlab", "merge_update", "merge_merge"),
        ("gitea", "pull_synchronized", "pull_closed"),
        ("bitbucket", "pull_updated", "pull_fulfilled"),
    ],
)
def test_what_happened_later_is_known_to_be_later(forge: str, first: str, second: str):
    earlier, later = pull(forge, first).at, pull(forge, second).at
    assert earlier is not None
    assert later is not None
    assert earlier < later


@pytest.mark.parametrize(
    "forge,name,ref",
    [
        ("github", "pull_fork", "refs/pull/7/head"),
        ("gitlab", "merge_fork", "refs/merge-requests/7/head"),
        ("gitea", "pull_fork", "refs/pull/7/head"),
        ("bitbucket", "pull_fork", ""),
    ],
)
def test_a_pull_request_from_a_fork(forge: str, name: str, ref: str):
    event = pull(forge, name)
    assert event.from_fork
    assert event.head_repository == "stranger/shop"
    assert event.fetch_ref == ref


def test_a_fork_that_was_deleted_is_still_a_fork():
    event = pull("github", "pull_deleted_fork")
    assert event.from_fork
    assert event.head_repository == ""


@pytest.mark.parametrize(
    "forge,name",
    [
        ("github", "release_published"),
        ("gitlab", "release_create"),
        ("gitea", "release_published"),
    ],
)
def test_a_release(forge: str, name: str):
    event = read(forge, name)
    assert isinstance(event, Release)
    assert (event.repository.name, event.tag) == ("acme/shop", "v1.2.0")


@pytest.mark.parametrize("forge", ["github", "gitea"])
@pytest.mark.parametrize("action", ["edited", "deleted", "created", "prereleased"])
def test_what_else_happens_to_a_release_is_not_used(forge: str, action: str):
    event = read(
        forge, "release_published", payload(forge, "release_published") | {"action": action}
    )
    assert isinstance(event, Unused)


def test_a_ping():
    assert parse("github", delivery("github", "ping")) == (Ping(),)


@pytest.mark.parametrize(
    "forge,name",
    [
        ("github", "star"),
        ("github", "pull_labeled"),
        ("gitlab", "note"),
        ("gitlab", "merge_retitled"),
        ("gitea", "issues"),
        ("bitbucket", "issue_created"),
    ],
)
def test_what_is_not_used_is_no_fault(forge: str, name: str):
    assert isinstance(read(forge, name), Unused)


@pytest.mark.parametrize("forge", ["github", "gitea"])
def test_a_form_holds_the_payload_too(forge: str):
    text = json.dumps(payload(forge, "push"))
    body = urlencode({"payload": text}).encode()
    sent = delivery(forge, "push", body=body)
    sent = sent.with_headers(content_type="application/x-www-form-urlencoded; charset=utf-8")
    assert parse(forge, sent) == (push(forge, "push"),)


DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE = {
    "nothing": b"",
    "not JSON": b"payload",
    "two documents": b"{}{}",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "half": b'{"ref": "refs/heads/main"',
    "not UTF-8": b'{"ref": "\xff\xfe"}',
    "UTF-16": '{"ref": 1}'.encode("utf-16"),
    "a key twice": b'{"ref": "refs/heads/main", "ref": "refs/heads/evil"}',
    "a key twice below": b'{"repository": {"full_name": "a/b", "full_name": "c/d"}}',
    "NaN": b'{"id": NaN}',
    "Infinity": b'{"id": -Infinity}',
    "deep lists": DEEP,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and unbalanced": b"[" * 1_000_000,
    "deep in a field": b'{"repository": ' + DEEP + b"}",
    "a huge number": b'{"id": ' + b"9" * 100_000 + b"}",
    "strings in place of objects": b'{"object_kind": "push", "repository": "x", "push": "y"}',
    "numbers in place of text": b'{"object_kind": 7, "ref": 7, "repository": {"full_name": 7}}',
}


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_an_invalid_request(forge: str, name: str):
    sent = delivery(forge, "push", body=HOSTILE[name])
    with pytest.raises(InvalidRequestError) as caught:
        parse(forge, sent)
    assert not isinstance(caught.value, TooLargeError)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("media", ["text/plain", "", "application/xml", "multipart/form-data"])
def test_only_json_and_forms_are_read(forge: str, media: str):
    with pytest.raises(InvalidRequestError):
        parse(forge, delivery(forge, "push").with_headers(content_type=media))


@pytest.mark.parametrize(
    "body", [b"payload=1&payload=2", b"other=1", b"payload", b"payload=%ff", b"a=1&b=2&c=3&d=4&e=5"]
)
def test_a_hostile_form_is_an_invalid_request(body: bytes):
    sent = delivery("github", "push", body=body)
    with pytest.raises(InvalidRequestError):
        parse("github", sent.with_headers(content_type="application/x-www-form-urlencoded"))


BAD_REFS = [
    "main",
    "refs/heads/",
    "refs/heads/--upload-pack=evil",
    "refs/heads/a..b",
    "refs/heads/a b",
    "refs/heads/a\nb",
    "refs/heads/a\x00b",
    "refs/heads/../../etc",
    "refs/heads/a.lock",
    "refs/heads/a/",
    "refs/heads/a@{1}",
    "refs/heads/\ud800",
    "refs/heads/" + "a" * 300,
]


@pytest.mark.parametrize("ref", BAD_REFS)
@pytest.mark.parametrize("forge", ["github", "gitlab", "gitea"])
def test_a_ref_that_git_would_refuse_reaches_nobody(forge: str, ref: str):
    sent = delivery(forge, "push", body=payload(forge, "push") | {"ref": ref})
    try:
        events = parse(forge, sent)
    except InvalidRequestError:
        return
    assert all(isinstance(event, Unused) for event in events)


@pytest.mark.parametrize("commit", ["", "HEAD", "-x", "g" * 40, "a" * 6, "a" * 65, HEAD + "\n"])
def test_what_is_no_commit_is_refused(commit: str):
    body = payload("github", "push") | {"after": commit, "deleted": False}
    try:
        event = read("github", "push", body)
    except InvalidRequestError:
        return
    assert commit == ""
    assert isinstance(event, Push)
    assert event.deleted


@pytest.mark.parametrize(
    "name", ["", "../x", "a/../b", "a b/c", "a/b\n", "/a/b", "a//b", "a" * 300]
)
def test_what_is_no_repository_is_refused(name: str):
    body = payload("github", "push")
    body["repository"]["full_name"] = name
    with pytest.raises(InvalidRequestError):
        read("github", "push", body)


@pytest.mark.parametrize("number", [0, -1, 1 << 40, True, 7.5, "7"])
def test_what_is_no_number_is_refused(number: object):
    with pytest.raises(InvalidRequestError):
        read("github", "pull_opened", payload("github", "pull_opened") | {"number": number})


def test_half_characters_in_a_message_do_no_harm():
    body = payload("github", "push")
    body["head_commit"]["message"] = "half \ud83d of a smile"
    event = read("github", "push", body)
    assert isinstance(event, Push)
    assert event.message.encode()


def test_a_long_message_is_cut():
    body = payload("github", "push")
    body["head_commit"]["message"] = "a" * 1_000_000
    event = read("github", "push", body)
    assert isinstance(event, Push)
    assert len(event.message) == 4096


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=20,
)
SAMPLES = [
    ("github", "push"),
    ("github", "pull_opened"),
    ("github", "release_published"),
    ("gitlab", "push"),
    ("gitlab", "merge_open"),
    ("gitlab", "release_create"),
    ("gitea", "push"),
    ("gitea", "pull_opened"),
    ("bitbucket", "push_several"),
    ("bitbucket", "pull_created"),
]


@given(st.sampled_from(SAMPLES), st.data())
def test_whatever_stands_in_a_field_is_read_or_refused(
    sample: tuple[str, str], data: st.DataObject
):
    forge, name = sample
    document = payload(forge, name)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    try:
        events = parse(forge, delivery(forge, name, body=document))
    except InvalidRequestError:
        return
    for event in events:
        if isinstance(event, Push):
            event.ref.encode()
            event.message.encode()
            assert not event.ref.startswith("-")


@given(st.sampled_from(FORGES), st.binary(max_size=300), st.text(max_size=20))
def test_whatever_comes_is_read_or_refused(forge: str, body: bytes, event: str):
    try:
        parse(forge, delivery(forge, "push", body=body, event=event or "push"))
    except InvalidRequestError:
        return


@given(JSON)
def test_json_reads_as_others_read_it(value: Any):
    text = json.dumps(value)
    try:
        found = read_json(text)
    except InvalidRequestError:
        assert "NaN" in text or "Infinity" in text
        return
    assert _without_floats(found) == _without_floats(value)


def _without_floats(value: Any) -> Any:
    match value:
        case float():
            return None
        case list():
            return [_without_floats(item) for item in value]
        case dict():
            return {key: _without_floats(item) for key, item in value.items()}
        case _:
            return value


@pytest.mark.parametrize(
    "text,hour",
    [
        ("2026-03-15T15:20:33Z", 15),
        ("2026-03-15T15:20:33+02:00", 13),
        ("2026-03-15 15:20:33 UTC", 15),
        ("2026-03-15 15:20:33 +0200", 13),
        ("2026-03-15T15:20:33.123456+00:00", 15),
    ],
)
def test_the_forges_times(text: str, hour: int):
    found = read_time(text)
    assert found is not None
    assert found.replace(microsecond=0) == datetime(2026, 3, 15, hour, 20, 33, tzinfo=UTC)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_times(text: str):
    found = read_time(text)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "text,pattern,fits",
    [
        ("main", "main", True),
        ("main", "mai?", True),
        ("release/1.2", "release/*", True),
        ("release/1/2", "release/*", False),
        ("release/1/2", "release/**", True),
        ("v1.2.0", "v*", True),
        ("v1.2.0", "v*.*.0", True),
        ("w1.2.0", "v*", False),
        ("src/a/b.py", "**/*.py", True),
        ("b.py", "**/*.py", True),
        ("src/a/b.py", "src/**/b.py", True),
        ("src/b.py", "src/**/b.py", True),
        ("docs/a/b.md", "docs/", True),
        ("a/a", "a/a", True),
        ("a", "a/a", False),
        ("a.b", "a?b", True),
        ("axb", "a.b", False),
        ("[a]", "[a]", True),
    ],
)
def test_patterns(text: str, pattern: str, fits: bool):
    assert matches(text, pattern) is fits


def test_the_last_pattern_that_fits_decides():
    patterns = ("src/**", "!src/docs/**", "src/docs/index.md")
    assert any_matches(["src/a.py"], patterns)
    assert not any_matches(["src/docs/a.md"], patterns)
    assert any_matches(["src/docs/index.md"], patterns)
    assert any_matches(["other"], ("!docs/**",))
    assert not any_matches(["docs/a"], ("!docs/**",))


@pytest.mark.timeout(10)
def test_no_pattern_takes_long():
    assert not matches("a" * 4000, "*a" * 60 + "b")
    assert not matches("a/" * 2000 + "c", "**/a/" * 60 + "b")
