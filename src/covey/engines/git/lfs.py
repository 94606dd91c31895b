"""Contents that Git LFS keeps beside a repository (git-lfs, docs/api/batch.md), checked whole."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any

from covey.apps.git_urls import GitUrl, parse_git_url, place_of
from covey.apps.key_model import Credential, Token
from covey.engines.git.checkout import LfsFile, Place, lfs_url
from covey.engines.trees import TreeWriter
from covey.engines.working import Work
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnreachableError,
)

_TYPE = "application/vnd.git-lfs+json"
_BATCH = 100
_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_LONGEST_ANSWER = 16 << 20
_NEVER_SENT = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_REFUSED, _FORBIDDEN, _MISSING = 401, 403, 404


@dataclass(frozen=True, slots=True)
class _Action:
    """Where one content is, with the headers that its server wants."""

    href: str
    header: Mapping[str, str]


class LargeFiles:
    """Fetches contents over the batch API; `schemes` are those that its URLs may have."""

    def __init__(self, schemes: Collection[str], work: Work, most_bytes: int) -> None:
        self._schemes = frozenset(schemes) - {"ssh", "file"}
        self._work = work
        self._most_bytes = most_bytes
        self._opener = urllib.request.build_opener(_Redirects(self._schemes))

    def fetch(self, files: Sequence[LfsFile], writer: TreeWriter) -> None:
        """Write each content at its pointer's path.

        Raises `NotFoundError`, `RefusedError`, `TooLargeError`, or
        `UnreachableError`, also for a content that is not what its pointer says.
        """
        total = sum(item.pointer.size for item in files)
        if total > self._most_bytes:
            raise TooLargeError(
                f"Git LFS keeps {total >> 20} MiB for this commit, over "
                f"{self._most_bytes >> 20} MiB.",
                hint="Deploy a sub-directory without them, or an image",
            )
        groups: dict[tuple[Place, str], list[LfsFile]] = {}
        for item in files:
            groups.setdefault((item.place, _endpoint(item, self._schemes)), []).append(item)
        for (place, endpoint), members in groups.items():
            self._work.log(f"fetching {len(members)} files from Git LFS at {_place(endpoint)}")
            for at in range(0, len(members), _BATCH):
                self._fetch_some(members[at : at + _BATCH], endpoint, place.credential, writer)

    def _fetch_some(
        self,
        files: Sequence[LfsFile],
        endpoint: str,
        credential: Credential | None,
        writer: TreeWriter,
    ) -> None:
        actions = self._ask(files, endpoint, credential)
        for item in files:
            pointer = item.pointer
            if pointer.size == 0:
                writer.file(pointer.path, (), executable=pointer.executable)
                continue
            action = actions[pointer.sha256]
            chunks = self._download(item, action, credential)
            writer.file(pointer.path, chunks, executable=pointer.executable)

    def _ask(
        self, files: Sequence[LfsFile], endpoint: str, credential: Credential | None
    ) -> dict[str, _Action]:
        wanted = {item.pointer.sha256: item.pointer.size for item in files if item.pointer.size}
        if not wanted:
            return {}
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": oid, "size": size} for oid, size in wanted.items()],
        }
        headers = {"Accept": _TYPE, "Content-Type": _TYPE, **_basic(endpoint, credential)}
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked
            f"{endpoint}/objects/batch", json.dumps(body).encode(), headers
        )
        try:
            with self._open(request, endpoint) as answer:
                given = json.loads(self._whole(answer, endpoint))
            return {oid: self._action(given, oid) for oid in wanted}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreachableError(
                f"{_place(endpoint)} does not answer as Git LFS does.",
                hint="Is the repository's LFS server at another URL? See lfs.url in .lfsconfig",
            ) from error

    def _action(self, given: Any, oid: str) -> _Action:
        found = next(item for item in given["objects"] if item["oid"] == oid)
        if found.get("error"):
            message = str(found["error"].get("message", ""))[:200]
            raise NotFoundError(
                f"Git LFS has no content {oid[:12]}: {message}",
                hint="Push it: git lfs push --all REMOTE",
            )
        action = found["actions"]["download"]
        header = {str(key): str(value) for key, value in (action.get("header") or {}).items()}
        href = str(action["href"])
        _check_scheme(href, self._schemes)
        return _Action(href, header)

    def _download(
        self, item: LfsFile, action: _Action, credential: Credential | None
    ) -> Iterator[bytes]:
        headers = {
            key: value for key, value in action.header.items() if key.lower() not in _NEVER_SENT
        }
        if not any(key.lower() == "authorization" for key in headers):
            headers |= _basic(action.href, credential)
        request = urllib.request.Request(action.href, headers=headers)  # noqa: S310 - as above
        pointer = item.pointer
        digest = hashlib.sha256()
        left = pointer.size
        with self._open(request, action.href) as answer:
            while left > 0:
                chunk = self._read(answer, min(_CHUNK, left), action.href)
                if not chunk:
                    break
                left -= len(chunk)
                digest.update(chunk)
                yield chunk
            more = self._read(answer, 1, action.href)
        if left or more or digest.hexdigest() != pointer.sha256:
            raise UnreachableError(
                f"What Git LFS gave for {pointer.path[:100]} is not what its pointer says.",
                hint="Push the content again: git lfs push --all REMOTE",
            )

    def _whole(self, answer: HTTPResponse, url: str) -> bytes:
        found = bytearray()
        while chunk := self._read(answer, _CHUNK, url):
            found += chunk
            if len(found) > _LONGEST_ANSWER:
                raise ValueError("the answer is too long")
        return bytes(found)

    def _read(self, answer: HTTPResponse, size: int, url: str) -> bytes:
        """Read what is there: a server that sends drop by drop must not hold whoever cancels."""
        try:
            with self._work.network():
                return answer.read1(size)
        except (OSError, HTTPException) as error:
            raise _broken(_place(url), error) from error

    def _open(self, request: urllib.request.Request, url: str) -> HTTPResponse:
        place = _place(url)
        try:
            with self._work.network():
                return self._opener.open(request, timeout=_TIMEOUT_S)  # type: ignore[no-any-return]
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {_REFUSED, _FORBIDDEN}:
                raise RefusedError(
                    f"Git LFS at {place} asks for a key.",
                    hint="Use an https URL, and a token for that host: covey apps keys create",
                ) from error
            if error.code == _MISSING:
                raise NotFoundError(
                    f"{place} has no Git LFS for this repository.",
                    hint="Push the contents: git lfs push --all REMOTE",
                ) from error
            raise UnreachableError(
                f"Git LFS at {place} answered {error.code}.", hint="Try again later"
            ) from error
        except (OSError, HTTPException) as error:
            raise _broken(place, error) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed schemes, without the credentials for another host."""

    def __init__(self, schemes: Collection[str]) -> None:
        self._schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request to follow with."""
        _check_scheme(newurl, self._schemes)
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and _place(newurl) != _place(req.full_url):
            found.remove_header("Authorization")
        return found


def _endpoint(item: LfsFile, schemes: Collection[str]) -> str:
    """Return the LFS server of a repository: from its .lfsconfig, else beside its URL."""
    told = lfs_url(item.settings)
    if told:
        _check_scheme(told, schemes)
        return told.rstrip("/")
    url = item.place.url
    match url.scheme:
        case "ssh":
            url = GitUrl("https", url.host, f"/{url.path.lstrip('/')}")
        case "file":
            raise InvalidRequestError(
                "Git LFS contents of a repository on this machine's disk have no server.",
                hint="Name one as lfs.url in .lfsconfig",
            )
        case _:
            pass
    base = url.text.rstrip("/")
    return f"{base}/info/lfs" if base.endswith(".git") else f"{base}.git/info/lfs"


def _check_scheme(url: str, schemes: Collection[str]) -> None:
    """Raise `InvalidRequestError` for a URL that a server or repository may not lead to."""
    parse_git_url(url.partition("?")[0], schemes)


def _basic(url: str, credential: Credential | None) -> dict[str, str]:
    if not isinstance(credential, Token) or _place(url) != credential.host:
        return {}
    text = base64.b64encode(f"{credential.user}:{credential.token}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def _place(url: str) -> str:
    return place_of(url.partition("?")[0]) or "the LFS server"


def _broken(place: str, error: Exception) -> CoveyError:
    reason = getattr(error, "reason", None) or error
    return UnreachableError(
        f"Git LFS at {place} cannot be reached: {reason}.",
        hint="Check this machine's network: covey doctor",
    )
