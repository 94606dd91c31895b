"""What certificates by DNS leave on disk: whole files, and none that nobody needs."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

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
