"""libgit2 for the whole process: isolated from its users' configuration, and with time limits."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import ConfigLevel
from pygit2.ffi import C, ffi

_CONNECT_MS = 10_000
_STALL_MS = 30_000
_MOST_OBJECTS = 20_000_000
_HOST_KEY = struct.Struct("@ii16s20s32siPN")
_RAW = 1 << 3
_LEVELS = (ConfigLevel.GLOBAL, ConfigLevel.XDG, ConfigLevel.SYSTEM, ConfigLevel.PROGRAMDATA)


@cache
def prepare(home: Path) -> None:
    """Let libgit2 read no user's configuration and known hosts; `home` need not exist."""
    pygit2.settings.homedir = str(home)
    for level in _LEVELS:
        pygit2.settings.search_path[level] = ""
    pygit2.settings.server_connect_timeout = _CONNECT_MS
    pygit2.settings.server_timeout = _STALL_MS
    pygit2.settings.pack_max_objects = _MOST_OBJECTS
    pygit2.settings.owner_validation = False
    ffi.def_extern(name="_certificate_check_cb")(_check_certificate)


def _check_certificate(certificate: Any, valid: int, host: Any, payload: Any) -> int:
    """Hand the server's SSH host key, which pygit2 keeps back, to the callbacks' `host_key`.

    The layout is libgit2's `git_cert_hostkey` (include/git2/cert.h, since 1.1).
    """
    callbacks = ffi.from_handle(payload)
    try:
        name = ffi.string(host).decode("utf-8", "replace")
        if certificate.cert_type == C.GIT_CERT_HOSTKEY_LIBSSH2:
            callbacks.host_key(name, _raw_host_key(certificate))
        else:
            callbacks.tls_certificate(name, valid=bool(valid))
    except BaseException as error:  # noqa: BLE001 - raised again where libgit2 was called
        callbacks._stored_exception = error  # noqa: SLF001
        return int(C.GIT_EUSER)
    return 0


def _raw_host_key(certificate: Any) -> bytes:
    found = _HOST_KEY.unpack(ffi.buffer(ffi.cast("char *", certificate), _HOST_KEY.size))
    kinds, address, length = found[1], found[6], found[7]
    if not kinds & _RAW or not address:
        return b""
    return bytes(ffi.buffer(ffi.cast("char *", address), length))
