"""Deliveries as the forges make them: their published payloads, signed for real."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covey.apps.webhooks.model import ForgeName

PAYLOADS = Path(__file__).with_name("payloads")
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()

HEAD = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
PULL_HEAD = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"

_EVENTS = {
    "github": {"push": "push", "ping": "ping", "pull": "pull_request", "release": "release"},
    "gitea": {"push": "push", "pull": "pull_request", "release": "release"},
    "gitlab": {
        "push": "Push Hook",
        "tag": "Tag Push Hook",
        "merge": "Merge Request Hook",
        "release": "Release Hook",
    },
    "bitbucket": {"push": "repo:push", "pull": "pullrequest", "issue": "issue:created"},
}


@dataclass(frozen=True)
class Sent:
    """One delivery, by lower-case header names."""

    headers: dict[str, str]
    body: bytes

    def with_headers(self, **changed: str | None) -> Sent:
        """Return it with other headers; underscores stand for hyphens, None leaves one out."""
        names = {name.replace("_", "-"): value for name, value in changed.items()}
        headers = {**self.headers, **names}
        return replace(self, headers={k: v for k, v in headers.items() if v is not None})


def payload(forge: str, name: str) -> dict[str, Any]:
    """Return a published payload."""
    found: dict[str, Any] = json.loads((PAYLOADS / forge / f"{name}.json").read_text())
    return found


def delivery(
    forge: str,
    name: str,
    *,
    secret: str = SECRET,
    body: dict[str, Any] | bytes | None = None,
    event: str | None = None,
) -> Sent:
    """Return a published payload, or `body` in its place, with the headers of its forge."""
    content = payload(forge, name) if body is None else body
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    identity = str(uuid.uuid4())
    kind = event or _event(forge, name)
    headers = {"content-type": "application/json"}
    headers |= _HEADERS[ForgeName(forge)](identity, kind, secret, data)
    return Sent(headers, data)


def standard_signature(secret: str, identity: str, moment: int, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks, as GitLab's signing token makes them."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{identity}.{moment}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(moment),
        "webhook-signature": f"v1,{digest}",
    }


def sign(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _event(forge: str, name: str) -> str:
    first, _, rest = name.partition("_")
    found = _EVENTS[forge].get(first, name)
    if forge == "bitbucket" and found == "pullrequest":
        return f"pullrequest:{'created' if rest == 'fork' else rest}"
    return found


def _github(identity: str, event: str, secret: str, body: bytes) -> dict[str, str]:
    return {
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-delivery": identity,
        "x-github-event": event,
        "x-github-hook-id": "109948940",
        "x-hub-signature-256": f"sha256={sign(secret, body)}",
        "x-hub-signature": f"sha1={hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()}",
    }


def _gitea(identity: str, event: str, secret: str, body: bytes) -> dict[str, str]:
    return {
        "x-gitea-delivery": identity,
        "x-gitea-event": event,
        "x-gitea-event-type": event,
        "x-gitea-signature": sign(secret, body),
        "x-github-delivery": identity,
        "x-github-event": event,
        "x-hub-signature-256": f"sha256={sign(secret, body)}",
    }


def _gitlab(identity: str, event: str, secret: str, body: bytes) -> dict[str, str]:
    return {
        "x-gitlab-event": event,
        "x-gitlab-event-uuid": str(uuid.uuid4()),
        "x-gitlab-instance": "https://gitlab.example.org",
        "x-gitlab-webhook-uuid": str(uuid.uuid4()),
        "idempotency-key": identity,
        "x-gitlab-token": secret,
    }


def _bitbucket(identity: str, event: str, secret: str, body: bytes) -> dict[str, str]:
    return {
        "user-agent": "Bitbucket-Webhooks/2.0",
        "x-event-key": event,
        "x-hook-uuid": "{e2a0d9c3-0000-4000-8000-000000000000}",
        "x-request-uuid": identity,
        "x-attempt-number": "1",
        "x-hub-signature": f"sha256={sign(secret, body)}",
    }


_HEADERS = {
    ForgeName.GITHUB: _github,
    ForgeName.GITEA: _gitea,
    ForgeName.GITLAB: _gitlab,
    ForgeName.BITBUCKET: _bitbucket,
}


def now() -> float:
    return time.time()
