"""Certificates by DNS: what they leave on disk, and what becomes of mistakes."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from covey.apps.routing.ports import LoadedCertificate
from covey.engines.acme.account import AcmeAccount
from covey.engines.acme.certificates import DnsCertificates
from covey.engines.acme.order import _account_key
from covey.errors import StorageError
from tests.engines.caddy.authority import make_certificate


def test_a_full_disk_leaves_no_broken_account_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "account.key"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError):
            _account_key(path)
    assert list(tmp_path.iterdir()) == []
    key = _account_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert _account_key(path) == key


def test_certificates_that_are_over_and_not_wanted_are_removed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for host, since in (
        ("old.test", now - timedelta(days=400)),
        ("kept.test", now - timedelta(days=400)),
        ("fresh.test", now),
    ):
        chain, key = tmp_path / "chain", tmp_path / "key"
        make_certificate(chain, key, host, since=since)
        (tmp_path / f"{host}.pem").write_text(key.read_text() + chain.read_text())
        chain.unlink()
        key.unlink()
    account = AcmeAccount("https://127.0.0.1:9/dir", "", "", tmp_path / "account.key", "/bin/false")

    async def run() -> None:
        held = DnsCertificates(account, tmp_path)
        held.want(["kept.test"])
        await held.start(lambda: None)
        async with asyncio.timeout(10):
            while (tmp_path / "old.test.pem").exists():
                await asyncio.sleep(0.01)
        await held.stop()

    asyncio.run(run())
    names = {path.name for path in tmp_path.glob("*.pem")}
    assert names == {"kept.test.pem", "fresh.test.pem"}


def test_a_mistake_does_not_end_the_renewals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from covey.engines.acme import certificates, order

    asked: list[str] = []

    def mistaken(account: AcmeAccount, host: str) -> LoadedCertificate:
        asked.append(host)
        if len(asked) == 1:
            raise LookupError
        chain, key = tmp_path / "chain", tmp_path / "key"
        make_certificate(chain, key, host)
        return LoadedCertificate(chain.read_text(), key.read_text())

    monkeypatch.setattr(order, "order_certificate", mistaken)
    monkeypatch.setattr(certificates, "_FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(certificates, "_SOONEST_S", 0.01)
    account = AcmeAccount("https://127.0.0.1:9/dir", "", "", tmp_path / "account.key", "/bin/false")

    async def run() -> None:
        changed = asyncio.Event()
        held = DnsCertificates(account, tmp_path / "dns")
        await held.start(changed.set)
        held.want(["a.test"])
        async with asyncio.timeout(10):
            await changed.wait()
        assert len(held.held(["a.test"])) == 1
        await held.stop()

    asyncio.run(run())
    assert asked == ["a.test", "a.test"]
    assert (tmp_path / "dns" / "a.test.pem").stat().st_mode & 0o777 == 0o600
