"""The URLs by which repositories are named: which are taken, and how relative ones are resolved."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urlsplit

from covey.errors import InvalidRequestError

ALWAYS = frozenset({"https", "ssh"})
ON_REQUEST = frozenset({"file", "http"})
"""Schemes that a node's settings may allow: a file of this machine, and HTTP that all can read."""

_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_SCP = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>\[[^\]/]+\]|[^@/:\[\]]+):(?P<path>[^:].*)")
_PRINTABLE = re.compile(r"[^\x00-\x20\x7f]+")
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_LONGEST = 2048
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|[/.]$|\.lock$|/\.")


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A repository's place; `path` starts with a slash, except after `host:` in the short form."""

    scheme: str
    host: str
    path: str
    user: str = ""
    port: int | None = None

    @property
    def text(self) -> str:
        """The URL as libgit2 takes it."""
        if self.scheme == "file":
            return f"file://{quote(self.path)}"
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        slash = "" if self.path.startswith("/") else "/"
        return f"{self.scheme}://{user}{self.host}{port}{slash}{self.path}"

    @property
    def place(self) -> str:
        """Host and port, by which host keys and tokens are bound."""
        port = _PORTS.get(self.scheme) if self.port is None else self.port
        return self.host if port == _PORTS.get(self.scheme) else f"{self.host}:{port}"


def parse_git_url(text: str, allowed: Collection[str] = ALWAYS) -> GitUrl:
    """Read `https://…`, `ssh://…`, `user@host:path`, and what else `allowed` names.

    Raises `InvalidRequestError`, also for a password in the URL: it would reach logs.
    """
    if len(text) > _LONGEST or not _PRINTABLE.fullmatch(text) or text.startswith("-"):
        raise _bad("is not a URL", text)
    found = _local(text) if text.startswith("/") else None
    if found is None and "://" in text:
        found = _split(text)
    elif found is None:
        found = _short(text)
    if found.scheme not in allowed:
        raise _scheme(found.scheme, text)
    if found.scheme != "file":
        _check_remote(found, text)
    return found


def place_of(url: str) -> str:
    """Return host and port of any URL, as `GitUrl.place` does; "" if there is none."""
    try:
        return parse_git_url(url, ALWAYS | ON_REQUEST).place
    except InvalidRequestError:
        return ""


def join_git_url(base: GitUrl, relative: str, allowed: Collection[str] = ALWAYS) -> GitUrl:
    """Resolve a submodule's URL, which may start with `./` or `../`, as git-submodule does."""
    if not relative.startswith(("./", "../")):
        return parse_git_url(relative, allowed)
    if not _PRINTABLE.fullmatch(relative):
        raise _bad("is not a URL", relative)
    parts = base.path.rstrip("/").split("/")
    for part in relative.rstrip("/").split("/"):
        if part == "..":
            if len(parts) <= 1:
                raise _bad("leads out of the host", relative)
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    path = "/".join(parts)
    if path in {"", "/"}:
        raise _bad("leads out of the host", relative)
    return replace(base, path=path)


def is_commit(text: str) -> bool:
    """Whether a text is a full commit id."""
    return _COMMIT.fullmatch(text) is not None


def check_ref(ref: str) -> str:
    """Return a branch, tag, commit or full ref that may be asked for.

    Raises `InvalidRequestError` for what git-check-ref-format(1) refuses.
    """
    if ref and (len(ref) > _LONGEST or _BAD_IN_REF.search(ref)):
        raise InvalidRequestError(
            f"{ref[:100]!r} is no name of a branch, tag or commit.",
            hint="Name one that the repository has, for instance: main",
        )
    return ref


def check_subdirectory(text: str) -> str:
    """Return a sub-directory's path without dots and slashes at its ends; "" is the root.

    Raises `InvalidRequestError` if it leads out of the repository.
    """
    path = posixpath.normpath(text) if text else "."
    if path.startswith(("/", "../")) or path == ".." or "\0" in path:
        raise InvalidRequestError(
            f"The sub-directory {text[:100]!r} leads out of the source.",
            hint="Name a directory inside of it, for instance: services/web",
        )
    return "" if path == "." else path


def _local(text: str) -> GitUrl:
    return GitUrl("file", "", posixpath.normpath(text))


def _split(text: str) -> GitUrl:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _bad("is not a URL", text) from error
    scheme = parts.scheme.lower()
    if scheme == "file":
        if parts.netloc not in {"", "localhost"}:
            raise _bad("names a file of another machine", text)
        return _local(unquote(parts.path) or "/")
    if scheme not in ALWAYS | ON_REQUEST:
        raise _scheme(scheme, text)
    if parts.password is not None or (scheme != "ssh" and parts.username):
        raise InvalidRequestError(
            "The repository's URL holds a user name or password, which would reach logs.",
            hint="Keep the token in Covey, and name it: covey apps keys create --help",
        )
    if parts.query or parts.fragment:
        raise _bad("has a query or fragment", text)
    host = parts.netloc.rpartition("@")[2]
    if port is not None:
        host = host.rpartition(":")[0]
    return GitUrl(scheme, host.lower(), parts.path, parts.username or "", port)


def _short(text: str) -> GitUrl:
    found = _SCP.fullmatch(text)
    if found is None or "::" in text or "@" in found["path"].partition("/")[0]:
        raise _bad("is not a URL", text)
    return GitUrl("ssh", found["host"].lower(), found["path"], found["user"] or "git")


def _check_remote(url: GitUrl, text: str) -> None:
    if not _HOST.fullmatch(url.host) or (url.user and not _USER.fullmatch(url.user)):
        raise _bad("names no valid host", text)
    if url.path.strip("/") == "" or ".." in url.path.split("/") or url.path.startswith("-"):
        raise _bad("names no repository", text)


def _scheme(scheme: str, text: str) -> InvalidRequestError:
    if scheme in ON_REQUEST:
        hint = f'Allow it in covey.toml of that host: [apps] git_schemes = ["{scheme}"]'
    else:
        hint = "Use https://HOST/PATH or git@HOST:PATH"
    return _bad(f"has the scheme {scheme[:20]!r}, which is not allowed here", text, hint)


def _bad(
    what: str, text: str, hint: str = "Use https://HOST/PATH or git@HOST:PATH"
) -> InvalidRequestError:
    # Whatever may be a password is not told: what is before the last @, and a query.
    shown = re.sub(r"(^|//).*@", r"\1…@", text.partition("?")[0])[:200]
    return InvalidRequestError(f"The repository's URL {what}: {shown!r}.", hint=hint)
