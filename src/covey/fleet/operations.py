"""The operations on the fleet: its machines, invitations, keys and authority."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from covey.fleet.hosts import FieldName, HostRecords
from covey.fleet.invitation import write_token
from covey.fleet.machine import NodeName
from covey.fleet.membership import FleetService
from covey.fleet.node import Done
from covey.fleet.statements import NodeKind
from covey.fleet.views import (
    CreatedInvitation,
    FleetInfo,
    FleetNode,
    FleetNodeDetails,
    NewRecoveryKey,
    OpenInvitation,
    RemovedNode,
    RotatedAuthority,
    RotatedKeys,
    describe_fleet,
    iso,
    list_nodes,
    show_node,
)
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.settings import parse_duration

RoleLabel = Literal["viewer", "developer", "operator", "admin"]

NodeReference = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=63,
        description="A machine's name, or its node id (eight digits are enough).",
    ),
]
InvitationId = Annotated[
    str, msgspec.Meta(pattern="^[0-9a-f]{16}$", description="The invitation's id.")
]
FieldValue = Annotated[str, msgspec.Meta(max_length=8192, description="The field's value.")]
IfVersion = Annotated[
    str | None,
    msgspec.Meta(description="Refuse if the record's version is another (see fleet show)."),
]


@operation(
    "fleet.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/fleet/nodes",
    examples=("fleet list", "fleet list --everything --json"),
)
async def list_fleet(
    ctx: Context,
    *,
    everything: Annotated[
        bool,
        msgspec.Meta(description="Also machines that were removed, left, or are only on record."),
    ] = False,
) -> list[FleetNode]:
    """List the machines of the fleet."""
    return list_nodes(ctx.service(FleetService).core, everything=everything)


@operation(
    "fleet.show",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/fleet/nodes/{node}",
    examples=("fleet show frigg", "fleet show 3f2a9c41 --json"),
)
async def show(ctx: Context, node: NodeReference) -> FleetNodeDetails:
    """Show one machine: its standing, addresses, system and free-form fields."""
    return show_node(ctx.service(FleetService).core, node)


@operation(
    "fleet.info",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/fleet",
    examples=("fleet info",),
)
async def info(ctx: Context) -> FleetInfo:
    """Show the fleet as a whole: admins, data keys, authorities."""
    return describe_fleet(ctx.service(FleetService).core)


@operation(
    "fleet.invite",
    access=Role.ADMIN,
    effect=Effect.REVEAL,
    http="POST /api/v1/fleet/invitations",
    examples=("invite", "invite --role operator --expires 1h", "invite --relay"),
)
async def invite(
    ctx: Context,
    *,
    role: Annotated[
        RoleLabel | None, msgspec.Meta(description="The new member's role; developer by default.")
    ] = None,
    relay: Annotated[
        bool, msgspec.Meta(description="Invite a relay: it forwards entries it cannot read.")
    ] = False,
    expires: Annotated[
        str,
        msgspec.Meta(
            pattern="^([0-9]{1,5}[smhdw]){1,5}$",
            description="How long the token is valid, such as 30m or 24h; at most 30d.",
        ),
    ] = "24h",
) -> CreatedInvitation:
    """Make a token with which one machine can join: covey join TOKEN.

    The token is good once, and only until it expires. Whoever holds it can join: pass it on over a
    channel that you trust. This node must be reachable while the other one joins.
    """
    invitation = await ctx.service(FleetService).invite(
        relay=relay,
        role=None if role is None else Role.parse(role),
        life=timedelta(seconds=parse_duration(expires)),
    )
    return CreatedInvitation(
        token=write_token(invitation),
        id=invitation.id.hex(),
        kind=(NodeKind.RELAY if relay else NodeKind.FULL).value,
        role=None if relay else role or Role.DEVELOPER.label,
        expires_at=iso(invitation.expires_at),
        addresses=list(invitation.addresses),
    )


@operation(
    "fleet.invitations",
    access=Role.ADMIN,
    effect=Effect.READ,
    http="GET /api/v1/fleet/invitations",
    examples=("fleet invitations",),
)
async def invitations(ctx: Context) -> list[OpenInvitation]:
    """List the open invitations that were made on this node."""
    return [
        OpenInvitation(
            id=kept.id,
            kind=kept.kind.value,
            role=None if kept.kind is NodeKind.RELAY else kept.role.label,
            created_at=iso(kept.created_at),
            expires_at=iso(kept.expires_at),
            failures=kept.failures,
        )
        for kept in ctx.service(FleetService).invitations.open_invitations()
    ]


@operation(
    "fleet.revoke-invitation",
    access=Role.ADMIN,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/fleet/invitations/{invitation}",
    examples=("fleet revoke-invitation 5f0c1d2e3a4b5c6d",),
)
async def revoke_invitation(ctx: Context, invitation: InvitationId) -> Done:
    """Make an invitation useless before it expires."""
    kept = await ctx.service(FleetService).invitations.revoke(invitation)
    return Done(f"The invitation {kept.id} is revoked.")


@operation(
    "fleet.remove",
    access=Role.ADMIN,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/fleet/nodes/{node}",
    examples=("fleet remove old-laptop",),
)
async def remove(ctx: Context, node: NodeReference) -> RemovedNode:
    """Take a machine out of the fleet for good, and name the secrets that it knew.

    Its connections drop at once, and what it writes from now on is refused everywhere. The rest of
    the fleet gets a new data key, and a new authority too if the machine was an admin.
    """
    return await ctx.service(FleetService).remove(node)


@operation(
    "fleet.rename",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="PUT /api/v1/fleet/nodes/{node}/name",
    examples=("fleet rename laptop frigg",),
)
async def rename(
    ctx: Context, node: NodeReference, name: NodeName, *, if_version: IfVersion = None
) -> FleetNodeDetails:
    """Give a machine another name."""
    service = ctx.service(FleetService)
    renamed = await service.rename(node, name, if_version)
    return show_node(service.core, renamed.name)


@operation(
    "fleet.set-role",
    access=Role.ADMIN,
    effect=Effect.CHANGE,
    http="PUT /api/v1/fleet/nodes/{node}/role",
    examples=("fleet set-role frigg admin",),
)
async def set_role(
    ctx: Context,
    node: NodeReference,
    role: Annotated[RoleLabel, msgspec.Meta(description="What the machine may do from now on.")],
) -> FleetNodeDetails:
    """Give a member another role.

    An admin node holds the fleet's authority key: it can invite and remove. When one becomes less
    than that, a new authority takes over at once.
    """
    service = ctx.service(FleetService)
    member = await service.set_role(node, Role.parse(role))
    return show_node(service.core, member.node_id)


@operation(
    "fleet.set-field",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="PUT /api/v1/fleet/nodes/{node}/fields/{field}",
    examples=("fleet set-field frigg backup_path /srv/backup",),
)
async def set_field(
    ctx: Context,
    node: NodeReference,
    field: FieldName,
    value: FieldValue,
    *,
    if_version: IfVersion = None,
) -> FleetNodeDetails:
    """Record a fact about a machine, be it a member or not."""
    host = await ctx.service(HostRecords).upsert(node, {field: value}, if_version)
    return show_node(ctx.service(FleetService).core, host.name)


@operation(
    "fleet.unset-field",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/fleet/nodes/{node}/fields/{field}",
    examples=("fleet unset-field frigg backup_path",),
)
async def unset_field(
    ctx: Context, node: NodeReference, field: FieldName, *, if_version: IfVersion = None
) -> FleetNodeDetails:
    """Delete a fact from a machine's record."""
    hosts = ctx.service(HostRecords)
    host = await hosts.upsert(hosts.get(node).name, {field: None}, if_version)
    return show_node(ctx.service(FleetService).core, host.name)


@operation(
    "fleet.rotate-keys",
    access=Role.ADMIN,
    effect=Effect.CHANGE,
    http="POST /api/v1/fleet/keys",
    examples=("fleet rotate-keys",),
)
async def rotate_keys(ctx: Context) -> RotatedKeys:
    """Make a new data key for what is written from now on.

    Earlier keys stay with the members, because earlier entries are sealed with them.
    """
    return await ctx.service(FleetService).rotate_keys()


@operation(
    "fleet.rotate-authority",
    access=Role.ADMIN,
    effect=Effect.CHANGE,
    http="POST /api/v1/fleet/authorities",
    examples=("fleet rotate-authority", "fleet rotate-authority --finish"),
)
async def rotate_authority(
    ctx: Context,
    *,
    finish: Annotated[
        bool, msgspec.Meta(description="End the overlap: trust the new authority alone.")
    ] = False,
) -> RotatedAuthority:
    """Replace the fleet's certificate authority in two steps.

    The first introduces a new authority beside the old one. When every machine has been online,
    `--finish` gives all of them new certificates and retires the old authority.
    """
    return await ctx.service(FleetService).rotate_authority(finish=finish)


@operation(
    "fleet.renew-recovery-key",
    access=Role.ADMIN,
    effect=Effect.REVEAL,
    http="POST /api/v1/fleet/recovery-key",
    examples=("fleet renew-recovery-key",),
)
async def renew_recovery_key(ctx: Context) -> NewRecoveryKey:
    """Make a new recovery key, shown this once, and make the earlier one useless."""
    key = await ctx.service(FleetService).renew_recovery_key()
    return NewRecoveryKey(key.text, "Write it down and keep it away from these machines.")


@operation(
    "fleet.leave",
    access=Role.ADMIN,
    effect=Effect.DESTROY,
    http="POST /api/v1/fleet/leave",
    examples=("fleet leave",),
)
async def leave(ctx: Context) -> Done:
    """Take this machine out of the fleet.

    The others hear of it while it is still connected; an admin node then changes the keys.
    """
    await ctx.service(FleetService).leave()
    return Done("This machine has left the fleet.")
