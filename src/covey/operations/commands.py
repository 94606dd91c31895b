"""From the registry to the command document that the CLI is built from."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.operations.codec import encode_hook, schema_hook
from covey.operations.command_document import (
    Command,
    CommandDocument,
    CommandParameter,
    CommandResult,
    ParameterType,
    ResultField,
    ResultKind,
)
from covey.operations.patterns import plain_patterns
from covey.operations.registry import Operation, Registry
from covey.operations.signature import Parameter

_REFERENCE = "#/$defs/{name}"
_SCALARS: dict[str, ParameterType] = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}

Schema = dict[str, Any]


def build_commands(registry: Registry) -> CommandDocument:
    """Describe every operation as a command, sorted by name."""
    return CommandDocument(tuple(command_of(registry[name]) for name in sorted(registry)))


def command_of(operation: Operation) -> Command:
    """Describe one operation as a command."""
    result = _Schemas(operation.signature.result).result()
    return Command(
        name=operation.name,
        path=tuple(operation.name.replace("_", "-").split(".")),
        summary=operation.definition.summary,
        description=operation.definition.description,
        examples=operation.definition.examples,
        method=operation.route.method,
        route=operation.route.path,
        effect=operation.effect.value,
        access=operation.access.label,
        params=tuple(_parameter(item) for item in operation.signature.parameters),
        streams=operation.streams,
        duplex=operation.duplex,
        paginated=result.kind == "page",
        result=result,
        module=operation.module,
    )


def plain(value: Any) -> Any:
    """Turn a parameter's default into plain JSON values."""
    return msgspec.to_builtins(value, enc_hook=encode_hook)


def described(schema: Schema) -> str:
    """Return a schema's own description, or that of its one alternative to `null`."""
    choices = [item for item in schema.get("anyOf", ()) if item.get("type") != "null"]
    inner = choices[0].get("description", "") if len(choices) == 1 else ""
    return str(schema.get("description", inner))


def _parameter(item: Parameter) -> CommandParameter:
    schemas = _Schemas(item.annotation)
    outer = schemas.top
    repeated = outer.get("type") == "array" and "items" in outer
    inner = schemas.resolve(outer["items"]) if repeated else outer
    kind = _parameter_type(inner)
    if repeated and kind in {"mapping", "json"}:
        repeated, kind, inner = False, "json", outer
    flag = item.name.replace("_", "-")
    if kind == "boolean" and item.default is True:
        flag = f"no-{flag}"
    return CommandParameter(
        name=item.name,
        kind="argument" if item.positional else "option",
        location=item.location.value,
        type=kind,
        flag="" if item.positional else f"--{flag}",
        repeated=repeated,
        required=item.required,
        default=plain(item.default),
        choices=tuple(str(choice) for choice in inner.get("enum", ()) if choice is not None),
        secret=inner.get("format") == "password",
        help=schemas.description,
        minimum=inner.get("minimum", _just_above(inner, "exclusiveMinimum", 1)),
        maximum=inner.get("maximum", _just_above(inner, "exclusiveMaximum", -1)),
        min_length=inner.get("minLength"),
        max_length=inner.get("maxLength"),
        pattern=inner.get("pattern"),
    )


def _just_above(schema: Schema, key: str, step: int) -> float | None:
    """Turn an exclusive bound of integers into an inclusive one; other numbers have none."""
    bound = schema.get(key)
    return bound + step if bound is not None and schema.get("type") == "integer" else None


def _parameter_type(schema: Schema) -> ParameterType:
    kind = schema.get("type")
    if kind in _SCALARS:
        return _SCALARS[kind]
    if "enum" in schema or _all_scalars(schema):
        return "string"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict) and values.get("type") == "string":
        return "mapping"
    return "json"


def _all_scalars(schema: Schema) -> bool:
    choices = schema.get("anyOf", ())
    return bool(choices) and all(choice.get("type") in _SCALARS for choice in choices)


class _Schemas:
    """The JSON Schema of one annotation with its definitions; `null` alternatives are left out."""

    def __init__(self, annotation: Any) -> None:
        found = msgspec.json.schema_components(
            [annotation], schema_hook=schema_hook, ref_template=_REFERENCE
        )
        (outer,), self._definitions = plain_patterns(list(found))
        self.description: str = described(outer)
        self.top = self.resolve(outer)

    def resolve(self, schema: Schema) -> Schema:
        """Follow references and drop `null` alternatives; outer keywords win."""
        while True:
            if "$ref" in schema:
                target = self._definitions[schema["$ref"].rsplit("/", 1)[1]]
                schema = {**target, **{key: schema[key] for key in schema if key != "$ref"}}
                continue
            choices = [item for item in schema.get("anyOf", ()) if item.get("type") != "null"]
            if len(choices) == 1:
                schema = {**choices[0], **{key: schema[key] for key in schema if key != "anyOf"}}
                continue
            return {**schema, "anyOf": choices} if choices else schema

    def result(self) -> CommandResult:
        """Classify a result, and list the fields of the record that it consists of."""
        schema = self.top
        kind: ResultKind
        if schema.get("type") == "null":
            return CommandResult("none")
        if schema.get("type") == "array" and "items" in schema:
            kind, schema = "list", self.resolve(schema["items"])
        elif {"items", "next_cursor"} <= schema.get("properties", {}).keys():
            kind, schema = "page", self.resolve(schema["properties"]["items"]["items"])
        elif "properties" in schema:
            kind = "record"
        else:
            kind = "value"
        return CommandResult(kind, self._fields(schema))

    def _fields(self, schema: Schema) -> tuple[ResultField, ...]:
        found = []
        for name, item in schema.get("properties", {}).items():
            inner = self.resolve(item)
            found.append(
                ResultField(
                    name=name,
                    type=_field_type(inner),
                    help=described(item),
                    secret=inner.get("format") == "password",
                )
            )
        return tuple(found)


def _field_type(schema: Schema) -> str:
    if schema.get("format") == "date-time":
        return "datetime"
    if "enum" in schema:
        return "string"
    return str(schema.get("type", "value"))
