"""What an event means for an app."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.webhooks.model import (
    Ping,
    PullAction,
    PullRequest,
    Push,
    RefKind,
    Release,
    Repository,
    Unused,
)
from covey.apps.webhooks.ports import FedApp
from covey.apps.webhooks.rules import (
    ClosePreview,
    Decision,
    Deploy,
    OpenPreview,
    Options,
    Skip,
    comes_from,
    decide,
    repository_path,
    says_skip,
)
from tests.apps.webhooks.recording import URLS
from tests.apps.webhooks.sending import HEAD, PULL_HEAD

SHOP = Repository("acme/shop", "main")
APP = FedApp("shop", URLS["github"])
PUSH = Push(SHOP, RefKind.BRANCH, "main", HEAD, "Count the basket", frozenset({"src/basket.py"}))
TAG = Push(SHOP, RefKind.TAG, "v1.2.0", HEAD, created=True)
PULL = PullRequest(
    repository=SHOP,
    action=PullAction.OPENED,
    number=7,
    title="Sell umbrellas",
    head_commit=PULL_HEAD,
    head_ref="umbrellas",
    head_repository="acme/shop",
    base_ref="main",
    from_fork=False,
    fetch_ref="refs/pull/7/head",
)
FORK = replace(PULL, from_fork=True, head_repository="stranger/shop")
PREVIEWS = Options(previews=True)


def is_deployed(decision: Decision) -> bool:
    assert isinstance(decision, (Deploy, Skip))
    return isinstance(decision, Deploy)


def test_a_push_to_the_default_branch_is_deployed():
    expected = Deploy(RefKind.BRANCH, "main", HEAD, "Count the basket")
    assert decide(PUSH, Options(), APP) == expected


@pytest.mark.parametrize(
    "branch,followed,options,wanted",
    [
        ("main", "", Options(), True),
        ("next", "", Options(), False),
        ("next", "next", Options(), True),
        ("next", "refs/heads/next", Options(), True),
        ("main", "next", Options(), False),
        ("release/2", "", Options(branches=("release/*",)), True),
        ("main", "", Options(branches=("release/*",)), False),
        ("main", "", Options(tags=("v*",)), False),
        ("main", "", Options(tags=("v*",), branches=("main",)), True),
        ("main", "", Options(releases=True), False),
    ],
)
def test_which_branches_are_deployed(branch: str, followed: str, options: Options, wanted: bool):
    decision = decide(replace(PUSH, ref=branch), options, replace(APP, ref=followed))
    assert is_deployed(decision) is wanted


@pytest.mark.parametrize("branch,wanted", [("main", True), ("master", True), ("next", False)])
def test_a_forge_that_does_not_tell_the_default_branch(branch: str, wanted: bool):
    event = replace(PUSH, repository=Repository("acme/shop"), ref=branch)
    assert is_deployed(decide(event, Options(), APP)) is wanted


@pytest.mark.parametrize(
    "options,wanted",
    [
        (Options(), False),
        (Options(tags=("v*",)), True),
        (Options(tags=("w*",)), False),
        (Options(tags=("v*",), releases=True), False),
    ],
)
def test_which_tags_are_deployed(options: Options, wanted: bool):
    assert is_deployed(decide(TAG, options, APP)) is wanted


@pytest.mark.parametrize(
    "options,wanted",
    [
        (Options(), False),
        (Options(tags=("v*",)), False),
        (Options(releases=True), True),
        (Options(releases=True, tags=("v*",)), True),
        (Options(releases=True, tags=("w*",)), False),
    ],
)
def test_which_releases_are_deployed(options: Options, wanted: bool):
    decision = decide(Release(SHOP, "v1.2.0"), options, APP)
    assert is_deployed(decision) is wanted
    if wanted:
        assert decision == Deploy(RefKind.TAG, "v1.2.0")


@pytest.mark.parametrize("event", [PUSH, TAG])
def test_what_was_deleted_is_not_deployed(event: Push):
    gone = replace(event, deleted=True, commit="")
    decision = decide(gone, Options(tags=("v*",), branches=("*",)), APP)
    assert isinstance(decision, Skip)
    assert "deleted" in decision.reason


@pytest.mark.parametrize(
    "message,skipped",
    [
        ("Docs [skip ci]", True),
        ("Docs [ci skip]", True),
        ("Docs [SKIP CI]", True),
        ("Docs [skip deploy]", True),
        ("Docs [no ci]", True),
        ("Docs\n\n[skip-ci]", True),
        ("Explain skip ci", False),
        ("Explain [skip]", False),
        ("", False),
    ],
)
def test_a_message_can_ask_for_no_deployment(message: str, skipped: bool):
    assert says_skip(message) is skipped
    assert is_deployed(decide(replace(PUSH, message=message), Options(), APP)) is not skipped


@pytest.mark.parametrize(
    "patterns,wanted",
    [
        ((), True),
        (("src/**",), True),
        (("docs/**",), False),
        (("!docs/**",), True),
        (("!src/**",), False),
    ],
)
def test_which_files_matter(patterns: tuple[str, ...], wanted: bool):
    assert is_deployed(decide(PUSH, Options(paths=patterns), APP)) is wanted


@pytest.mark.parametrize(
    "patterns,branch,wanted",
    [
        ((), "", True),
        (("src/",), "main", True),
        (("docs/",), "", False),
        (("!src/",), "", False),
        ((), "live", False),
    ],
)
def test_the_file_of_an_app_says_which_pushes_it_wants(
    patterns: tuple[str, ...], branch: str, wanted: bool
):
    app = replace(APP, paths=patterns, branch=branch)
    assert is_deployed(decide(PUSH, Options(), app)) is wanted
    other = Options(branches=("main",), paths=("docs/**",))
    assert not is_deployed(decide(PUSH, other, app))


@pytest.mark.parametrize(
    "event",
    [replace(PUSH, paths=None), replace(PUSH, forced=True), replace(PUSH, created=True)],
    ids=["not told", "forced", "new branch"],
)
def test_without_knowing_every_file_it_is_deployed(event: Push):
    assert is_deployed(decide(event, Options(paths=("docs/**",)), APP))


def test_previews_are_off_unless_asked_for():
    assert isinstance(decide(PULL, Options(), APP), Skip)
    assert decide(PULL, PREVIEWS, APP) == OpenPreview(PULL, "umbrellas")


def test_a_fork_needs_an_allowance_of_its_own():
    decision = decide(FORK, PREVIEWS, APP)
    assert isinstance(decision, Skip)
    assert "fork" in decision.reason
    allowed = Options(previews=True, forks=True)
    assert decide(FORK, allowed, APP) == OpenPreview(FORK, "refs/pull/7/head")
    assert isinstance(decide(replace(FORK, fetch_ref=""), allowed, APP), Skip)


@pytest.mark.parametrize(
    "event", [replace(PULL, base_ref="next"), replace(PULL, title="Docs [skip ci]")]
)
def test_pull_requests_without_a_preview(event: PullRequest):
    assert isinstance(decide(event, PREVIEWS, APP), Skip)


@pytest.mark.parametrize("event", [PULL, FORK, replace(PULL, base_ref="next")])
@pytest.mark.parametrize("options", [Options(), PREVIEWS])
def test_a_closed_pull_request_always_loses_its_preview(event: PullRequest, options: Options):
    closed = replace(event, action=PullAction.CLOSED)
    assert decide(closed, options, APP) == ClosePreview(7)


@pytest.mark.parametrize("event", [Ping(), Unused("a star")])
def test_what_causes_nothing(event: Ping | Unused):
    assert isinstance(decide(event, Options(), APP), Skip)


@pytest.mark.parametrize(
    "url,path",
    [
        ("git@github.com:acme/shop.git", "acme/shop"),
        ("ssh://git@gitea.example.org:2222/Acme/Shop.git", "acme/shop"),
        ("https://user:secret@example.org/git/acme/shop/", "git/acme/shop"),
        ("https://example.org/acme/shop.git?x=1", "acme/shop"),
        ("example.org:acme/shop", "acme/shop"),
        ("file:///srv/git/shop.git", "srv/git/shop"),
        ("https://[::1", ""),
        ("", ""),
    ],
)
def test_the_path_in_a_url(url: str, path: str):
    assert repository_path(url) == path


@pytest.mark.parametrize(
    "url,name,same",
    [
        (URLS["github"], "acme/shop", True),
        (URLS["github"], "Acme/Shop", True),
        (URLS["github"], "acme/sho", False),
        (URLS["github"], "shop", False),
        (URLS["github"], "other/shop", False),
        ("https://example.org/acme/tools/shop", "tools/shop", False),
        ("", "acme/shop", False),
        ("https://example.org/", "acme/shop", False),
    ],
)
def test_whether_an_app_is_made_of_a_repository(url: str, name: str, same: bool):
    assert comes_from(FedApp("shop", url), Repository(name)) is same


def test_a_forge_below_a_path_tells_it_in_its_addresses():
    app = FedApp("shop", "https://example.org/git/acme/shop.git")
    assert not comes_from(app, SHOP)
    assert comes_from(app, replace(SHOP, urls=("https://example.org/git/Acme/shop",)))


@given(st.text())
def test_no_url_breaks_the_comparison(url: str):
    comes_from(FedApp("shop", url), Repository("acme/shop", urls=(url,)))
