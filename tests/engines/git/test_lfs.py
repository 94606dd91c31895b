"""Git LFS: pointers made by git-lfs itself, contents from a server that may be hostile."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from covey.apps.key_model import Token
from covey.apps.sources import GitSource
from covey.engines.git.fetcher import GitLimits
from covey.errors import (
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnreachableError,
)
from tests.engines.git.conftest import Fetching
from tests.engines.git.servers import Authority, HttpGit, Repository, http_git

BIG = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BIG).hexdigest()


@dataclass
class LfsServer:
    """The batch API beside a git server, with knobs for what may go wrong."""

    git: HttpGit
    contents: dict[str, bytes] = field(default_factory=dict)
    token: str = ""
    href: str = ""
    answer: bytes | None = None
    batches: int = 0
    seen: list[str | None] = field(default_factory=list)

    def __call__(self, request: BaseHTTPRequestHandler) -> bool:
        if "/info/lfs/objects/batch" in request.path:
            self._batch(request)
            return True
        if request.path.startswith("/lfs-content/"):
            self.seen.append(request.headers.get("Authorization"))
            oid = request.path.rpartition("/")[2].partition("?")[0]
            self._send(request, 200, self.contents[oid])
            return True
        return False

    def _batch(self, request: BaseHTTPRequestHandler) -> None:
        self.batches += 1
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if self.token and not base64.b64decode(given).decode().endswith(f":{self.token}"):
            self._send(request, 401, b"{}")
            return
        objects = []
        for item in body["objects"]:
            oid = item["oid"]
            if oid in self.contents:
                href = self.href or f"{self.git.base}/lfs-content/{oid}?signature=x"
                actions = {"download": {"href": href.replace("OID", oid)}}
                objects.append({"oid": oid, "size": item["size"], "actions": actions})
            else:
                error = {"code": 404, "message": "Object does not exist"}
                objects.append({"oid": oid, "size": item["size"], "error": error})
        answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._send(request, 200, self.answer or answer)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/vnd.git-lfs+json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def lfs(
    repository: Repository,
    https: HttpGit,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> LfsServer:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    repository.git("lfs", "install", "--local")
    repository.git("lfs", "track", "*.bin")
    server = LfsServer(https, {SHA256: BIG})
    https.extra = server
    return server


def commit(repository: Repository, **files: bytes) -> None:
    names = {name.replace("_", "."): content for name, content in files.items()}
    repository.commit(dict(names))
    stored = repository.git("cat-file", "-p", "HEAD:big.bin")
    assert stored.startswith("version https://git-lfs"), "git-lfs has made no pointer"


def test_pointers_are_replaced_by_their_contents(
    fetching: Fetching, lfs: LfsServer, repository: Repository
) -> None:
    commit(repository, big_bin=BIG, other_txt=b"plain", empty_bin=b"")
    fetching.fetch(GitSource(f"{lfs.git.base}/shop"))
    assert (fetching.into / "big.bin").read_bytes() == BIG
    assert (fetching.into / "other.txt").read_bytes() == b"plain"
    assert (fetching.into / "empty.bin").read_bytes() == b""
    assert any("Git LFS" in line for line in fetching.lines)


def test_without_lfs_the_pointers_stay(
    fetching: Fetching, lfs: LfsServer, repository: Repository
) -> None:
    commit(repository, big_bin=BIG)
    fetching.fetch(GitSource(f"{lfs.git.base}/shop", lfs=False))
    assert (fetching.into / "big.bin").read_bytes().startswith(b"version https://git-lfs")
    assert lfs.batches == 0


def test_a_pointer_outside_the_patterns_is_a_plain_file(
    fetching: Fetching, lfs: LfsServer, repository: Repository
) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(BIG)}\n"
    commit(repository, big_bin=BIG, example_txt=text.encode())
    fetching.fetch(GitSource(f"{lfs.git.base}/shop"))
    assert (fetching.into / "example.txt").read_text() == text


def test_only_what_the_subdirectory_has_is_fetched(
    fetching: Fetching, lfs: LfsServer, repository: Repository
) -> None:
    commit(repository, big_bin=BIG)
    repository.commit({"web/big.bin": BIG, "web/x": b"1"})
    fetching.fetch(GitSource(f"{lfs.git.base}/shop", subdirectory="web"))
    assert (fetching.into / "big.bin").read_bytes() == BIG
    assert len(lfs.seen) == 1


def test_the_token_goes_to_its_host_alone(
    fetching: Fetching, lfs: LfsServer, repository: Repository, authority: Authority, tmp_path: Path
) -> None:
    commit(repository, big_bin=BIG)
    lfs.token = "t"
    with pytest.raises(RefusedError, match="asks for a key"):
        fetching.fetch(GitSource(f"{lfs.git.base}/shop"))
    fetching.keys.held["right"] = Token(f"127.0.0.1:{lfs.git.port}", "x", "t")
    fetching.fetch(GitSource(f"{lfs.git.base}/shop", key="right"))
    assert lfs.seen[-1] is not None
    with http_git(tmp_path, authority) as elsewhere:
        store = LfsServer(elsewhere, {SHA256: BIG})
        elsewhere.extra = store
        lfs.href = f"{elsewhere.base}/lfs-content/OID"
        fetching.fetch(GitSource(f"{lfs.git.base}/shop", key="right"))
        assert store.seen == [None]


@pytest.mark.parametrize(
    "content", [BIG[:-1], BIG + b"x", b"", bytes(len(BIG))], ids=["short", "long", "none", "other"]
)
def test_another_content_is_refused(
    fetching: Fetching, lfs: LfsServer, repository: Repository, content: bytes
) -> None:
    commit(repository, big_bin=BIG)
    lfs.contents[SHA256] = content
    with pytest.raises(UnreachableError, match="pointer says"):
        fetching.fetch(GitSource(f"{lfs.git.base}/shop"))


@pytest.mark.parametrize(
    "href, error",
    [
        ("file:///etc/passwd", InvalidRequestError),
        ("http://127.0.0.1:1/x", InvalidRequestError),
        ("https://127.0.0.1:1/OID", UnreachableError),
        ("ftp://127.0.0.1/x", InvalidRequestError),
    ],
)
def test_where_contents_may_be(
    fetching: Fetching,
    lfs: LfsServer,
    repository: Repository,
    href: str,
    error: type[CoveyError],
) -> None:
    commit(repository, big_bin=BIG)
    lfs.href = href
    with pytest.raises(error):
        fetching.fetch(GitSource(f"{lfs.git.base}/shop"))


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[]", b'{"objects": [{}]}', b"null"])
def test_an_answer_that_is_none_of_lfs(
    fetching: Fetching, lfs: LfsServer, repository: Repository, answer: bytes
) -> None:
    commit(repository, big_bin=BIG)
    lfs.answer = answer
    with pytest.raises(UnreachableError, match="does not answer as Git LFS"):
        fetching.fetch(GitSource(f"{lfs.git.base}/shop"))


def test_what_was_never_pushed_is_not_found(
    fetching: Fetching, lfs: LfsServer, repository: Repository
) -> None:
    commit(repository, big_bin=BIG)
    lfs.contents.clear()
    with pytest.raises(NotFoundError, match="does not exist") as caught:
        fetching.fetch(GitSource(f"{lfs.git.base}/shop"))
    assert "git lfs push" in str(caught.value.hint)


def test_a_repository_may_name_its_lfs_server(
    fetching: Fetching, lfs: LfsServer, repository: Repository
) -> None:
    url = f"{lfs.git.base}/elsewhere/info/lfs"
    (repository.path / ".lfsconfig").write_text(f'[other]\n\turl = x\n[lfs]\n\turl = "{url}"\n')
    (repository.path / ".lfsconfig").write_text(f"[other]\n\turl = x\n[lfs]\n\turl = {url}\n")
    commit(repository, big_bin=BIG)
    fetching.fetch(GitSource(f"{lfs.git.base}/shop"))
    assert any("/elsewhere/info/lfs" in line for line in lfs.git.requests)
    (repository.path / ".lfsconfig").write_text("[lfs]\n\turl = file:///etc\n")
    commit(repository, big_bin=BIG)
    with pytest.raises(InvalidRequestError):
        fetching.fetch(GitSource(f"{lfs.git.base}/shop"))


def test_too_much_is_refused_before_it_is_fetched(
    lfs: LfsServer, repository: Repository, tmp_path: Path
) -> None:
    commit(repository, big_bin=BIG)
    node = Fetching(tmp_path / "small", limits=GitLimits(transfer_bytes=100_000))
    with pytest.raises(TooLargeError):
        node.fetch(GitSource(f"{lfs.git.base}/shop"))
    assert lfs.batches == 0
