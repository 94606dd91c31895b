"""Which URLs name a repository, and where relative ones lead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.app_operations import read_source
from covey.apps.git_urls import (
    ALWAYS,
    ON_REQUEST,
    GitUrl,
    check_ref,
    check_subdirectory,
    join_git_url,
    parse_git_url,
    place_of,
)
from covey.errors import InvalidRequestError

ANY = ALWAYS | ON_REQUEST


@pytest.mark.parametrize(
    "text, shown, place",
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git", "github.com"),
        ("HTTPS://GitHub.com:443/a/b", "https://github.com:443/a/b", "github.com"),
        ("https://host:8443/a", "https://host:8443/a", "host:8443"),
        ("git@host.org:a/b.git", "ssh://git@host.org/a/b.git", "host.org"),
        ("host.org:a/b.git", "ssh://git@host.org/a/b.git", "host.org"),
        ("ssh://ada@host:2222/~/x", "ssh://ada@host:2222/~/x", "host:2222"),
        ("ssh://ada@[::1]:22/x", "ssh://ada@[::1]:22/x", "[::1]"),
        ("file:///srv/x%20y", "file:///srv/x%20y", ""),
        ("/srv/../srv/x", "file:///srv/x", ""),
    ],
)
def test_urls_that_are_taken(text: str, shown: str, place: str) -> None:
    found = parse_git_url(text, ANY)
    assert (found.text, found.place) == (shown, place)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ext::sh -c id",
        "ext::sh",
        "git://host/x",
        "ftp://host/x",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=x/y",
        "-x@host:y",
        "git@-host:y",
        "https://user:pass@host/x",
        "https://user@host/x",
        "ssh://git:pass@host/x",
        "https://host",
        "https://host/",
        "https://host/a/../../b",
        "https://host/x?y=1",
        "https://host/x#y",
        "https://ho st/x",
        "https://host/x\n",
        "https://host:99999/x",
        "https://[::1/x",
        "file://elsewhere/x",
        "plain",
        "a" * 3000,
        "git@host:-x",
        "https://user:pa/pass@host/x",
        "https://host/x?token=pass",
        "user:pass@host/x",
        "user:pass@host:x/y",
        "https://user:p@ss:pass@host/x",
    ],
)
def test_urls_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_git_url(text, ANY)
    assert "pass" not in caught.value.message.replace("password", "")


@pytest.mark.parametrize(
    "given",
    [
        {"git": "https://ada:ghp_secret@github.com/a/b"},
        {"git": "ext::sh -c id"},
        {"git": "https://host/x", "ref": "--upload-pack=x"},
        {"git": "https://host/x", "subdirectory": "../etc"},
    ],
)
def test_a_source_is_checked_before_it_is_kept_and_shown(given: dict[str, str]) -> None:
    options = {"ref": "", "subdirectory": "", "key": "", "image": None, **given}
    with pytest.raises(InvalidRequestError) as caught:
        read_source(**options)  # type: ignore[arg-type]
    assert "ghp_secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["/srv/x", "file:///srv/x", "http://host/x"])
def test_what_others_can_read_needs_the_settings(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_git_url(text)
    assert "git_schemes" in str(caught.value.hint)


@pytest.mark.parametrize(
    "base, relative, joined",
    [
        ("https://host/a/b.git", "../c", "https://host/a/c"),
        ("https://host/a/b", "../../c/d", "https://host/c/d"),
        ("https://host/a/b", "./c", "https://host/a/b/c"),
        ("git@host:a/b", "../c.git", "ssh://git@host/a/c.git"),
        ("https://host/a", "https://other/x", "https://other/x"),
    ],
)
def test_submodules_may_be_relative(base: str, relative: str, joined: str) -> None:
    assert join_git_url(parse_git_url(base), relative).text == joined


@pytest.mark.parametrize("relative", ["../../../x", "../..", "./\n", "ext::x", "/etc/x"])
def test_submodules_do_not_leave_the_host(relative: str) -> None:
    with pytest.raises(InvalidRequestError):
        join_git_url(parse_git_url("https://host/a/b"), relative)


@pytest.mark.parametrize(
    "ref", ["-x", "a..b", "a b", "a~1", "a^{}", "a:b", "x.lock", "/a", "a/", "a//b", "@{1}", "a\0"]
)
def test_refs_that_git_refuses(ref: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_ref(ref)


@pytest.mark.parametrize("ref", ["", "main", "feature/x", "v1.2.3", "refs/pull/7/head", "a@b"])
def test_refs_that_are_taken(ref: str) -> None:
    assert check_ref(ref) == ref


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading(text: str) -> None:
    try:
        found = parse_git_url(text, ANY)
    except InvalidRequestError:
        assert place_of(text) == ""
    else:
        assert found.scheme in ANY
        assert parse_git_url(found.text, ANY).place == found.place


@given(st.text(st.sampled_from("ab./"), max_size=12))
def test_no_subdirectory_leads_out(text: str) -> None:
    try:
        found = check_subdirectory(text)
    except InvalidRequestError:
        return
    assert ".." not in found.split("/")
    assert not found.startswith("/")


def test_a_relative_url_needs_a_base() -> None:
    with pytest.raises(InvalidRequestError):
        join_git_url(GitUrl("https", "", "/"), "../x")
