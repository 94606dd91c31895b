"""Commit statuses and pull requests, against a strict stand-in for each forge."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web

from covey.apps.webhooks.model import ForgeName
from covey.apps.webhooks.ports import (
    CommitState,
    CommitStatus,
    ForgeAccess,
    ForgeInterface,
    PullState,
)
from covey.engines.forges import Forges
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    UnreachableError,
)
from covey.operations.secret import Secret
from tests.engines.forge_stand_in import COMMIT, TOKEN, StandIn, stand_in

T = TypeVar("T")
FORGES = ["github", "gitlab", "gitea", "bitbucket"]
STATUS = CommitStatus(
    COMMIT, CommitState.SUCCESS, "covey/shop", "Serves", "https://shop.example.org/"
)
every_forge = pytest.mark.parametrize("forge", FORGES)


def ask(forge: str, work: Callable[[Forges, ForgeAccess, StandIn], Awaitable[T]]) -> T:
    async def run() -> T:
        async with stand_in(forge) as server:
            access = ForgeAccess(ForgeName(forge), server.base, Secret(TOKEN))
            found = await work(Forges(timeout_s=5), access, server)
            assert server.faults == []
            return found

    return asyncio.run(run())


def refusal_of(
    forge: str, answer: Callable[[web.Request], web.StreamResponse], timeout_s: float = 5
) -> CoveyError:
    """Return the error that an answer becomes."""

    async def run() -> CoveyError:
        async with stand_in(forge) as server:
            server.next.append(answer)
            access = ForgeAccess(ForgeName(forge), server.base, Secret(TOKEN))
            with pytest.raises(CoveyError) as caught:
                await Forges(timeout_s).set_status(access, "acme/shop", STATUS)
            assert TOKEN not in "".join(traceback.format_exception(caught.value))
            assert TOKEN not in f"{caught.value!r} {caught.value.hint} {caught.value.details}"
            return caught.value

    return asyncio.run(run())


def conforms(forges: Forges) -> ForgeInterface:
    """Show the type checker that the engine is what the domain asks for."""
    return forges


@every_forge
def test_passwords_that_the_machine_keeps_for_the_host_are_not_sent(
    forge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password hidden\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    ask(forge, lambda forges, access, _: forges.set_status(access, "acme/shop", STATUS))


def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with stand_in("github") as server:
            monkeypatch.setenv("http_proxy", server.base.removesuffix("/base"))
            access = ForgeAccess(ForgeName.GITHUB, "http://forge.invalid/base", Secret(TOKEN))
            with pytest.raises(NotFoundError):  # the stand-in is no proxy, but it was asked
                await Forges(timeout_s=5).set_status(access, "acme/shop", STATUS)
            monkeypatch.setenv("no_proxy", "forge.invalid")
            with pytest.raises(UnreachableError):
                await Forges(timeout_s=5).set_status(access, "acme/shop", STATUS)

    asyncio.run(run())


@every_forge
@pytest.mark.parametrize("state", list(CommitState))
def test_a_status(forge: str, state: CommitState):
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> dict[str, str]:
        await forges.set_status(
            access, "acme/shop", CommitStatus(COMMIT, state, "covey/shop", "So it is", STATUS.url)
        )
        (found,) = server.statuses
        return found

    found = ask(forge, work)
    expected = {
        "github": {"pending": "pending", "success": "success", "failure": "failure"},
        "gitea": {"pending": "pending", "success": "success", "failure": "failure"},
        "gitlab": {"pending": "running", "success": "success", "failure": "failed"},
        "bitbucket": {"pending": "INPROGRESS", "success": "SUCCESSFUL", "failure": "FAILED"},
    }
    assert found["state"] == expected[forge][state.value]
    assert found["description"] == "So it is"
    assert STATUS.url in found.values()
    assert "covey/shop" in found.values()


@every_forge
def test_a_status_without_a_link(forge: str):
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        await forges.set_status(
            access, "acme/shop", CommitStatus(COMMIT, CommitState.PENDING, "covey/shop", "Begins")
        )
        assert len(server.statuses) == 1

    ask(forge, work)


def test_long_names_stay_apart_on_bitbucket():
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        for name in ("a", "b"):
            context = "covey/" + "x" * 40 + name
            await forges.set_status(
                access, "acme/shop", CommitStatus(COMMIT, CommitState.SUCCESS, context, "Serves")
            )
        first, second = server.statuses
        assert first["key"] != second["key"]

    ask("bitbucket", work)


@every_forge
@pytest.mark.parametrize(
    "state,expected",
    [
        ("open", PullState.OPEN),
        ("opened", PullState.OPEN),
        ("OPEN", PullState.OPEN),
        ("closed", PullState.CLOSED),
        ("merged", PullState.CLOSED),
        ("MERGED", PullState.CLOSED),
        ("DECLINED", PullState.CLOSED),
    ],
)
def test_whether_a_pull_request_is_open(forge: str, state: str, expected: PullState):
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> PullState:
        server.pulls["7"] = state
        return await forges.pull_state(access, "acme/shop", 7)

    assert ask(forge, work) is expected


@every_forge
def test_a_pull_request_that_is_not_there(forge: str):
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        with pytest.raises(NotFoundError):
            await forges.pull_state(access, "acme/shop", 8)

    ask(forge, work)


@every_forge
@pytest.mark.parametrize("body", [b"", b"[]", b'{"state": 7}', b"\xff", b"[" * 100_000])
def test_an_answer_that_is_none(forge: str, body: bytes):
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        server.next.append(lambda _: web.Response(body=body))
        with pytest.raises(UnreachableError):
            await forges.pull_state(access, "acme/shop", 7)

    ask(forge, work)


@every_forge
@pytest.mark.parametrize(
    "status,kind",
    [
        (401, RefusedError),
        (403, RefusedError),
        (404, NotFoundError),
        (400, InvalidRequestError),
        (422, InvalidRequestError),
        (301, InvalidRequestError),
        (429, RateLimitedError),
        (500, UnreachableError),
        (503, UnreachableError),
    ],
)
def test_what_each_refusal_becomes(forge: str, status: int, kind: type[CoveyError]):
    headers = {"Location": "https://elsewhere.example.org/"} if status == 301 else {}

    def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=str(request.headers), headers=headers)

    assert type(refusal_of(forge, answer)) is kind


def test_githubs_limit_comes_as_a_403():
    limited = {"X-RateLimit-Remaining": "0", "Retry-After": "17"}
    error = refusal_of("github", lambda _: web.Response(status=403, headers=limited))
    assert isinstance(error, RateLimitedError)
    assert error.details["retry_after"] == 17


@pytest.mark.parametrize("text", ["-5", "Fri, 31 Dec 2027 23:59:59 GMT", "9" * 400, "0"])
def test_a_strange_retry_after(text: str):
    error = refusal_of("gitea", lambda _: web.Response(status=429, headers={"Retry-After": text}))
    wait = error.details["retry_after"]
    assert isinstance(wait, int)
    assert 1 <= wait <= 3600


def test_gitlab_refuses_a_state_that_the_commit_is_in_already():
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        message = {"message": "Cannot transition status via :run from :running (Reason(s): …)"}
        server.next.append(lambda _: web.json_response(message, status=400))
        await forges.set_status(access, "acme/shop", STATUS)

    ask("gitlab", work)


def test_a_redirect_is_not_followed():
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        elsewhere = {"Location": server.base + "/elsewhere"}
        server.next.append(lambda _: web.Response(status=307, headers=elsewhere))
        with pytest.raises(InvalidRequestError):
            await forges.set_status(access, "acme/shop", STATUS)
        assert len(server.requests) == 1

    ask("github", work)


def test_an_endless_answer_is_cut():
    def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (5 << 20))

    assert isinstance(refusal_of("github", answer), UnreachableError)


def test_a_forge_that_is_not_there():
    async def work() -> None:
        async with stand_in("github") as server:
            base = server.base
        access = ForgeAccess(ForgeName.GITHUB, base, Secret(TOKEN))
        with pytest.raises(UnreachableError):
            await Forges(timeout_s=5).set_status(access, "acme/shop", STATUS)

    asyncio.run(work())


def test_a_forge_that_does_not_answer():
    async def work() -> None:
        async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)

        held: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        access = ForgeAccess(ForgeName.GITHUB, f"http://127.0.0.1:{port}", Secret(TOKEN))
        with pytest.raises(UnreachableError):
            await Forges(timeout_s=0.1).set_status(access, "acme/shop", STATUS)
        for writer in held:
            writer.close()
        server.close()

    asyncio.run(work())


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\x00b", "ä"])
def test_a_token_that_no_header_can_hold(token: str):
    async def work() -> None:
        async with stand_in("github") as server:
            access = ForgeAccess(ForgeName.GITHUB, server.base, Secret(token))
            with pytest.raises(CoveyError) as caught:
                await Forges(timeout_s=5).set_status(access, "acme/shop", STATUS)
            assert token not in "".join(traceback.format_exception(caught.value))

    asyncio.run(work())


def test_a_hostile_name_stays_in_its_place():
    async def work(forges: Forges, access: ForgeAccess, server: StandIn) -> None:
        for name in ("acme/shop?x=1", "acme/shop#x", "acme shop"):
            with pytest.raises(CoveyError):
                await forges.pull_state(access, name, 7)
        for request in server.requests:
            assert request.query_string == ""
            assert request.raw_path.startswith("/base/repos/acme")

    ask("github", work)


def test_aiohttp_is_not_loaded_until_it_is_needed():
    code = (
        "import sys, covey.engines.forges as f; f.Forges(); "
        "sys.exit(bool({'aiohttp', 'yarl'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
