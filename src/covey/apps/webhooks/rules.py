"""What an event means for an app; pure, and every refusal says why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from covey.apps.changed_files import names_any
from covey.apps.webhooks.globs import any_matches
from covey.apps.webhooks.model import (
    Event,
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

_SKIP = re.compile(r"\[(?:(?:skip|no)[ -](?:ci|deploy)|(?:ci|deploy)[ -]skip)\]", re.IGNORECASE)
_USUAL_BRANCHES = ("main", "master")
_SCP = re.compile(r"(?:[^@/:\s]+@)?(?P<host>[^/:\s]+):(?P<path>(?!//).+)")


class Options(msgspec.Struct, frozen=True):
    """What an integration lets through.

    Without `branches` and `tags`, pushes to the branch that the app follows; with `tags` alone,
    tags alone. The patterns of the app's own file hold besides `paths`. With `releases`, a
    release's tag counts and a pushed tag does not. `forks` lets the code of anybody who opens a
    pull request run with the preview's variables.
    """

    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    releases: bool = False
    previews: bool = False
    forks: bool = False
    max_previews: int = 5


@dataclass(frozen=True, slots=True)
class Deploy:
    """Deploy a branch's present head, or a tag."""

    kind: RefKind
    ref: str
    commit: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class OpenPreview:
    """Deploy a pull request's head as a preview, or bring its preview up to date."""

    pull: PullRequest
    ref: str


@dataclass(frozen=True, slots=True)
class ClosePreview:
    """Remove the preview of a pull request."""

    number: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Do nothing, and say why."""

    reason: str


Decision = Deploy | OpenPreview | ClosePreview | Skip


def decide(event: Event, options: Options, app: FedApp) -> Decision:
    """Return what an event does to an app."""
    match event:
        case Push():
            return _push(event, options, app)
        case PullRequest():
            return _pull(event, options, app)
        case Release():
            return _release(event, options)
        case Ping():
            return Skip("a ping")
        case Unused():
            return Skip(f"nothing follows from: {event.what}")


def comes_from(app: FedApp, repository: Repository) -> bool:
    """Whether an app's source is this repository, by its path or one of its addresses."""
    path = repository_path(app.url)
    known = {repository.name.lower(), *(repository_path(item) for item in repository.urls)}
    return bool(path) and path in known


def repository_path(url: str) -> str:
    """Return the path in a git URL of either form, in lower case and without `.git`."""
    scp = _SCP.fullmatch(url)
    try:
        path = scp["path"] if scp is not None and "://" not in url else urlsplit(url).path
    except ValueError:
        return ""
    return path.lower().strip("/").removesuffix(".git").strip("/")


def says_skip(message: str) -> bool:
    """Whether a commit's message or a title asks for no deployment."""
    return _SKIP.search(message) is not None


def _push(event: Push, options: Options, app: FedApp) -> Decision:
    what = f"{event.kind.value} {event.ref}"
    if event.deleted:
        return Skip(f"{what} was deleted")
    if not _wanted(event, options, app):
        return Skip(f"{what} is not deployed")
    if says_skip(event.message):
        return Skip("the commit's message says to skip it")
    if event.kind is RefKind.BRANCH and _untouched(event, options, app):
        return Skip("no file changed that matters here")
    return Deploy(event.kind, event.ref, event.commit, event.message)


def _wanted(event: Push, options: Options, app: FedApp) -> bool:
    match event.kind:
        case RefKind.TAG:
            return not options.releases and any_matches((event.ref,), options.tags)
        case RefKind.BRANCH:
            if not options.branches and (options.tags or options.releases):
                return False
            return _followed(event.ref, event.repository, options, app)


def _untouched(event: Push, options: Options, app: FedApp) -> bool:
    """Whether it is sure that no file changed that matters.

    Of a new branch or a forced push, the listed commits do not tell all that changed.
    """
    if event.paths is None or event.created or event.forced:
        return False
    if options.paths and not any_matches(event.paths, options.paths):
        return True
    return bool(app.paths) and not names_any(app.paths, event.paths)


def _followed(branch: str, repository: Repository, options: Options, app: FedApp) -> bool:
    if options.branches:
        return any_matches((branch,), options.branches)
    if app.branch:
        return branch == app.branch
    if app.ref:
        return branch == app.ref.removeprefix("refs/heads/")
    if repository.default_branch:
        return branch == repository.default_branch
    return branch in _USUAL_BRANCHES


def _release(event: Release, options: Options) -> Decision:
    if not options.releases:
        return Skip("releases are not deployed")
    if options.tags and not any_matches((event.tag,), options.tags):
        return Skip(f"tag {event.tag} is not deployed")
    return Deploy(RefKind.TAG, event.tag)


def _pull(event: PullRequest, options: Options, app: FedApp) -> Decision:
    if event.action is PullAction.CLOSED:
        return ClosePreview(event.number)
    if not (options.previews or app.previews):
        return Skip("previews are off")
    if event.from_fork and not options.forks:
        return Skip("it comes from a fork: its code would run with the preview's variables")
    if not _followed(event.base_ref, event.repository, options, app):
        return Skip(f"branch {event.base_ref} is not deployed")
    if says_skip(event.title):
        return Skip("the title says to skip it")
    ref = event.fetch_ref if event.from_fork else event.head_ref
    if not ref:
        return Skip("this forge has no ref by which a fork's commits can be fetched")
    return OpenPreview(event, ref)
