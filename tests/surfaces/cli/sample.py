"""A command document with one command of every kind, apart from the product's own."""

from __future__ import annotations

from covey.operations.command_document import (
    Command,
    CommandDocument,
    CommandParameter,
    CommandResult,
    ResultField,
)


def _fields(*names: str) -> tuple[ResultField, ...]:
    return tuple(ResultField(name, "string") for name in names)


def _argument(name: str, location: str = "path", **more: object) -> CommandParameter:
    return CommandParameter(
        name=name,
        kind="argument",
        location=location,  # type: ignore[arg-type]
        required=True,
        **{"type": "string", **more},  # type: ignore[arg-type]
    )


def _option(name: str, location: str = "query", **more: object) -> CommandParameter:
    return CommandParameter(
        name=name,
        kind="option",
        location=location,  # type: ignore[arg-type]
        **{"type": "string", "flag": f"--{name.replace('_', '-')}", **more},  # type: ignore[arg-type]
    )


_CURSOR = _option("cursor", help="Go on from here.")
_LIMIT = _option("limit", type="integer", default=100, minimum=1, maximum=200)

GET = Command(
    name="thing.get",
    path=("thing", "get"),
    summary="Get one thing.",
    method="GET",
    route="/api/v1/things/{name}",
    effect="read",
    access="viewer",
    description="A second paragraph that is long enough to be wrapped at eighty columns by help.",
    examples=("thing get hammer", "thing get hammer --colour red"),
    params=(
        _argument("name", pattern="^[a-z/ é]+$", max_length=20, help="Lower-case letters."),
        _option("colour", choices=("red", "blue"), help="Only in this colour."),
        _option("tags", repeated=True, help="Only with these tags."),
        _option("deep", type="boolean", default=False, help="Look inside."),
        _option("wait", type="boolean", default=True, flag="--no-wait", help="Do not wait."),
        _option("count", type="integer", minimum=1, maximum=9, default=3, help="How many."),
        _option("ratio", type="number", help="How much."),
    ),
    result=CommandResult("record", _fields("name", "made_at", "size_bytes")),
)
SET = Command(
    name="thing.set",
    path=("thing", "set"),
    summary="Change one thing.",
    method="PUT",
    route="/api/v1/things/{name}",
    effect="change",
    access="developer",
    params=(
        _argument("name"),
        _option("labels", "body", type="mapping", help="Labels."),
        _option("extra", "body", type="json", help="Anything else."),
        _option("pin", "body", secret=True, required=True, help="The PIN."),
    ),
    result=CommandResult("record", _fields("message")),
)
LIST = Command(
    name="thing.list",
    path=("thing", "list"),
    summary="List the things.",
    method="GET",
    route="/api/v1/things",
    effect="read",
    access="viewer",
    paginated=True,
    params=(_CURSOR, _LIMIT),
    result=CommandResult("page", _fields("name", "colour", "note")),
)
WATCH = Command(
    name="thing.watch",
    path=("thing", "watch"),
    summary="Watch the things.",
    method="GET",
    route="/api/v1/things/watch",
    effect="read",
    access="viewer",
    streams=True,
    result=CommandResult("record", _fields("name", "at")),
)
DROP = Command(
    name="thing.drop",
    path=("thing", "drop"),
    summary="Drop one thing for good.",
    method="DELETE",
    route="/api/v1/things/{name}",
    effect="destroy",
    access="admin",
    params=(_argument("name"),),
    result=CommandResult("record", _fields("message")),
)
STATUS = Command(
    name="node.status",
    path=("node", "status"),
    summary="Show what this node is.",
    method="GET",
    route="/api/v1/node",
    effect="read",
    access="viewer",
    result=CommandResult("record", _fields("state")),
)
PEERS = Command(
    name="peers.list",
    path=("peers", "list"),
    summary="List the peers.",
    method="GET",
    route="/api/v1/peers",
    effect="read",
    access="viewer",
    params=(_option("state", choices=("up", "down")),),
    result=CommandResult("list", _fields("name", "state")),
)

DOCUMENT = CommandDocument((STATUS, PEERS, DROP, GET, LIST, SET, WATCH))
