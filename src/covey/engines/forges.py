"""The interfaces of GitHub, GitLab, Gitea and Bitbucket: commit statuses, and pull requests.

aiohttp is loaded with the first request: most nodes never make one.
"""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from covey.apps.webhooks.model import ForgeName
from covey.apps.webhooks.ports import (
    CommitState,
    CommitStatus,
    ForgeAccess,
    PullState,
)
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    UnreachableError,
)

if TYPE_CHECKING:
    import aiohttp

_BASES = {
    ForgeName.GITHUB: "https://api.github.com",
    ForgeName.GITLAB: "https://gitlab.com/api/v4",
    ForgeName.GITEA: "https://gitea.com/api/v1",
    ForgeName.BITBUCKET: "https://api.bitbucket.org/2.0",
}
_AGENT = "Covey"
_TIMEOUT_S = 20.0
_MAX_ANSWER_BYTES = 4 << 20
_MAX_KEY = 40
_LONGEST_WAIT_S = 3600
_OK, _REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = 200, 300, 400, 500
_GITLAB_STATES = {
    CommitState.PENDING: "running",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
}
_BITBUCKET_STATES = {
    CommitState.PENDING: "INPROGRESS",
    CommitState.SUCCESS: "SUCCESSFUL",
    CommitState.FAILURE: "FAILED",
}


@dataclass(frozen=True, slots=True)
class _Request:
    """One request to a forge; a 400 with `fine` in it says that all is as asked for already."""

    method: str
    path: str
    body: Mapping[str, str] | None = None
    fine: bytes | None = None


class _Answer(msgspec.Struct, frozen=True):
    """What is read of a pull request."""

    state: str


class Forges:
    """Implements `ForgeInterface`; each request has a connection of its own, for they are few."""

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    async def set_status(self, access: ForgeAccess, repository: str, status: CommitStatus) -> None:
        """Set a commit's status."""
        await self._send(access, _status_request(access.forge, repository, status))

    async def pull_state(self, access: ForgeAccess, repository: str, number: int) -> PullState:
        """Return whether a pull request is open."""
        request = _pull_request(access.forge, repository, number)
        data = await self._send(access, request)
        try:
            state = msgspec.json.decode(data, type=_Answer).state
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _strange(access) from error
        return PullState.OPEN if state.lower() in {"open", "opened"} else PullState.CLOSED

    async def _send(self, access: ForgeAccess, request: _Request) -> bytes:
        import aiohttp  # noqa: PLC0415 - see above

        url = (access.base or _BASES[access.forge]) + request.path
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                # The environment's proxy counts, but no password of ~/.netrc: a token is given.
                aiohttp.ClientSession(headers=_headers(access), trust_env=False) as session,
                session.request(
                    request.method,
                    _exact(url),
                    proxy=_proxy(url),
                    data=None if request.body is None else msgspec.json.encode(request.body),
                    # A redirect could take the token elsewhere.
                    allow_redirects=False,
                ) as response,
            ):
                content = await _bounded(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, OSError, ValueError):
            # The foreign error may quote the request's headers.
            raise _silent(access) from None
        if _OK <= status < _REDIRECTS:
            return content
        if status == _CLIENT_ERRORS and request.fine is not None and request.fine in content:
            return content
        raise _refusal(access, status, headers)


def _status_request(forge: ForgeName, repository: str, status: CommitStatus) -> _Request:
    name, commit = repository, quote(status.commit, safe="")
    match forge:
        case ForgeName.GITHUB | ForgeName.GITEA:
            return _Request(
                "POST",
                f"/repos/{_path(name)}/statuses/{commit}",
                _filled(
                    state=status.state.value,
                    context=status.context,
                    description=status.description,
                    target_url=status.url,
                ),
            )
        case ForgeName.GITLAB:
            return _Request(
                "POST",
                f"/projects/{quote(name, safe='')}/statuses/{commit}",
                _filled(
                    state=_GITLAB_STATES[status.state],
                    name=status.context,
                    description=status.description,
                    target_url=status.url,
                ),
                b"Cannot transition status",
            )
        case ForgeName.BITBUCKET:
            # It wants a link: without one of the deployment, the commit's own.
            return _Request(
                "POST",
                f"/repositories/{_path(name)}/commit/{commit}/statuses/build",
                _filled(
                    key=_key(status.context),
                    state=_BITBUCKET_STATES[status.state],
                    name=status.context,
                    description=status.description,
                    url=status.url or f"https://bitbucket.org/{_path(name)}/commits/{commit}",
                ),
            )


def _pull_request(forge: ForgeName, repository: str, number: int) -> _Request:
    match forge:
        case ForgeName.GITHUB | ForgeName.GITEA:
            return _Request("GET", f"/repos/{_path(repository)}/pulls/{number}")
        case ForgeName.GITLAB:
            project = quote(repository, safe="")
            return _Request("GET", f"/projects/{project}/merge_requests/{number}")
        case ForgeName.BITBUCKET:
            return _Request("GET", f"/repositories/{_path(repository)}/pullrequests/{number}")


def _headers(access: ForgeAccess) -> dict[str, str]:
    common = {
        "User-Agent": _AGENT,
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    return common | _credentials(access.forge, access.token.reveal())


def _credentials(forge: ForgeName, token: str) -> dict[str, str]:
    match forge:
        case ForgeName.GITHUB:
            kind = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
            return {**kind, "Authorization": f"Bearer {token}"}
        case ForgeName.GITLAB:
            return {"PRIVATE-TOKEN": token}
        case ForgeName.GITEA:
            return {"Authorization": f"token {token}"}
        case ForgeName.BITBUCKET:
            return {"Authorization": f"Bearer {token}"}


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(1 << 16):
        size += len(part)
        if size > _MAX_ANSWER_BYTES:
            raise ValueError("the answer is too long")
        parts.append(part)
    return b"".join(parts)


def _exact(url: str) -> Any:
    """Return a URL whose escapes stay as they are: GitLab wants `acme%2Fshop`."""
    from yarl import URL  # noqa: PLC0415 - comes with aiohttp

    return URL(url, encoded=True)


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _key(context: str) -> str:
    """Return what Bitbucket tells statuses apart by: at most 40 characters."""
    if len(context) <= _MAX_KEY:
        return context
    return hashlib.blake2b(context.encode(), digest_size=_MAX_KEY // 2).hexdigest()


def _path(name: str) -> str:
    return quote(name, safe="/")


def _filled(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _refusal(access: ForgeAccess, status: int, headers: Mapping[str, str]) -> CoveyError:
    forge = access.forge.value
    wait = _wait(headers)
    match status:
        case 429:
            limited = True
        case 403:
            limited = headers.get("X-RateLimit-Remaining") == "0" or "Retry-After" in headers
        case _:
            limited = False
    if limited:
        return RateLimitedError(
            f"{forge} takes no more requests for now.", details={"retry_after": wait}
        )
    if status in {401, 403}:
        return RefusedError(
            f"{forge} refuses the webhook's token ({status}).",
            hint="Make a token that may set commit statuses, and the webhook anew with it.",
        )
    if status == 404:  # noqa: PLR2004 - Not Found
        return NotFoundError(
            f"{forge} does not know the repository, commit or pull request.",
            hint="A token that may not see a repository gets the same answer.",
        )
    if _CLIENT_ERRORS <= status < _SERVER_ERRORS:
        return InvalidRequestError(f"{forge} does not accept the request ({status}).")
    if _REDIRECTS <= status < _CLIENT_ERRORS:
        return InvalidRequestError(
            f"{forge} sends the request elsewhere ({status}), which is not followed.",
            hint="Give the webhook the address of the forge's interface: --api-base",
        )
    return UnreachableError(f"{forge} answered with status {status}.")


def _wait(headers: Mapping[str, str]) -> int:
    text = headers.get("Retry-After", "")
    seconds = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 60  # noqa: PLR2004
    return max(1, min(seconds, _LONGEST_WAIT_S))


def _silent(access: ForgeAccess) -> CoveyError:
    return UnreachableError(
        f"The interface of {access.forge.value} could not be asked.",
        hint="It is tried again by itself; check the webhook's --api-base if that goes on.",
    )


def _strange(access: ForgeAccess) -> CoveyError:
    return UnreachableError(f"{access.forge.value} answered with something that is no such answer.")
