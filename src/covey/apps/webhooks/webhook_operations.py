"""The operations on webhooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from covey.apps.names import AppName
from covey.apps.webhooks.deliveries import Delivery
from covey.apps.webhooks.integrations import Integration, new_secret
from covey.apps.webhooks.model import ForgeName
from covey.apps.webhooks.rules import Options
from covey.apps.webhooks.service import WebhookService
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.page import Cursor, Limit, Page, paginate
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret
from covey.settings import parse_duration

_EVENTS = {
    ForgeName.GITHUB: ("push", "pull_request", "release"),
    ForgeName.GITLAB: (
        "Push events",
        "Tag push events",
        "Merge request events",
        "Releases events",
    ),
    ForgeName.GITEA: ("Push", "Pull Request", "Pull Request Synchronized", "Release"),
    ForgeName.BITBUCKET: (
        "Repository: Push",
        "Pull request: Created",
        "Pull request: Updated",
        "Pull request: Merged",
        "Pull request: Declined",
    ),
}
_LAST_MICROSECOND = 10**16 - 1

WebhookName = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$", description="The webhook's name."
    ),
]
_Pattern = Annotated[str, msgspec.Meta(pattern=r"^!?[^\s!][^\s]*$", max_length=200)]


class Webhook(msgspec.Struct, frozen=True):
    """A webhook without its secrets; `statuses` says whether commits are marked on the forge."""

    name: str
    forge: ForgeName
    path: str
    apps: list[str]
    repositories: list[str]
    branches: list[str]
    tags: list[str]
    paths: list[str]
    releases: bool
    previews: bool
    forks: bool
    max_previews: int
    statuses: bool
    created: datetime
    created_by: str
    former_secret_until: datetime | None = None


class WebhookSecret(msgspec.Struct, frozen=True):
    """What to enter at the forge; the secret is shown this once.

    `urls` are this node's own addresses; behind a proxy, `path` at its name is the right one.
    """

    name: str
    forge: ForgeName
    path: str
    urls: list[str]
    secret: str
    content_type: str
    events: list[str]


@operation(
    "webhooks.create",
    access=Role.OPERATOR,
    effect=Effect.REVEAL,
    http="POST /api/v1/webhooks",
    examples=(
        "webhooks create shop --forge github --app shop",
        "webhooks create acme --forge gitlab --repository 'acme/*' --previews",
        "webhooks create site --forge gitea --path 'site/**' --branch main --git-tag 'v*'",
    ),
)
async def create_webhook(
    ctx: Context,
    name: WebhookName,
    *,
    forge: Annotated[ForgeName, msgspec.Meta(description="Forgejo is gitea.")],
    app: Annotated[
        list[AppName],
        msgspec.Meta(
            max_length=100,
            description="The apps that it feeds; none means those made of the repository.",
        ),
    ] = [],  # noqa: B006 - the registry never changes it
    repository: Annotated[
        list[_Pattern],
        msgspec.Meta(max_length=100, description="Only these repositories: acme/shop, acme/*."),
    ] = [],  # noqa: B006
    branch: Annotated[
        list[_Pattern],
        msgspec.Meta(max_length=100, description="Branches that are deployed; else the app's own."),
    ] = [],  # noqa: B006
    git_tag: Annotated[
        list[_Pattern], msgspec.Meta(max_length=100, description="Tags that are deployed: v*.")
    ] = [],  # noqa: B006
    path: Annotated[
        list[_Pattern],
        msgspec.Meta(
            max_length=100,
            description="Deploy a push only if such a file changed: src/**, !docs/**.",
        ),
    ] = [],  # noqa: B006
    releases: Annotated[
        bool, msgspec.Meta(description="Deploy a tag when it is released, not when it is pushed.")
    ] = False,
    previews: Annotated[
        bool, msgspec.Meta(description="Each open pull request gets a preview.")
    ] = False,
    forks: Annotated[
        bool,
        msgspec.Meta(
            description="Also those from forks: anybody's code runs with the preview's variables."
        ),
    ] = False,
    max_previews: Annotated[
        int, msgspec.Meta(ge=1, le=100, description="Most previews of one app.")
    ] = 5,
    api_base: Annotated[
        str,
        msgspec.Meta(max_length=500, description="The forge's API, if it is not the public one's."),
    ] = "",
    api_token: Annotated[
        Secret | None,
        msgspec.Meta(description="A token of the forge, to mark commits and see pull requests."),
    ] = None,
) -> WebhookSecret:
    """Make a webhook, and show its secret once.

    Enter the address, the secret and the events at the forge. This node keeps the secret; other
    members of the fleet do not know it.
    """
    service = ctx.service(WebhookService)
    made = await service.create(
        Integration(
            name=name,
            forge=forge,
            secret=new_secret(forge),
            options=Options(
                branches=tuple(branch),
                tags=tuple(git_tag),
                paths=tuple(path),
                releases=releases,
                previews=previews,
                forks=forks,
                max_previews=max_previews,
            ),
            created=datetime.now(UTC),
            created_by=ctx.caller.label,
            apps=tuple(dict.fromkeys(app)),
            repositories=tuple(dict.fromkeys(repository)),
            api_base=api_base.rstrip("/"),
            api_token="" if api_token is None else api_token.reveal(),
        )
    )
    return _with_secret(service, made)


@operation(
    "webhooks.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/webhooks",
    examples=("webhooks list",),
)
async def list_webhooks(ctx: Context) -> list[Webhook]:
    """List this node's webhooks."""
    return [_shown(item) for item in ctx.service(WebhookService).all()]


@operation(
    "webhooks.show",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/webhooks/{name}",
    examples=("webhooks show shop",),
)
async def show_webhook(ctx: Context, name: WebhookName) -> Webhook:
    """Show a webhook."""
    return _shown(ctx.service(WebhookService).get(name))


@operation(
    "webhooks.deliveries",
    access=Role.DEVELOPER,
    effect=Effect.READ,
    http="GET /api/v1/webhooks/{name}/deliveries",
    examples=("webhooks deliveries shop",),
)
async def list_deliveries(
    ctx: Context, name: WebhookName, *, limit: Limit = 50, cursor: Cursor = None
) -> Page[Delivery]:
    """List what a forge delivered and what came of it, the newest first."""
    found = ctx.service(WebhookService).deliveries(name)
    return paginate([(_age_key(item), item) for item in found], cursor, limit)


@operation(
    "webhooks.rotate",
    access=Role.OPERATOR,
    effect=Effect.REVEAL,
    http="POST /api/v1/webhooks/{name}/rotate",
    examples=("webhooks rotate shop", "webhooks rotate shop --overlap 0s"),
)
async def rotate_webhook(
    ctx: Context,
    name: WebhookName,
    *,
    overlap: Annotated[
        str,
        msgspec.Meta(
            pattern="^([0-9]{1,4}[smhd]){1,4}$",
            description="How long the present secret is accepted, too.",
        ),
    ] = "1h",
) -> WebhookSecret:
    """Give a webhook a new secret, and show it once."""
    service = ctx.service(WebhookService)
    changed = await service.rotate(name, timedelta(seconds=parse_duration(overlap)))
    return _with_secret(service, changed)


@operation(
    "webhooks.remove",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/webhooks/{name}",
    examples=("webhooks remove shop",),
)
async def remove_webhook(ctx: Context, name: WebhookName) -> Webhook:
    """Remove a webhook: what the forge delivers to it is refused from now on."""
    return _shown(await ctx.service(WebhookService).remove(name))


def _age_key(item: Delivery) -> str:
    """Return a key that is less the newer a delivery is, so that new ones shift no page."""
    age = _LAST_MICROSECOND - round(item.at.timestamp() * 1_000_000)
    return f"{age:016}/{item.id}"


def _with_secret(service: WebhookService, item: Integration) -> WebhookSecret:
    return WebhookSecret(
        name=item.name,
        forge=item.forge,
        path=_path(item),
        urls=service.urls(item.name),
        secret=item.secret,
        content_type="application/json",
        events=list(_EVENTS[item.forge]),
    )


def _shown(item: Integration) -> Webhook:
    options = item.options
    return Webhook(
        name=item.name,
        forge=item.forge,
        path=_path(item),
        apps=list(item.apps),
        repositories=list(item.repositories),
        branches=list(options.branches),
        tags=list(options.tags),
        paths=list(options.paths),
        releases=options.releases,
        previews=options.previews,
        forks=options.forks,
        max_previews=options.max_previews,
        statuses=bool(item.api_token),
        created=item.created,
        created_by=item.created_by,
        former_secret_until=item.former_until,
    )


def _path(item: Integration) -> str:
    return f"/api/v1/webhooks/{item.name}"
