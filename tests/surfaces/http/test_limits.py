"""Rate limits, over the wire and alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import RateLimitedError
from covey.operations.access import Caller, CallerKind, Role
from covey.operations.networks import network_of
from covey.surfaces.http.app import HttpSettings
from covey.surfaces.http.limits import FailedAttempts, RateLimits, TokenBuckets
from tests.surfaces.http.serving import running


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def caller(name: str, kind: CallerKind = CallerKind.TOKEN) -> Caller:
    return Caller(kind, name, Role.VIEWER, "192.0.2.1")


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=60), st.integers(1, 100))
def test_never_more_than_the_burst_and_the_rate(pauses: list[float], per_minute: int):
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("k") == 0
    assert taken <= per_minute + sum(pauses) * per_minute / 60 + 1e-6


def test_the_promised_wait_is_long_enough():
    clock = Clock()
    buckets = TokenBuckets(2, clock)
    assert [buckets.take("k"), buckets.take("k")] == [0, 0]
    wait = buckets.take("k")
    assert wait == pytest.approx(30)
    clock.now += wait + 0.001
    assert buckets.take("k") == 0
    assert buckets.take("other") == 0


def test_memory_is_bounded_and_the_busy_stay_limited():
    buckets = TokenBuckets(2, Clock())
    for number in range(25_000):
        buckets.take(str(number))
        buckets.take("busy")
    assert len(buckets) == 10_000
    assert buckets.take("busy") > 0


def test_callers_do_not_share_and_the_owner_is_free():
    limits = RateLimits(1, Clock())
    limits.caller(caller("one"))
    limits.caller(caller("two"))
    limits.caller(caller("one", CallerKind.NODE))
    with pytest.raises(RateLimitedError):
        limits.caller(caller("one"))
    for _ in range(1000):
        limits.caller(caller("me", CallerKind.LOCAL))


def test_failures_are_counted_by_address_until_they_are_forgotten():
    clock = Clock()
    failures = FailedAttempts(3, clock)
    for _ in range(3):
        failures.count("192.0.2.1")
    with pytest.raises(RateLimitedError) as raised:
        failures.count("192.0.2.1")
    failures.count("192.0.2.2")
    clock.now += float(str(raised.value.details["retry_after"]))
    failures.count("192.0.2.1")


@pytest.mark.parametrize(
    "one,other,same",
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "local", False),
    ],
)
def test_addresses_of_one_network_share(one: str, other: str, same: bool):
    assert (network_of(one) == network_of(other)) is same


def test_too_many_requests_are_told_when_to_come_back():
    with running(HttpSettings(rate_limit_per_minute=3)) as server:
        replies = [server.request("GET", "/api/v1/notes") for _ in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 200, 429]
        assert 1 <= int(replies[3].headers["retry-after"]) <= 20
        assert replies[3].code == "rate_limited"
        assert server.request("GET", "/api/v1/notes", token="viewer").status == 200
        assert server.request("GET", "/api/v1/notes", unix=True).status == 200


def test_strangers_are_limited_by_address():
    with running(HttpSettings(rate_limit_per_minute=3)) as server:
        replies = [server.request("GET", "/health", token=None) for _ in range(3)]
        replies.append(server.request("GET", "/api/v1/notes", token=None))
        assert [reply.status for reply in replies] == [200, 200, 200, 429]
        assert server.request("GET", "/health", unix=True).status == 200


def test_guessing_tokens_is_slowed_down_and_harms_nobody_else():
    settings = HttpSettings(rate_limit_per_minute=0, failed_authentications_per_minute=3)
    with running(settings) as server:
        replies = [server.request("GET", "/api/v1/notes", token=f"guess{n}") for n in range(5)]
        assert [reply.status for reply in replies] == [401, 401, 401, 429, 429]
        assert "retry-after" in replies[3].headers
        assert server.request("GET", "/api/v1/notes", token="viewer").status == 200
        assert server.request("GET", "/api/v1/notes", unix=True).status == 200
