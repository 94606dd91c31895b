"""Files of users other than the daemon's own."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from covey.errors import RefusedError
from covey.operations.access import Caller, CallerKind, Limits, Role
from tests.remote.files.machine import at_once, files


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_files_of_another_user_are_theirs_and_out_of_reach_what_they_may_not(tmp_path: Path):
    nobody = Caller(CallerKind.NODE, "x", Role.ADMIN, "x", limits=Limits(as_user="nobody"))
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0o600)
    service = files(tmp_path, home=tmp_path / "h")

    async def work() -> None:
        made = await service.make_directory(
            nobody, str(tmp_path / "open" / "d"), 0o755, parents=False
        )
        assert made.user == "nobody"
        with pytest.raises(RefusedError):
            await service.hash(nobody, str(tmp_path / "secret"))
        with pytest.raises(RefusedError):
            await service.make_directory(nobody, str(tmp_path / "d"), 0o755, parents=False)

    at_once(work)
    assert (tmp_path / "open" / "d").stat().st_uid == pwd.getpwnam("nobody").pw_uid
