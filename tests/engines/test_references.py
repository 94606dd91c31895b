"""References to the outside: real programs, real files, no secret in any error."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from covey.engines.references import OutsideReferences
from covey.env.expansion import ExpansionError, Reference, Scheme
from tests.system.harness import eventually


def _resolve(found: OutsideReferences, scheme: Scheme, *arguments: str) -> str:
    return asyncio.run(found.resolve(Reference(scheme, arguments)))


def _program(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "key").write_text("va\nlue\n\n")
    (tmp_path / "outside").write_text("hunter2")
    return tmp_path / "root"


def test_a_file_under_an_allowed_root(root: Path) -> None:
    found = OutsideReferences(file_roots=["/nowhere", str(root)])
    assert _resolve(found, Scheme.FILE, str(root / "sub" / "key")) == "va\nlue\n"
    assert _resolve(found, Scheme.FILE, f"{root}//sub/./key") == "va\nlue\n"


def test_no_way_leads_out_of_the_roots(root: Path) -> None:
    (root / "link").symlink_to("../outside")
    (root / "folder").symlink_to("..")
    (root / "sub" / "inside").symlink_to("key")
    os.mkfifo(root / "fifo")
    found = OutsideReferences(file_roots=[str(root)])
    for path in [
        str(root / "link"),
        str(root / "folder" / "outside"),
        str(root / "sub" / "inside"),
        str(root / ".." / "outside"),
        str(root.parent / "outside"),
        f"{root}-other/x",
        str(root),
        str(root / "sub"),
        str(root / "fifo"),
        str(root / "missing"),
        "sub/key",
        "/dev/zero",
        "",
    ]:
        with pytest.raises(ExpansionError) as caught:
            _resolve(found, Scheme.FILE, path)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ExpansionError, match=r"env\.file_roots"):
        _resolve(OutsideReferences(), Scheme.FILE, str(root / "sub" / "key"))


def test_a_root_that_is_itself_a_link_is_the_admins_choice(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    found = OutsideReferences(file_roots=[str(tmp_path / "alias")])
    assert _resolve(found, Scheme.FILE, str(tmp_path / "alias" / "sub" / "key")) == "va\nlue\n"


@pytest.mark.parametrize("data", [b"x" * 65538, b"hunter2\0", b"hunter2\xff"])
def test_what_no_variable_can_hold_is_refused(root: Path, data: bytes) -> None:
    (root / "bad").write_bytes(data)
    with pytest.raises(ExpansionError) as caught:
        _resolve(OutsideReferences(file_roots=[str(root)]), Scheme.FILE, str(root / "bad"))
    assert "hunter2" not in str(caught.value)


def test_an_allowed_command_by_path_or_name_and_no_other(tmp_path: Path) -> None:
    show = _program(tmp_path / "show", 'printf "%s|" "$@"; echo')
    other = _program(tmp_path / "other", "echo hunter2")
    found = OutsideReferences(allow_commands=[show])
    assert _resolve(found, Scheme.COMMAND, show, "a b", "$(id)", ";x") == "a b|$(id)|;x|"
    assert _resolve(found, Scheme.COMMAND, "show", "x") == "x|"
    for word in [other, "other", "sh", "../show", "./show"]:
        with pytest.raises(ExpansionError, match=r"env\.allow_commands"):
            _resolve(found, Scheme.COMMAND, word)


def test_two_allowed_programs_of_one_name_need_the_path(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _program(tmp_path / folder / "show", f"echo {folder}")
    found = OutsideReferences(allow_commands=[str(tmp_path / f / "show") for f in ("a", "b")])
    assert _resolve(found, Scheme.COMMAND, str(tmp_path / "b" / "show")) == "b"
    with pytest.raises(ExpansionError):
        _resolve(found, Scheme.COMMAND, "show")


def test_a_failing_command_tells_its_code_and_not_its_output(tmp_path: Path) -> None:
    show = _program(tmp_path / "show", "echo hunter2; echo hunter2 >&2; exit 3")
    with pytest.raises(ExpansionError, match="exit code 3") as caught:
        _resolve(OutsideReferences(allow_commands=[show]), Scheme.COMMAND, "show")
    assert "hunter2" not in str(caught.value)


def test_a_slow_command_is_ended_with_its_children(tmp_path: Path) -> None:
    show = _program(tmp_path / "show", f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    found = OutsideReferences(allow_commands=[show], timeout_s=1)
    with pytest.raises(ExpansionError, match="did not answer in 1 s"):
        _resolve(found, Scheme.COMMAND, "show")
    child = int((tmp_path / "pid").read_text())
    eventually(lambda: _has_ended(child))


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")
    except OSError:
        return True


def test_an_endless_command_is_cut_off(tmp_path: Path) -> None:
    show = _program(tmp_path / "show", "exec cat /dev/zero")
    with pytest.raises(ExpansionError, match="over 65536 bytes"):
        _resolve(OutsideReferences(allow_commands=[show]), Scheme.COMMAND, "show")


def test_a_command_does_not_get_the_daemons_environment(tmp_path: Path) -> None:
    show = _program(tmp_path / "show", "env")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": "/h",
        "COVEY_X": "hunter2",
        "OP_TOKEN": "hunter2",
    }
    found = OutsideReferences(allow_commands=[show], environ=environ)
    out = _resolve(found, Scheme.COMMAND, "show")
    assert "HOME=/h" in out
    assert "hunter2" not in out


def test_a_missing_program_is_named_by_its_cause(tmp_path: Path) -> None:
    found = OutsideReferences(allow_commands=[str(tmp_path / "gone")], op_command="no-such-op")
    with pytest.raises(ExpansionError, match="cannot be started: No such file"):
        _resolve(found, Scheme.COMMAND, "gone")
    with pytest.raises(ExpansionError, match="1Password cannot be started: No such file"):
        _resolve(found, Scheme.ONEPASSWORD, "v/i/f")


def test_1password_is_asked_for_the_address(tmp_path: Path) -> None:
    op = _program(
        tmp_path / "op", f'printf "%s\\n" "$@" > {tmp_path}/words; printf "%s" "$OP_TOKEN:value"'
    )
    environ = {"PATH": os.environ["PATH"], "OP_TOKEN": "t"}
    found = OutsideReferences(op_command=op, environ=environ)
    assert _resolve(found, Scheme.ONEPASSWORD, "vault/my item/field") == "t:value"
    words = (tmp_path / "words").read_text().splitlines()
    assert words == ["read", "--no-newline", "--", "op://vault/my item/field"]
