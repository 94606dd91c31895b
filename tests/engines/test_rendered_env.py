"""From a change of a variable to the files that shells read, and to open shells."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from covey.engines.rendered_env import RenderedDirectory
from covey.env.renderer import EnvRenderer
from covey.env.scope import Place
from covey.errors import StorageError
from covey.shellkit.hook_text import hook_text
from covey.shellkit.layout import INCOMPLETE, LOCKED, SHELLS, read_rendered, read_stamp
from tests.env.nodes import EnvNode, make_node
from tests.shellkit.terminal import Terminal
from tests.store.store_nodes import introduce, pull


def _names(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def _files(**contents: str) -> dict[tuple[str, str], bytes]:
    return {("bash", name): text.encode() for name, text in contents.items()}


def test_files_are_private_and_the_stamp_follows_changes_only(tmp_path: Path) -> None:
    path = tmp_path / "run" / "env"
    directory = RenderedDirectory(str(path))
    old = os.umask(0)
    try:
        assert directory.publish(_files(a="1", b="2"))
    finally:
        os.umask(old)
    for file in path.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600)
    first = read_stamp(str(path))
    assert not directory.publish(_files(a="1", b="2"))
    assert read_stamp(str(path)) == first
    assert directory.publish(_files(a="1", c="3"))
    assert read_stamp(str(path)) not in {first, None}
    assert _names(path) == {"stamp", "bash/a", "bash/c"}


def test_what_an_earlier_daemon_left_is_replaced(tmp_path: Path) -> None:
    RenderedDirectory(str(tmp_path)).publish(_files(old="x", a="1"))
    assert RenderedDirectory(str(tmp_path)).publish(_files(a="2"))
    assert _names(tmp_path) == {"stamp", "bash/a"}
    assert (tmp_path / "bash" / "a").read_text() == "2"


def test_lock_and_withdraw_leave_no_value(tmp_path: Path) -> None:
    path = tmp_path / "env"
    directory = RenderedDirectory(str(path))
    directory.publish(_files(a="1"))
    RenderedDirectory(str(path)).lock()
    assert [file.name for file in path.iterdir()] == ["stamp"]
    assert read_stamp(str(path)) == LOCKED
    directory.lock()
    assert directory.publish(_files(a="1"))
    directory.withdraw()
    assert not path.exists()
    directory.withdraw()
    RenderedDirectory(str(tmp_path / "new")).lock()
    assert read_stamp(str(tmp_path / "new")) == LOCKED


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    path = tmp_path / "env"
    (path / "bash").mkdir(parents=True)
    (path / "bash" / "a").symlink_to(victim)
    (path / "bash" / f".a.{os.getpid()}").symlink_to(victim)
    RenderedDirectory(str(path)).publish(_files(a="1"))
    assert victim.read_text() == "kept"
    assert not (path / "bash" / "a").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bash").mkdir()
    os.chown(tmp_path / "bash", 12345, 12345)
    with pytest.raises(StorageError, match="belongs to another user"):
        RenderedDirectory(str(tmp_path)).publish(_files(a="secret-value"))
    assert _names(tmp_path) == set()


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in 20 s"
        await asyncio.sleep(0.005)


async def _rendering(tmp_path: Path, node: EnvNode) -> EnvRenderer:
    renderer = EnvRenderer(node.env, RenderedDirectory(str(tmp_path)))
    await renderer.start()
    return renderer


def test_every_place_with_variables_of_its_own_has_its_file(tmp_path: Path) -> None:
    async def main() -> None:
        node = await make_node()
        await node.set("A", "fleet")
        await node.set("A", "dev", "environment:shop/dev")
        await node.set("A", "elsewhere", "host:other")
        await node.set("B", "here", "host:frigg")
        renderer = await _rendering(tmp_path, node)
        assert _names(tmp_path) == {"stamp"} | {
            f"{shell}/{name}" for shell in SHELLS for name in ("@", "shop@", "shop@dev")
        }
        where = str(tmp_path)
        assert read_rendered(where, "sh", None, None) == b"export A='fleet'\nexport B='here'\n"
        assert read_rendered(where, "sh", "shop", "dev") == b"export A='dev'\nexport B='here'\n"
        assert read_rendered(where, "sh", "shop", "other") == read_rendered(where, "sh", None, None)
        assert read_rendered(where, "sh", "web", "dev") == read_rendered(where, "sh", None, None)
        await renderer.stop(locked=True)
        assert read_rendered(where, "sh", None, None) is None
        await node.store.stop()

    asyncio.run(main())


def test_a_variable_without_a_value_is_left_out_and_reported(tmp_path: Path) -> None:
    async def main() -> None:
        node = await make_node()
        await node.set("A", "a")
        await node.set("BAD", "${MISSING}", expand=True)
        await node.set("OP", "op://x/y/z", expand=True)
        renderer = await _rendering(tmp_path, node)
        assert read_rendered(str(tmp_path), "sh", None, None) == INCOMPLETE + b"export A='a'\n"
        [(place, problems)] = renderer.problems().items()
        assert place == Place(None, None, "frigg")
        assert [one.name for one in problems] == ["BAD", "OP"]
        await renderer.stop(locked=False)
        assert read_stamp(str(tmp_path)) is None
        await node.store.stop()

    asyncio.run(main())


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    class Failing(RenderedDirectory):
        fails = True

        def publish(self, files: object) -> bool:
            if self.fails:
                raise StorageError("No space left.")
            return super().publish(files)  # type: ignore[arg-type]

    async def main() -> None:
        node = await make_node()
        directory = Failing(str(tmp_path))
        renderer = EnvRenderer(node.env, directory)
        await renderer.start()
        assert read_stamp(str(tmp_path)) is None
        directory.fails = False
        await node.set("A", "a")
        await _until(lambda: read_stamp(str(tmp_path)) is not None)
        await renderer.stop(locked=False)
        await node.store.stop()

    asyncio.run(main())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_an_open_terminal_picks_up_a_change_made_on_another_machine(
    shell: str, tmp_path: Path
) -> None:
    env_dir = tmp_path / "run" / "env"

    async def main() -> None:
        freya, frigg = await make_node("freya"), await make_node("frigg")
        introduce([freya.store, frigg.store])
        await freya.set("GREETING", "hello")
        renderer = await _rendering(env_dir, freya)
        terminal = await asyncio.to_thread(
            Terminal, shell, hook_text(shell, str(env_dir)), tmp_path, {}
        )
        assert (await asyncio.to_thread(terminal.exported))["GREETING"] == "hello"
        before = read_stamp(str(env_dir))
        await frigg.set("GREETING", "it's\nnew")
        await pull(freya.store, frigg.store)
        await _until(lambda: read_stamp(str(env_dir)) != before)
        assert (await asyncio.to_thread(terminal.exported))["GREETING"] == "it's\nnew"
        await renderer.stop(locked=True)
        assert "GREETING" not in await asyncio.to_thread(terminal.exported)
        await asyncio.to_thread(terminal.close)
        await freya.store.stop()
        await frigg.store.stop()

    asyncio.run(main())
