"""The tailnet is read from tailscaled's socket or from its command, and refused in other forms."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from covey.engines.tailscale import TailscaleClient, read_status
from covey.errors import UnreachableError
from covey.fleet.tailnet import Tailnet, TailnetMachine
from tests.engines.fake_tailscaled import machine, status, tailscaled

ME = machine("nMe1CNTRL", "freya", "100.64.0.1", "fd7a:115c:a1e0::1")
FRIGG = machine("nFrigg2CNTRL", "frigg", "100.64.0.2", OS="macOS", Online=False)
SHARED = machine("nOther3CNTRL", "other", "100.64.0.3", ShareeNode=True)
EXPECTED = Tailnet(
    TailnetMachine(
        "nMe1CNTRL",
        "freya",
        "freya.tail1234.ts.net",
        ("100.64.0.1", "fd7a:115c:a1e0::1"),
        "linux",
        online=True,
    ),
    (
        TailnetMachine(
            "nFrigg2CNTRL",
            "frigg",
            "frigg.tail1234.ts.net",
            ("100.64.0.2",),
            "macOS",
            online=False,
        ),
    ),
)


def read(path: Path) -> Tailnet | None:
    return asyncio.run(TailscaleClient(str(path)).read())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "tailscaled.sock"


def test_the_tailnet_is_read_from_the_socket(place: Path) -> None:
    with tailscaled(place, status(ME, FRIGG, SHARED)):
        assert read(place) == EXPECTED


def test_without_a_socket_there_is_no_tailnet(place: Path) -> None:
    assert read(place) is None


@pytest.mark.parametrize("state", ["NeedsLogin", "Stopped", "NoState"])
def test_a_tailscale_that_is_not_connected_has_no_tailnet(place: Path, state: str) -> None:
    with tailscaled(place, status(ME, FRIGG, state=state)):
        assert read(place) is None


def test_a_machine_without_others_or_addresses_yet(place: Path) -> None:
    with tailscaled(place, status(ME | {"TailscaleIPs": None})):
        found = read(place)
    assert found is not None
    assert (found.me.addresses, found.others) == ((), ())


@pytest.mark.parametrize(
    "document",
    [
        b"not json",
        b"[]",
        json.dumps(status(ME | {"TailscaleIPs": "100.64.0.1"})).encode(),
        json.dumps(status({k: v for k, v in ME.items() if k != "ID"})).encode(),
        json.dumps(status(ME, FRIGG | {"Online": "yes"})).encode(),
    ],
)
def test_another_form_is_refused_with_a_way_out(document: bytes) -> None:
    with pytest.raises(UnreachableError) as refused:
        read_status(document)
    assert "discovery.tailscale" in str(refused.value.hint)


def test_a_refusal_is_told(place: Path) -> None:
    with (
        tailscaled(place, status(ME), code=500),
        pytest.raises(UnreachableError, match="status 500"),
    ):
        read(place)


def test_the_command_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    document: dict[str, Any] = status(ME, FRIGG, SHARED)
    (tmp_path / "status.json").write_text(json.dumps(document))
    program = tmp_path / "tailscale"
    program.write_text(f'#!/bin/sh\n[ "$*" = "status --json" ] && cat {tmp_path}/status.json\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("covey.engines.tailscale._SOCKETS", (str(place),))
    assert asyncio.run(TailscaleClient().read()) == EXPECTED
