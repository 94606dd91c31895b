"""Who gets in, and what browsers are kept from."""

from __future__ import annotations

import os

import pytest

from tests.surfaces.http.serving import Running

LIST = "/api/v1/notes"


def test_nobody_gets_in_without_proof(server: Running):
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}):
        reply = server.request("GET", LIST, token=None, headers=headers)
        assert (reply.status, reply.code) == (401, "unauthenticated")
        assert reply.headers["www-authenticate"] == 'Bearer realm="covey"'
    assert server.request("GET", LIST, token="wrong").status == 401


def test_an_expired_token_says_so(server: Running):
    reply = server.request("GET", LIST, token="expired")
    assert reply.status == 401
    assert "expired" in reply.json["error"]["message"]


def test_the_scheme_is_read_in_any_case(server: Running):
    headers = {"Authorization": "bEaReR  viewer "}
    assert server.request("GET", LIST, token=None, headers=headers).status == 200


def test_two_credentials_are_none(server: Running):
    head = b"GET /api/v1/notes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    twice = b"Authorization: Bearer viewer\r\nAuthorization: Bearer admin\r\n\r\n"
    assert server.raw(head + twice).startswith(b"HTTP/1.1 401 ")


def test_a_role_below_and_a_scope_beside_are_refused_and_kept(server: Running):
    for token in ("viewer", "admin/env.*"):
        reply = server.request("PUT", f"{LIST}/a", {"text": ""}, token=token)
        assert (reply.status, reply.code) == (403, "refused")
    assert [item.outcome for item in server.trail.entries] == ["refused", "refused"]
    assert {item.address for item in server.trail.entries} == {"127.0.0.1"}


def test_whoever_may_not_call_does_not_learn_what_is_wrong_with_the_call(server: Running):
    assert server.request("PUT", f"{LIST}/a", {"bad": 1}, token="viewer").code == "refused"


def test_a_locked_node_says_so(server: Running):
    server.authenticator.locked = True
    reply = server.request("GET", LIST)
    assert (reply.status, reply.code) == (423, "locked")


def test_the_unix_socket_is_private_and_its_user_is_known(server: Running):
    assert server.unix.stat().st_mode & 0o777 == 0o600
    assert server.request("PUT", f"{LIST}/a", {"text": ""}, unix=True).status == 200
    (entry,) = server.trail.entries
    assert (entry.caller, entry.kind, entry.address) == (f"uid {os.getuid()}", "local", "local")


def test_a_token_on_the_unix_socket_may_do_only_what_it_may(server: Running):
    headers = {"Authorization": "Bearer viewer"}
    reply = server.request("PUT", f"{LIST}/a", {"text": ""}, unix=True, headers=headers)
    assert reply.code == "refused"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:80", "a.localhost", "covey"])
def test_this_machines_names_are_answered(server: Running, host: str):
    assert server.request("GET", "/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:13500", "", "127.0.0.1.x"]
)
def test_a_rebound_name_is_refused(server: Running, host: str):
    for path in (LIST, "/health", "/docs"):
        assert server.request("GET", path, headers={"Host": host}).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_other_websites_are_refused_whatever_they_know(server: Running, headers: dict[str, str]):
    for method, body in (("GET", None), ("PUT", {"text": ""}), ("OPTIONS", None)):
        reply = server.request(method, f"{LIST}/a", body, headers=headers)
        assert reply.status == 403
    assert server.notes.held == {}


def test_our_own_pages_and_links_to_them_work(server: Running):
    own = {"Origin": "http://localhost:1", "Host": "localhost:1", "Sec-Fetch-Site": "same-origin"}
    assert server.request("GET", LIST, headers=own).status == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.request("GET", "/health", headers=link).status == 200


def test_metrics_need_a_viewer_in_scope(server: Running):
    assert server.request("GET", "/metrics", token=None).status == 401
    assert server.request("GET", "/metrics", token="viewer/note.*").status == 403
    assert server.request("GET", "/metrics", token="viewer/metrics").status == 200
    assert server.request("GET", "/metrics", unix=True).status == 200
