"""Requests in, results and errors out."""

from __future__ import annotations

import json

import pytest

from tests.surfaces.http.serving import Running

NOTE = "/api/v1/notes/first"


def test_a_record_is_written_read_listed_and_deleted(server: Running):
    put = server.request("PUT", NOTE, {"text": 'é\n"$`', "colour": "red"})
    assert (put.status, put.json["version"]) == (200, "1")
    got = server.request("GET", NOTE)
    assert got.json == put.json
    assert got.headers["content-type"] == "application/json"
    listed = server.request("GET", "/api/v1/notes?colour=red&colour=green&newest=true")
    assert listed.json == {"items": [put.json], "next_cursor": None}
    assert server.request("DELETE", NOTE).json is None
    assert server.request("GET", NOTE).code == "not_found"


def test_pages_go_on_where_they_ended(server: Running):
    names = [f"n{number}" for number in range(5)]
    for name in names:
        server.request("PUT", f"/api/v1/notes/{name}", {"text": ""})
    seen, cursor = [], ""
    while cursor is not None:
        page = server.request("GET", f"/api/v1/notes?limit=2{cursor}").json
        seen += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert seen == names


def test_a_literal_segment_goes_before_a_parameter(server: Running):
    assert server.request("GET", "/api/v1/notes/count?ratio=2").json == 0
    assert server.request("PUT", "/api/v1/notes/count", {"text": ""}).status == 405


@pytest.mark.parametrize(
    "method,path,body,headers,status,code",
    [
        ("GET", "/nowhere", None, {}, 404, "not_found"),
        ("GET", "/api/v1/notes/", None, {}, 404, "not_found"),
        ("POST", NOTE, {"text": ""}, {}, 405, "method_not_allowed"),
        ("GET", "/api/v1/notes?limit=0", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes?limit=two", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes?limit=1&limit=2", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes?unknown=1", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes?match=%ff", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes?match=%00", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes/count?ratio=nan", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes/count?ratio=inf", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes/no%20name", None, {}, 400, "invalid_request"),
        ("GET", "/api/v1/notes/a%2Fb", None, {}, 400, "invalid_request"),
        ("GET", NOTE, b"{}", {}, 400, "invalid_request"),
        ("PUT", NOTE, None, {}, 400, "invalid_request"),
        ("PUT", NOTE, {}, {}, 400, "invalid_request"),
        ("PUT", NOTE, [], {}, 400, "invalid_request"),
        ("PUT", NOTE, {"text": 1}, {}, 400, "invalid_request"),
        ("PUT", NOTE, {"text": "", "more": 1}, {}, 400, "invalid_request"),
        ("PUT", NOTE, {"text": "", "name": "other"}, {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":"a","text":"b"}', {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":NaN}', {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":"\xff"}', {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":"\\ud800"}', {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":"a"', {}, 400, "invalid_request"),
        ("PUT", NOTE, b"\xef\xbb\xbf{}", {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":' + b"[" * 100_000, {}, 400, "invalid_request"),
        ("PUT", NOTE, b'{"text":' + b'{"a":' * 100_000, {}, 400, "invalid_request"),
        ("PUT", NOTE, b"text=a", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("PUT", NOTE, {"text": ""}, {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        ("PUT", NOTE, b" " * 1_048_577, {}, 413, "too_large"),
        ("GET", NOTE, None, {"Covey-Timeout": "nan"}, 400, "invalid_request"),
        ("GET", NOTE, None, {"Covey-Timeout": "-1"}, 400, "invalid_request"),
        ("GET", NOTE, None, {"Covey-Timeout": "0.9"}, 400, "invalid_request"),
        ("POST", "/api/v1/wait", None, {"Covey-Timeout": "1"}, 504, "deadline_exceeded"),
    ],
)
def test_what_is_wrong_has_its_status_and_code(
    server: Running,
    method: str,
    path: str,
    body: object,
    headers: dict[str, str],
    status: int,
    code: str,
):
    reply = server.request(method, path, body, headers=headers)
    assert (reply.status, reply.code) == (status, code)


def test_a_chunked_body_is_limited_as_it_arrives(server: Running):
    head = (
        b"PUT /api/v1/notes/first HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"%x\r\n%s\r\n" % (600_000, b" " * 600_000)
    assert server.raw(head + chunk + chunk + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_optional_may_be_empty(server: Running):
    assert server.request("POST", "/api/v1/break").code == "internal"


def test_a_defect_shows_a_request_id_and_nothing_else(server: Running):
    reply = server.request("POST", "/api/v1/break")
    assert reply.status == 500
    assert b"private" not in reply.body
    assert reply.json["error"]["details"]["request_id"] == reply.headers["x-request-id"]


def test_a_secret_arrives_and_is_not_in_the_trail(server: Running):
    body = {"key": "very secret", "labels": {"a": "b"}}
    reply = server.request("POST", "/api/v1/seal", body)
    assert (reply.status, server.notes.revealed) == (200, "very secret")
    (entry,) = server.trail.entries
    assert "very" not in repr(entry)
    assert (entry.operation, entry.outcome, entry.caller) == ("note.seal", "ok", "admin")


def test_options_tells_the_methods_and_allows_no_origin(server: Running):
    reply = server.request("OPTIONS", NOTE, token=None)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert server.request("POST", NOTE, {}).headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_head_has_the_headers_of_get_and_no_body(server: Running):
    server.request("PUT", NOTE, {"text": "abc"})
    got, head = server.request("GET", NOTE), server.request("HEAD", NOTE)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["etag"] == got.headers["etag"]
    assert server.request("HEAD", "/api/v1/ticks").status == 405


def test_every_response_has_an_id_and_the_security_headers(server: Running):
    replies = [
        server.request("GET", path, token=token)
        for path in (NOTE, "/nowhere", "/health", "/docs", "/metrics")
        for token in ("admin", None)
    ]
    for reply in replies:
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "set-cookie" not in reply.headers
        assert "server" not in reply.headers
    assert len({reply.headers["x-request-id"] for reply in replies}) == len(replies)


def test_etags_guard_changes(server: Running):
    first = server.request("PUT", NOTE, {"text": "a"}).headers["etag"]
    assert first == '"1"'
    changed = server.request("PUT", NOTE, {"text": "b"}, headers={"If-Match": first})
    assert (changed.status, changed.headers["etag"]) == (200, '"2"')
    assert server.request("PUT", NOTE, {"text": "b"}, headers={"If-Match": "2"}).status == 200
    refused = server.request("PUT", NOTE, {"text": "c"}, headers={"If-Match": first})
    assert (refused.status, refused.code) == (412, "precondition_failed")
    assert server.request("DELETE", NOTE, headers={"If-Match": first}).status == 412
    assert server.request("PUT", NOTE, {"text": "d"}, headers={"If-Match": "*"}).status == 200
    assert server.request("GET", NOTE).json["text"] == "d"


@pytest.mark.parametrize("value", ['"1", "2"', '"1', "", '"a"b"', 'W/"1"', "1, 2", "é"])
def test_an_if_match_that_is_no_version_is_refused(server: Running, value: str):
    reply = server.request("PUT", NOTE, {"text": "a"}, headers={"If-Match": value})
    assert (reply.status, reply.code) == (400, "invalid_request")


def test_if_match_is_never_silently_ignored(server: Running):
    reply = server.request("GET", "/api/v1/notes", headers={"If-Match": '"1"'})
    assert (reply.status, reply.code) == (400, "invalid_request")


def test_a_reader_with_the_present_version_gets_304(server: Running):
    server.request("PUT", NOTE, {"text": "a"})
    for value in ('"1"', 'W/"1"', '"0", "1"', "*"):
        reply = server.request("GET", NOTE, headers={"If-None-Match": value})
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", '"1"')
    assert server.request("GET", NOTE, headers={"If-None-Match": '"2"'}).status == 200


def test_health_answers_whatever_the_state(server: Running):
    server.authenticator.locked = True
    server.state = "locked"
    try:
        reply = server.request("GET", "/health", token=None)
    finally:
        server.state = "ready"
    assert (reply.status, reply.json) == (200, {"status": "ok", "state": "locked"})


def test_the_document_is_served_and_names_every_operation(server: Running):
    document = server.request("GET", "/openapi.json", token=None).json
    assert document["openapi"] == "3.1.0"
    text = json.dumps(document)
    assert '"operationId": "note.seal"' in text
