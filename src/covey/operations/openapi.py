"""From the registry to the OpenAPI 3.1 document."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.operations.codec import schema_hook
from covey.operations.command_document import Command
from covey.operations.commands import command_of, plain
from covey.operations.dispatch import HostResult
from covey.operations.openapi_errors import ERROR_SCHEMA, error_responses, statuses_of
from covey.operations.openapi_webhooks import webhook_paths
from covey.operations.patterns import plain_patterns
from covey.operations.registry import Operation, Registry
from covey.operations.signature import Location, Parameter
from covey.operations.wire import IF_VERSION, Wire, wire_of

API_VERSION = "1"

METRICS = "metrics"
"""The name that a token's scope must include to read `GET /metrics`."""

_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
_EVENTS = "text/event-stream"

Schema = dict[str, Any]

DOMAINS = {
    "audit": "Who did what, from where, and how it ended.",
    "config": "This node's settings.",
    "env": "Environment variables that follow their owner.",
    "fleet": "The members of this fleet and its keys.",
    "jobs": "What takes long: its steps, its log, and how to end or repeat it.",
    "node": "This node itself.",
    "peers": "The connections to other members.",
    "sync": "Replication with other members.",
    "token": "Tokens for programs that call the API.",
    "webhooks": "Deliveries of forges, and what they cause here.",
}
"""What each domain is about; one without a line here has none."""

_DESCRIPTION = """\
Every operation of Covey, as the command line has it too.

**Who you are**: send `Authorization: Bearer TOKEN` (`covey token create`), or connect with a
member's client certificate. On the node's own Unix socket you are its owner.

**Errors** have one form: `{"error": {"code", "message", "hint", "details"}}`. `code` is stable.

**Streams** are Server-Sent Events (`item`, then `end`, or `error` with the error's form), and
the same path answers a WebSocket: send the parameters outside the path as one JSON message, then
receive each item as a message. An error comes as a message of the error's form, and closes with
4000 + its HTTP status. A browser offers the subprotocols `covey.v1` and `covey.bearer.TOKEN`.

**Duplex operations** take input while they run, and are a WebSocket alone (any other request gets
426): after the parameters send each item of input as a message, and `{"end": null}` when there is
no more. Results come as messages, and `{"end": null}` after the last one. A client that offers
the subprotocol `covey.msgpack` sends and gets MessagePack in binary messages: no base64.

**Other hosts**: with the header `Covey-Host: NAME` an operation runs on that member, whose answer
is passed on as it is. `Covey-Host: NAME,NAME`, `Covey-All: 1` and `Covey-Tag: TAG` run it on
several (`Covey-Parallel` at one time, 16 by default): the answer is a stream of `HostResult`.

**Versions**: a response with an `ETag` can be changed safely by sending it as `If-Match`.

**Pages**: a list with `next_cursor` goes on by sending it as `cursor`.

Each response carries `X-Request-Id`, which the log and the audit trail carry too.
"""


def encode_openapi(registry: Registry) -> bytes:
    """Encode the document as it is kept in git and served: the same bytes for one registry."""
    encoded = msgspec.json.encode(build_openapi(registry))
    return msgspec.json.format(encoded, indent=1) + b"\n"


def build_openapi(registry: Registry) -> Schema:
    """Describe every operation and the node's own pages."""
    operations = [registry[name] for name in sorted(registry)]
    schemas = _Components(operations)
    paths: dict[str, Schema] = {}
    for item in operations:
        entry = _entry(item, schemas)
        paths.setdefault(item.route.path, {})[item.route.method.lower()] = entry
    paths |= _pages()
    for path, entries in webhook_paths().items():
        paths.setdefault(path, {}).update(entries)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Covey",
            "summary": "The machines you own, as one private cloud.",
            "description": _DESCRIPTION,
            "version": API_VERSION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The node that serves this document"}],
        "security": [{"token": []}, {"certificate": []}],
        "tags": _tags(operations),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Error": ERROR_SCHEMA, **schemas.definitions},
            "responses": error_responses(),
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `covey token create`.",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A member's client certificate from the fleet's CA.",
                },
            },
        },
    }


_HEADERS: Schema = {
    "ETag": {
        "description": "The version of the record, quoted; If-Match takes it.",
        "schema": {"type": "string"},
    },
    "RequestId": {
        "description": "Names this request in the log and the audit trail.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    },
    "RetryAfter": {
        "description": "Seconds to wait before the next request.",
        "schema": {"type": "integer", "minimum": 1},
    },
}

_PARAMETERS: Schema = {
    "Timeout": {
        "name": "Covey-Timeout",
        "in": "header",
        "required": False,
        "description": "Seconds that the operation may take.",
        "schema": {"type": "number", "minimum": 1, "maximum": 3600},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "Change the record only if this is still its version (an ETag), else 412.",
        "schema": {"type": "string", "pattern": '^("[!#-~]+"|[!#-+\\--~]+)$'},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "Answer 304 without a body if this is still the version (an ETag).",
        "schema": {"type": "string"},
    },
}


class _Components:
    """The named schemas of all bodies and results, and the schema of each by operation."""

    def __init__(self, operations: list[Operation]) -> None:
        self.wires: dict[str, Wire] = {item.name: wire_of(item) for item in operations}
        kinds: list[Any] = []
        for item in operations:
            kinds += [self.wires[item.name].body or type(None), item.signature.result]
            kinds += [parameter.annotation for parameter in item.signature.parameters]
            if item.signature.input is not None:
                kinds.append(item.signature.input.item)
        made = msgspec.json.schema_components(
            [*kinds, HostResult], schema_hook=schema_hook, ref_template=_REFERENCE
        )
        found, definitions = plain_patterns(list(made))
        self.definitions: Schema = dict(sorted(definitions.items()))
        self._bodies: dict[str, Schema] = {}
        self._results: dict[str, Schema] = {}
        self._parameters: dict[tuple[str, str], Schema] = {}
        self.inputs: dict[str, Schema] = {}
        at = iter(found)
        for item in operations:
            self._bodies[item.name] = next(at)
            self._results[item.name] = next(at)
            for parameter in item.signature.parameters:
                self._parameters[item.name, parameter.name] = next(at)
            if item.duplex:
                self.inputs[item.name] = next(at)

    def body(self, operation: Operation) -> Schema:
        """Return the schema of the request's body."""
        return self._bodies[operation.name]

    def result(self, operation: Operation) -> Schema:
        """Return the schema of the result, of a stream of one item."""
        return self._results[operation.name]

    def text_parameter(self, operation: Operation, parameter: Parameter) -> Schema:
        """Return the schema of a path or query parameter, which cannot be null."""
        schema = dict(self._parameters[operation.name, parameter.name])
        choices = [item for item in schema.pop("anyOf", ()) if item.get("type") != "null"]
        if len(choices) == 1:
            schema = {**choices[0], **schema}
        elif choices:
            schema["anyOf"] = choices
        schema.pop("description", None)
        if schema.get("type") == "array" and "items" in schema:
            schema["items"] = _text(schema["items"])
        schema = _text(schema)
        if parameter.location is Location.PATH and schema.get("type") == "string":
            schema.setdefault("minLength", 1)
        if not parameter.required and parameter.default is not None:
            schema["default"] = plain(parameter.default)
        return schema


def _text(schema: Schema) -> Schema:
    """Rule out NUL in free text: an address never holds it."""
    if schema.get("type") == "string" and not schema.keys() & {"pattern", "format", "enum"}:
        return {**schema, "pattern": "^[^\\u0000]*$"}
    return schema


def _entry(operation: Operation, schemas: _Components) -> Schema:
    wire = schemas.wires[operation.name]
    command = command_of(operation)
    entry: Schema = {
        "operationId": operation.name,
        "summary": operation.definition.summary,
        "tags": [domain_of(operation.name)],
        "parameters": _parameters(operation, wire, schemas),
        "responses": _responses(operation, wire, schemas),
        "x-covey-access": operation.access.label,
        "x-covey-effect": operation.effect.value,
        "x-codeSamples": [
            {"lang": "Shell", "label": "Command line", "source": f"covey {line}"}
            for line in operation.definition.examples or (usage(command),)
        ],
    }
    if operation.definition.description:
        entry["description"] = operation.definition.description
    if operation.duplex:
        entry["x-covey-websocket"] = {
            "input": schemas.inputs[operation.name],
            "output": schemas.result(operation),
        }
    if wire.body is not None:
        entry["requestBody"] = {
            "required": wire.body_required,
            "content": {_JSON: {"schema": schemas.body(operation)}},
        }
    return entry


def _parameters(operation: Operation, wire: Wire, schemas: _Components) -> list[Schema]:
    found: list[Schema] = []
    for item in operation.signature.parameters:
        if item.location is Location.BODY or item.name == IF_VERSION:
            continue
        entry: Schema = {
            "name": item.name,
            "in": item.location.value,
            "required": item.required,
            "schema": schemas.text_parameter(operation, item),
        }
        text = next(
            (param.help for param in command_of(operation).params if param.name == item.name), ""
        )
        if text:
            entry["description"] = text
        found.append(entry)
    found.append({"$ref": "#/components/parameters/Timeout"})
    if wire.conditional:
        found.append({"$ref": "#/components/parameters/IfMatch"})
    if wire.versioned and operation.route.method == "GET":
        found.append({"$ref": "#/components/parameters/IfNoneMatch"})
    return found


def _responses(operation: Operation, wire: Wire, schemas: _Components) -> Schema:
    headers: Schema = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if wire.versioned:
        headers["ETag"] = {"$ref": "#/components/headers/ETag"}
    result = schemas.result(operation)
    found: Schema = {}
    if operation.duplex:
        found["101"] = {"description": "The WebSocket is open; see `x-covey-websocket`."}
        return found | _errors(operation, wire)
    if operation.streams:
        content: Schema = {_EVENTS: {"schema": _events(result)}}
        description = "A stream of events; the schema is that of one event."
    else:
        content = {_JSON: {"schema": result}}
        description = "The result."
    found["200"] = {"description": description, "headers": headers, "content": content}
    if wire.versioned and operation.route.method == "GET":
        found["304"] = {"description": "The version is still the one in If-None-Match."}
    return found | _errors(operation, wire)


def _errors(operation: Operation, wire: Wire) -> Schema:
    names = [*(str(status) for status in statuses_of(operation, wire)), "default"]
    return {name: {"$ref": f"#/components/responses/{name}"} for name in names}


def _events(item: Schema) -> Schema:
    """Describe one event of a stream: an item, the error that ends it, or its end."""
    number = {"type": "string", "pattern": "^[0-9]+$"}
    return {
        "oneOf": [
            _event("item", {"id": number}, item),
            _event("error", {}, {"$ref": _REFERENCE.format(name="Error")}),
            _event("end", {}, {"type": "object"}),
        ]
    }


def _event(name: str, extra: Schema, content: Schema) -> Schema:
    data = {"type": "string", "contentMediaType": _JSON, "contentSchema": content}
    return {
        "type": "object",
        "required": ["event", *extra, "data"],
        "properties": {"event": {"const": name}, **extra, "data": data},
    }


def _pages() -> dict[str, Schema]:
    state = {"type": "object", "required": ["status", "state"], "properties": {}}
    state["properties"] = {"status": {"const": "ok"}, "state": {"type": "string"}}
    limited = {"$ref": "#/components/responses/429"}
    common = {"tags": ["pages"], "parameters": []}
    return {
        "/health": {
            "get": {
                **common,
                "operationId": "health",
                "summary": "Tell that this node serves, and its state.",
                "description": "It answers 200 while the node is locked, too.",
                "security": [],
                "responses": {
                    "200": {
                        "description": "The node serves.",
                        "content": {_JSON: {"schema": state}},
                    },
                    "429": limited,
                    "default": {"$ref": "#/components/responses/default"},
                },
            }
        },
        "/metrics": {
            "get": {
                **common,
                "operationId": METRICS,
                "summary": "Read the node's measurements in Prometheus' text format.",
                "x-covey-access": "viewer",
                "responses": {
                    "200": {
                        "description": "The measurements.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    },
                    "401": {"$ref": "#/components/responses/401"},
                    "403": {"$ref": "#/components/responses/403"},
                    "429": limited,
                    "default": {"$ref": "#/components/responses/default"},
                },
            }
        },
    }


def _tags(operations: list[Operation]) -> list[Schema]:
    tags: list[Schema] = []
    for domain in sorted({domain_of(item.name) for item in operations}):
        tags.append({"name": domain})
        if domain in DOMAINS:
            tags[-1]["description"] = DOMAINS[domain]
    return [*tags, {"name": "pages", "description": "What the node tells of itself."}]


def domain_of(name: str) -> str:
    """Return the domain of an operation: its name's first word."""
    return name.partition(".")[0]


def usage(command: Command) -> str:
    """Return a command's form without the leading `covey`: `env set NAME [--scope SCOPE]`."""
    words = list(command.path)
    for item in command.params:
        label = item.name.upper()
        if item.kind == "argument":
            label += "…" if item.repeated else ""
        elif item.type == "boolean":
            label = item.flag
        else:
            label = f"{item.flag} {label}"
        words.append(label if item.required else f"[{label}]")
    return " ".join(words)
