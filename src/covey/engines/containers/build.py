"""Build an image over the API: the context is packed while it is sent, the output told by line."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from covey.apps.containers import BuildRequest, Log
from covey.engines.containers.api import Api, LostError, RefusalError
from covey.engines.containers.context import read_context
from covey.engines.containers.failures import FULL_HINT, is_full
from covey.engines.containers.podman_storage import MARK
from covey.errors import CoveyError, DeadlineExceededError, StorageError

_TOLD_LINES = 12
_SHOWN = 400
_MOST_LINE = 64 << 10
_PERIOD_US = 100_000


class Told:
    """Hands output on line by line, without secrets, and keeps the last lines for the reason."""

    def __init__(self, log: Log, secret_values: Mapping[str, str]) -> None:
        self._log = log
        lines = {line for value in secret_values.values() for line in [value, *value.split("\n")]}
        self._hidden = sorted((line for line in lines if line.strip()), key=len, reverse=True)
        self.watch: Log | None = None
        """Is given each line as the engine said it."""
        self._rest = ""
        self._last: deque[str] = deque(maxlen=_TOLD_LINES)

    def feed(self, text: str) -> None:
        """Take output that may end within a line."""
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self.line(line)
        if len(self._rest) > _MOST_LINE:
            self._tell_the_start()

    def _tell_the_start(self) -> None:
        """Hand on a line that does not end, but for what may be the start of a secret."""
        rest = self.redacted(self._rest)
        kept = len(self._hidden[0]) if self._hidden else 0
        start = max(0, len(rest) - kept)
        if start:
            self.line(rest[:start])
            self._rest = rest[start:]

    def end(self) -> None:
        """Hand on a last line that has no end."""
        if self._rest:
            self.line(self._rest)
            self._rest = ""

    def line(self, line: str) -> None:
        """Hand on one line."""
        if self.watch is not None:
            self.watch(line)
        if MARK in line:
            return  # "build args were not consumed"
        shown = self.redacted(line.rstrip("\r"))
        if shown.strip():
            self._last.append(shown)
        self._log(shown)

    def redacted(self, text: str) -> str:
        """Return a text without the values of secrets."""
        for value in self._hidden:
            text = text.replace(value, "***")
        return text

    def failure(self, reason: str) -> CoveyError:
        """Return the error of a build that failed, with what it said last."""
        shown = self.redacted(reason.strip())
        last = [line for line in self._last if line != shown]
        details = {"reason": shown, "output": last}
        if is_full(shown) or any(is_full(line) for line in last):
            # An engine's own words about it may be a page long.
            told = [shortened(line) for line in ([] if is_full(shown) else [shown]) + last]
            return StorageError(
                "\n".join(["The build failed, because the disk is full.", *told]),
                hint=FULL_HINT,
                details=details,
            )
        return CoveyError(
            "\n".join([f"The build failed: {shown}", *last]),
            hint=_FETCH_HINT if _is_about_a_registry(shown) else _HINT,
            details=details,
        )


def shortened(line: str) -> str:
    """Cut a line that would fill a page."""
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN // 2]} … {line[-_SHOWN // 2 :]}"


_HINT = "Mend it and deploy again; the build's whole output is in the deployment's log."
_FETCH_HINT = (
    "A base image could not be fetched. See whether this machine reaches the image's registry "
    "and may read there, or build from an image that is here."
)
_REGISTRY_SIGNS = (
    "pinging container registry",
    "initializing source docker",
    "manifest unknown",
    "pull access denied",
    "failed to resolve source metadata",
    "error pulling image",
)


def _is_about_a_registry(reason: str) -> bool:
    lower = reason.lower()
    return any(sign in lower for sign in _REGISTRY_SIGNS)


async def build_over_api(api: Api, request: BuildRequest, told: Told, mark: str | None) -> str:
    """Build and return the image's id; a Podman takes a mark, and secrets beside the context.

    Its service moves them out of the context before the build sees it (as podman-remote does).
    """
    files = {f"podman-build-secret{secrets.token_hex(8)}": name for name in request.secrets}
    own = {path: request.secrets[name].encode() for path, name in files.items()}
    context = await asyncio.to_thread(
        read_context, request.context, request.dockerfile, request.dockerfile_text, own
    )
    query = build_query(request, context.dockerfile)
    if mark is not None:
        query["buildargs"] = {**request.args, MARK: mark}
        # Else the steps would be in the machine's own network.
        query["nsoptions"] = [{"Name": "network", "Host": False, "Path": ""}]
    if files:
        query["secrets"] = [f"id={name},src={path}" for path, name in files.items()]
    image = ""
    try:
        async with (
            asyncio.timeout(request.timeout_s),
            api.open("POST", "/build", query, context.packed()) as answer,
        ):
            async for line in answer.lines():
                image = _take(line, told) or image
    except TimeoutError as error:
        told.end()
        raise DeadlineExceededError(
            f"The build took longer than {request.timeout_s:.0f} s and was ended.",
            hint="Raise build_timeout under [apps], or see in its log what it waits for.",
        ) from error
    except RefusalError as error:
        raise told.failure(error.message) from error
    except LostError as error:
        raise told.failure("the container engine ended in the middle of it") from error
    told.end()
    if not image:
        raise told.failure("the container engine told no image")
    return image


def build_query(request: BuildRequest, dockerfile: str) -> dict[str, Any]:
    """Return the query of `POST /build`, without secrets."""
    query: dict[str, Any] = {
        "t": request.tag,
        "dockerfile": dockerfile,
        "labels": dict(request.labels),
        "buildargs": dict(request.args),
        "target": request.target,
        "nocache": not request.cache,
        "rm": True,
        "forcerm": True,
    }
    limits = request.resources
    if limits.memory_bytes is not None:
        query["memory"] = limits.memory_bytes
        query["memswap"] = limits.memory_bytes
    if limits.cpus is not None:
        query["cpuperiod"] = _PERIOD_US
        query["cpuquota"] = round(limits.cpus * _PERIOD_US)
    return query


class _Line(msgspec.Struct):
    stream: str = ""
    status: str = ""
    id: str = ""
    error: str = ""
    aux: Any = None


def _take(content: bytes, told: Told) -> str | None:
    """Tell a line of the answer; return the image's id if it names it."""
    try:
        line = msgspec.json.decode(content, type=_Line)
    except msgspec.DecodeError:
        told.feed(content.decode(errors="replace") + "\n")
        return None
    if line.error:
        told.end()
        raise told.failure(line.error)
    if line.stream:
        told.feed(line.stream)
    elif line.status:
        told.line(f"{line.id}: {line.status}" if line.id else line.status)
    if isinstance(line.aux, dict) and isinstance(line.aux.get("ID"), str):
        return str(line.aux["ID"])
    return None
