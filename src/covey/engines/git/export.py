"""From a commit in a bare repository to files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pygit2
from pygit2.enums import AttrCheck, FileMode

from covey.engines.trees import TreeWriter
from covey.errors import DamagedError, InvalidRequestError, NotFoundError, TooLargeError

_CHUNK = 1 << 20
_MOST_LEVELS = 200
_LARGEST_FILE = 256 << 20
_LARGEST_TREE = 64 << 20
_LARGEST_COMMIT = 1 << 20
_LARGEST_SETTINGS = 1 << 20
_POINTER_BYTES = 1024
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


@dataclass(frozen=True, slots=True)
class Pointer:
    """A Git LFS pointer file: where the content belongs, and what it must be."""

    path: str
    sha256: str
    size: int
    executable: bool
    text: bytes


@dataclass(frozen=True, slots=True)
class Exported:
    """What the files of a commit leave to be done: submodules' commits by path, LFS contents."""

    submodules: dict[str, str]
    pointers: list[Pointer]


def find_tree(repository: pygit2.Repository, commit: str, subdirectory: str) -> pygit2.Tree:
    """Return the tree of a commit's sub-directory.

    Raises `NotFoundError` without the commit or the directory, `DamagedError` for a bad object.
    """
    try:
        _check_size(repository, pygit2.Oid(hex=commit), _LARGEST_COMMIT, "The commit")
        found = repository.get(commit)
    except KeyError as error:
        raise NotFoundError(f"The repository has no commit {commit[:12]}.") from error
    except (pygit2.GitError, ValueError) as error:
        raise DamagedError(f"The commit {commit[:12]} is damaged here.") from error
    if not isinstance(found, pygit2.Commit):
        raise NotFoundError(f"The repository has no commit {commit[:12]}.")
    try:
        _check_size(repository, found.tree_id, _LARGEST_TREE, "The list of its files")
        tree = found.tree
        if not subdirectory:
            return tree
        below = tree[subdirectory]
    except KeyError as error:
        raise _no_directory(commit, subdirectory) from error
    except pygit2.GitError as error:
        raise DamagedError(f"The commit {commit[:12]} is damaged here.") from error
    if not isinstance(below, pygit2.Tree):
        raise _no_directory(commit, subdirectory)
    return below


def export_tree(
    repository: pygit2.Repository,
    commit: str,
    subdirectory: str,
    writer: TreeWriter,
    *,
    prefix: str = "",
    lfs: bool = True,
) -> Exported:
    """Write a commit's files below `prefix`; pointers and submodules are left to the caller.

    Raises `DamagedError` if objects are missing or bad, and what `find_tree` and `TreeWriter` do.
    """
    tree = find_tree(repository, commit, subdirectory)
    submodules: dict[str, str] = {}
    pointers: list[Pointer] = []
    try:
        for path, item in _walk(repository, tree, ""):
            place = f"{prefix}{path}"
            match item.filemode:
                case FileMode.TREE:
                    writer.directory(place)
                case FileMode.COMMIT:
                    writer.directory(place)
                    submodules[f"{subdirectory}/{path}" if subdirectory else path] = str(item.id)
                case FileMode.LINK:
                    target = bytes(_data(repository, item, path))
                    writer.link(place, target.decode("utf-8", "surrogateescape"))
                case mode:
                    executable = mode == FileMode.BLOB_EXECUTABLE
                    data = _data(repository, item, path)
                    whole = f"{subdirectory}/{path}" if subdirectory else path
                    pointer = _pointer(data, place, executable=executable) if lfs else None
                    if pointer is not None and _is_lfs(repository, whole, commit):
                        pointers.append(pointer)
                    else:
                        writer.file(place, _chunks(data), executable=executable)
    except (pygit2.GitError, KeyError) as error:
        raise DamagedError(f"Objects of the commit {commit[:12]} are damaged here.") from error
    return Exported(submodules, pointers)


def read_file(repository: pygit2.Repository, commit: str, path: str) -> bytes | None:
    """Return a file's content at a commit, or None."""
    try:
        found = find_tree(repository, commit, "")[path]
        _check_size(repository, found.id, _LARGEST_SETTINGS, path)
        content = repository[found.id]
    except KeyError:
        return None
    return content.data if isinstance(content, pygit2.Blob) else None


def _walk(
    repository: pygit2.Repository, tree: pygit2.Tree, prefix: str
) -> Iterator[tuple[str, pygit2.Object]]:
    if prefix.count("/") > _MOST_LEVELS:
        raise InvalidRequestError(f"The source is over {_MOST_LEVELS} directories deep.")
    for item in tree:
        name = (item.raw_name or b"").decode("utf-8", "surrogateescape")
        path = f"{prefix}{name}"
        yield path, item
        if isinstance(item, pygit2.Tree):
            _check_size(repository, item.id, _LARGEST_TREE, f"The list of files in {path[:100]!a}")
            yield from _walk(repository, item, f"{path}/")


def _data(repository: pygit2.Repository, item: pygit2.Object, path: str) -> memoryview:
    _check_size(repository, item.id, _LARGEST_FILE, ascii(path[:100]))
    found = repository[item.id]
    if not isinstance(found, pygit2.Blob):
        raise KeyError(str(item.id))
    return memoryview(found)


def _check_size(repository: pygit2.Repository, name: pygit2.Oid, most: int, what: str) -> None:
    """Refuse an object before it is in memory: a few bytes of a repository can be gigabytes."""
    size = repository.odb.read_header(name)[1]
    if size > most:
        raise TooLargeError(
            f"{what} has {size >> 20} MiB, and a repository's may have {most >> 20} MiB.",
            hint="Put large files into Git LFS, or deploy an image",
        )


def _chunks(data: memoryview) -> Iterator[bytes]:
    for at in range(0, len(data), _CHUNK):
        yield bytes(data[at : at + _CHUNK])


def _pointer(content: memoryview, path: str, *, executable: bool) -> Pointer | None:
    """Read a pointer file (git-lfs, docs/spec.md), or return None for any other."""
    data = bytes(content[:_POINTER_BYTES])
    if len(data) >= _POINTER_BYTES or not data.startswith(_POINTER):
        return None
    lines = [line.partition(b" ") for line in data.splitlines()]
    fields = {name: value for name, _, value in lines}
    kind, _, digest = fields.get(b"oid", b"").partition(b":")
    size = fields.get(b"size", b"")
    if kind != b"sha256" or len(digest) != 64 or not size.isdigit():  # noqa: PLR2004
        return None
    try:
        bytes.fromhex(digest.decode("ascii"))
    except ValueError:
        return None
    return Pointer(path, digest.decode("ascii"), int(size), executable, data)


def _is_lfs(repository: pygit2.Repository, path: str, commit: str) -> bool:
    flags = AttrCheck.INCLUDE_COMMIT | AttrCheck.NO_SYSTEM | AttrCheck.INDEX_ONLY
    return repository.get_attr(path, b"filter", flags, commit) == "lfs"


def _no_directory(commit: str, subdirectory: str) -> NotFoundError:
    return NotFoundError(
        f"The commit {commit[:12]} has no directory {subdirectory[:100]!r}.",
        hint="Name one that it has, or leave the sub-directory out",
    )
