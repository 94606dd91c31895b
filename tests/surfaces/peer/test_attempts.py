"""The budget of those who knock at the peer port without a certificate."""

from __future__ import annotations

import pytest

from covey.errors import RateLimitedError
from covey.surfaces.peer.endpoints import Attempts


def test_an_ipv6_network_has_one_budget():
    attempts = Attempts(per_minute=3)
    for host in range(3):
        attempts.spend(f"2001:db8::{host}")
    with pytest.raises(RateLimitedError) as refused:
        attempts.spend("2001:db8::ffff")
    assert refused.value.details["retry_after"] >= 1
    attempts.spend("2001:db8:0:1::1")
    attempts.spend("192.0.2.1")
