"""The routes that forges deliver to: they are no operations, for no caller of the API uses them."""

from __future__ import annotations

from typing import Any

FORGE_PATH = "/webhooks/{forge}"
WEBHOOK_PATH = "/api/v1/webhooks/{name}"

RECEIVE = "webhooks.receive"
"""What a delivery is called in the audit trail."""

_FORGES = ("github", "gitlab", "gitea", "forgejo", "bitbucket")
_DESCRIPTION = """\
The body is what the forge sends, and its signature or token is the only credential. A delivery
that came before is answered and does nothing again.
"""


def webhook_paths() -> dict[str, dict[str, Any]]:
    """Describe the routes; the second shares its path with operations on webhooks."""
    text = {"type": "string", "minLength": 1, "pattern": "^[^\\u0000/]*$"}
    return {
        FORGE_PATH: {
            "post": _entry(
                "webhooks.receive-by-forge",
                "Take a delivery for whichever webhook of a forge it was signed for.",
                {"name": "forge", "schema": {"enum": list(_FORGES)}},
            )
        },
        WEBHOOK_PATH: {
            "post": _entry(
                RECEIVE, "Take a forge's delivery for a webhook.", {"name": "name", "schema": text}
            )
        },
    }


def _entry(identity: str, summary: str, parameter: dict[str, Any]) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}}
    receipt = {
        "type": "object",
        "required": ["status", "integration", "deployments", "reasons"],
        "properties": {
            "status": {"enum": ["queued", "ignored", "duplicate", "pong"]},
            "integration": {"type": "string"},
            "deployments": texts,
            "reasons": texts,
        },
    }
    content = {"application/json": {"schema": receipt}}
    refused = ("400", "401", "408", "413", "423", "429", "default")
    return {
        "operationId": identity,
        "summary": summary,
        "description": _DESCRIPTION,
        "tags": ["webhooks"],
        "security": [],
        "parameters": [{**parameter, "in": "path", "required": True}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "responses": {
            "200": {"description": "Nothing is to be done for it.", "content": content},
            "202": {"description": "What follows from it is queued.", "content": content},
            **{name: {"$ref": f"#/components/responses/{name}"} for name in refused},
        },
    }
