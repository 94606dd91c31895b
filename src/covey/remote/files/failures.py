"""The errors of the file system, as users are told of them."""

from __future__ import annotations

import errno

from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    StorageError,
)

_CONFLICTS = {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EBUSY}


def failure(path: str, error: OSError) -> CoveyError:
    """Translate an error of the file system."""
    reason = error.strerror or type(error).__name__
    match error.errno:
        case errno.ENOENT:
            return NotFoundError(f"{path} does not exist.", hint="See what does: covey files ls")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return RefusedError(
                f"{path}: {reason}.", hint="The user of this node's daemon may not do that."
            )
        case errno.ENAMETOOLONG | errno.EINVAL:
            return InvalidRequestError(f"{path}: {reason}.")
        case number if number in _CONFLICTS:
            return ConflictError(f"{path}: {reason}.")
        case _:
            return StorageError(f"{path}: {reason}.", hint="Check the disk of this machine.")


def shown(path: bytes | str) -> str:
    r"""Show a path; bytes that are not UTF-8 become `\xNN`."""
    data = path if isinstance(path, bytes) else path.encode(errors="surrogateescape")
    return data.decode(errors="backslashreplace")
