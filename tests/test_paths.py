from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.errors import StorageError
from covey.home import prepare_directories, remove_run_link
from covey.paths import Paths, find_paths, memory_dir


def test_one_variable_moves_everything():
    paths = find_paths({"COVEY_HOME": "/x", "XDG_CONFIG_HOME": "/other"}, "linux")
    assert paths == Paths("/x/config", "/x/data", "/x/state", "/x/run", "/x")
    assert paths.settings_file == "/x/config/covey.toml"
    assert paths.database == "/x/data/covey.db"
    assert paths.keyring == "/x/data/keyring.json"
    assert paths.backups_dir == "/x/data/backups"
    assert paths.lock_file == "/x/data/lock"
    assert paths.log_file == "/x/state/log/covey.log"
    assert paths.rendered_dir == "/x/run/env"


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert find_paths({"COVEY_HOME": "here"}).home == str(tmp_path / "here")


def test_linux_follows_the_xdg_base_directories(tmp_path: Path):
    environ = {"HOME": "/home/me", "XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "relative"}
    paths = find_paths({**environ, "XDG_RUNTIME_DIR": str(tmp_path)}, "linux")
    assert paths.config_dir == "/home/me/.config/covey"
    assert paths.data_dir == "/data/covey"
    assert paths.state_dir == "/home/me/.local/state/covey"
    assert paths.run_dir == str(tmp_path / "covey")
    assert paths.home is None


def test_the_directory_where_a_daemon_is_goes_before_the_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    environ = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    (tmp_path / "runtime").mkdir()
    fallback = tmp_path / "home/.local/state/covey/run"
    fallback.mkdir(parents=True)
    assert find_paths(environ, "linux").run_dir == str(tmp_path / "runtime/covey")
    (fallback / "covey.sock").touch()
    assert find_paths(environ, "linux").run_dir == str(fallback)
    (tmp_path / "runtime/covey").mkdir()
    (tmp_path / "runtime/covey/covey.sock").touch()
    assert find_paths(environ, "linux").run_dir == str(tmp_path / "runtime/covey")


def test_macos_and_windows_follow_their_own_conventions():
    base = "/Users/me/Library/Application Support/Covey"
    assert find_paths({"HOME": "/Users/me"}, "darwin").settings_file == f"{base}/covey.toml"
    windows = find_paths({"APPDATA": "C:\\Roam", "LOCALAPPDATA": "C:\\Local"}, "win32")
    assert windows.config_dir.startswith("C:\\Roam")
    assert windows.data_dir.startswith("C:\\Local")
    assert memory_dir({"XDG_RUNTIME_DIR": "/run"}, "darwin") is None


@given(st.text(alphabet=st.characters(blacklist_characters="\0", codec="utf-8")))
def test_every_path_is_absolute_whatever_the_environment_says(value: str):
    environ = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"), value)
    paths = find_paths({"HOME": "/home/me", **environ}, "linux")
    for path in (paths.config_dir, paths.data_dir, paths.state_dir, paths.run_dir):
        assert Path(path).is_absolute()


@pytest.fixture
def memory() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="run-") as directory:
        yield {"XDG_RUNTIME_DIR": directory}


def test_directories_are_private_and_the_runtime_one_is_in_memory(
    tmp_path: Path, memory: dict[str, str]
):
    paths = find_paths({"COVEY_HOME": str(tmp_path / "home")})
    old = os.umask(0)
    try:
        prepare_directories(paths, memory)
    finally:
        os.umask(old)
    for path in (paths.config_dir, paths.data_dir, paths.state_dir, paths.run_dir):
        assert Path(path).stat().st_mode & 0o777 == 0o700
    assert Path(paths.log_file).parent.is_dir()
    assert Path(paths.run_dir).is_symlink()
    assert paths.socket.startswith(memory["XDG_RUNTIME_DIR"])


def test_preparing_again_keeps_the_link_and_mends_it_after_a_restart(
    tmp_path: Path, memory: dict[str, str]
):
    paths = find_paths({"COVEY_HOME": str(tmp_path / "home")})
    prepare_directories(paths, memory)
    target = Path(paths.run_dir).readlink()
    (target / "covey.sock").touch()
    prepare_directories(paths, memory)
    assert (Path(paths.run_dir) / "covey.sock").exists()
    subprocess.run(["rm", "-r", target], check=True)
    prepare_directories(paths, memory)
    assert Path(paths.run_dir).is_dir()
    remove_run_link(paths)
    assert not Path(paths.run_dir).is_symlink()
    assert not target.exists()


def test_two_homes_share_no_runtime_directory(tmp_path: Path, memory: dict[str, str]):
    both = [find_paths({"COVEY_HOME": str(tmp_path / name)}) for name in ("a", "b")]
    for paths in both:
        prepare_directories(paths, memory)
    assert both[0].socket != both[1].socket


def test_wide_open_directories_are_closed(tmp_path: Path, memory: dict[str, str]):
    paths = find_paths({"COVEY_HOME": str(tmp_path / "home")})
    Path(paths.data_dir).mkdir(parents=True, mode=0o777)
    Path(paths.data_dir).chmod(0o777)
    prepare_directories(paths, memory)
    assert Path(paths.data_dir).stat().st_mode & 0o777 == 0o700


def test_a_redirected_runtime_directory_is_refused(tmp_path: Path, memory: dict[str, str]):
    (tmp_path / "elsewhere").mkdir()
    Path(memory["XDG_RUNTIME_DIR"], "covey").symlink_to(tmp_path / "elsewhere")
    paths = find_paths({"COVEY_HOME": str(tmp_path / "home")})
    with pytest.raises(StorageError, match="is a link"):
        prepare_directories(paths, memory)


def test_secrets_on_disk_are_not_covered_up(tmp_path: Path, memory: dict[str, str]):
    paths = find_paths({"COVEY_HOME": str(tmp_path / "home")})
    rendered = Path(paths.run_dir, "env")
    rendered.mkdir(parents=True)
    with pytest.raises(StorageError, match="directory on disk"):
        prepare_directories(paths, memory)
    rendered.rmdir()
    prepare_directories(paths, memory)
    assert Path(paths.run_dir).is_symlink()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, memory: dict[str, str]):
    (tmp_path / "file").touch()
    paths = find_paths({"COVEY_HOME": str(tmp_path / "file" / "home")})
    with pytest.raises(StorageError, match=r"file/home: Not a directory"):
        prepare_directories(paths, memory)


def test_a_socket_path_that_is_too_long_is_refused(tmp_path: Path):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    paths = find_paths({"COVEY_HOME": str(tmp_path / "home")})
    with pytest.raises(StorageError, match="longer than 107 bytes"):
        prepare_directories(paths, {"XDG_RUNTIME_DIR": str(deep)})
