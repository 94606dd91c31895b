"""Root file systems for base images, made of this machine's own programs: no registry is needed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

WEB = "localhost/covey-test/web:latest"
"""Busybox: a shell, and by default a server of /www on port 8080."""
PYTHON = "docker.io/library/python:3.13-slim"
"""Python (this machine's version) and pip on busybox."""

_BUSYBOX = "/bin/busybox"
_WHEELS = Path("/usr/share/python-wheels")
_DIRECTORIES = ("bin", "etc", "root", "tmp", "usr/bin", "usr/sbin", "var/tmp", "www")
_LEFT_OUT = {
    "__pycache__", "test", "tests", "idlelib", "lib2to3", "turtledemo", "tkinter", "pydoc_data",
    "ensurepip", "dist-packages", "site-packages", "sitecustomize.py", "EXTERNALLY-MANAGED",
}  # fmt: skip
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\n"


def image_tar(directory: Path, name: str) -> Path:
    """Return the root file system `web` or `python` as a tar in `directory`, made if missing."""
    tar = directory / f"{name}.tar"
    if not tar.exists():
        unfinished = directory / f"{name}.{os.getpid()}"
        {"web": write_web_root, "python": write_python_root}[name](unfinished)
        unfinished.replace(tar)
    return tar


def write_web_root(target: Path) -> None:
    """Write a root with busybox alone: a shell, `httpd`, `nc`, and a page below /www."""
    with tarfile.open(target, "w") as tar:
        _add_base(tar)


def write_python_root(target: Path) -> None:
    """Write a root with busybox, and Python with its library and pip."""
    executable = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
    library = Path(sysconfig.get_path("stdlib"))
    with tarfile.open(target, "w") as tar:
        _add_base(tar)
        tar.add(executable)
        for name in ("python", "python3", executable.name):
            _add_link(tar, f"usr/local/bin/{name}", str(executable))
        _add_text(tar, "usr/local/bin/pip", f'#!/bin/sh\nexec {executable} -m pip "$@"\n', 0o755)
        modules = [path for path in library.rglob("*") if not _LEFT_OUT & set(path.parts)]
        for path in sorted(modules):
            if path.exists() and not path.is_dir():
                _add_file(tar, path)
        objects = [executable, *(path for path in modules if path.suffix == ".so")]
        for name in sorted(_libraries(objects)):
            _add_file(tar, Path(name))
        _add_wheels(tar, library)


def _add_base(tar: tarfile.TarFile) -> None:
    for name in _DIRECTORIES:
        entry = tarfile.TarInfo(name)
        entry.type = tarfile.DIRTYPE
        entry.mode = 0o1777 if name.endswith("tmp") else 0o755
        tar.addfile(entry)
    _add_text(tar, "etc/passwd", _PASSWD)
    _add_text(tar, "etc/group", _GROUP)
    _add_text(tar, "www/index.html", "hello\n")
    _add_file(tar, Path(_BUSYBOX), "bin/busybox")
    listed = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            _add_link(tar, f"bin/{applet}", "busybox")
    _add_link(tar, "usr/bin/env", "/bin/busybox")


def _add_wheels(tar: tarfile.TarFile, library: Path) -> None:
    place = f"usr/local/lib/{library.name}/dist-packages"
    for wheel in sorted(_WHEELS.glob("*.whl")):
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                if not name.endswith("/"):
                    _add_bytes(tar, f"{place}/{name}", packed.read(name))


def _libraries(objects: Iterable[Path]) -> set[str]:
    found: set[str] = set()
    listed = subprocess.run(
        ["ldd", *map(str, objects)], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        words = line.split()
        path = words[2] if "=>" in words and len(words) > 2 else words[0] if words else ""
        if path.startswith("/") and not path.endswith(":"):
            found.add(path)
    return found


def _add_file(tar: tarfile.TarFile, path: Path, name: str | None = None) -> None:
    _add_bytes(tar, name or str(path).lstrip("/"), path.read_bytes(), path.stat().st_mode & 0o777)


def _add_text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    _add_bytes(tar, name, text.encode(), mode)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.SYMTYPE
    entry.linkname = target
    tar.addfile(entry)
