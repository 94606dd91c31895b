"""A program that runs a command in which no new process can be made (Linux seccomp)."""

from __future__ import annotations

import platform

_NUMBERS = {
    # AUDIT_ARCH, clone, fork, vfork, clone3
    "x86_64": (0xC000003E, 56, 57, 58, 435),
    "aarch64": (0xC00000B7, 220, 1079, 1071, 435),
}

_PROGRAM = """
import ctypes, os, struct, sys
ARCH, CLONE, FORK, VFORK, CLONE3 = {numbers}
LD, EQ, BIT, RET = 0x20, 0x15, 0x45, 0x06
REFUSE, ABSENT, ALLOW = 0x00050001, 0x00050026, 0x7FFF0000
rules = [
    (LD, 0, 0, 4), (EQ, 0, 9, ARCH),
    (LD, 0, 0, 0), (EQ, 5, 0, FORK), (EQ, 4, 0, VFORK), (EQ, 4, 0, CLONE3),
    (EQ, 0, 4, CLONE),
    (LD, 0, 0, 16), (BIT, 2, 0, 0x10000),
    (RET, 0, 0, REFUSE), (RET, 0, 0, ABSENT), (RET, 0, 0, ALLOW),
]
code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
buffer = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
    sys.exit("no seccomp: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def forbid_fork() -> str:
    """Return a Python program: `-c PROGRAM COMMAND…` runs a command that cannot fork.

    Threads can be made. `fork` fails with EPERM and `clone3` with ENOSYS, so that libc falls back.
    """
    return _PROGRAM.format(numbers=_NUMBERS[platform.machine()])
