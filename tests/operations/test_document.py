"""The generated files: fresh, reproducible, valid and light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
import schemathesis

from covey.operations.command_document import CommandDocument, load_commands
from covey.operations.commands import build_commands
from covey.operations.document import documents, stale_documents, write_documents
from covey.operations.openapi import build_openapi, encode_openapi
from covey.operations.registry import Registry
from tests.operations.every_operation import NAMES, REGISTRY
from tests.surfaces.http import sample_operations

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Registry.from_modules([sample_operations])


def test_the_files_in_the_repository_are_fresh():
    """Run `./dev generate` when this fails, and commit what changes."""
    assert stale_documents(REGISTRY, ROOT) == []


def test_the_same_registry_gives_the_same_bytes():
    again = Registry([REGISTRY[name] for name in reversed(NAMES)])
    assert documents(again) == documents(REGISTRY)


def test_stale_missing_and_superfluous_files_are_found_and_mended(tmp_path: Path):
    write_documents(SAMPLES, tmp_path)
    assert stale_documents(SAMPLES, tmp_path) == []
    paths = sorted(documents(SAMPLES))
    (tmp_path / paths[0]).unlink()
    (tmp_path / paths[1]).write_text("old")
    gone = Path("docs/reference/operations/gone.md")
    (tmp_path / gone).write_text("a domain that is no more")
    assert stale_documents(SAMPLES, tmp_path) == sorted([paths[0], paths[1], gone])
    write_documents(SAMPLES, tmp_path)
    assert stale_documents(SAMPLES, tmp_path) == []
    assert not (tmp_path / gone).exists()


@pytest.mark.parametrize("registry", [REGISTRY, SAMPLES], ids=["covey", "samples"])
def test_the_openapi_document_is_valid(registry: Registry):
    document = json.loads(encode_openapi(registry))
    schemathesis.openapi.from_dict(document).validate()
    for name, schema in document["components"]["schemas"].items():
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.meta.validate(whole)
        jsonschema_rs.Draft202012Validator(whole)
        assert name.replace("_", "").replace(".", "").isalnum()


def test_every_operation_has_one_path_and_method():
    document = build_openapi(REGISTRY)
    found = [
        entry["operationId"] for methods in document["paths"].values() for entry in methods.values()
    ]
    forges = ["webhooks.receive", "webhooks.receive-by-forge"]
    assert sorted(found) == sorted([*NAMES, *forges, "health", "metrics"])


def test_the_command_document_survives_the_file():
    built = build_commands(REGISTRY)
    assert load_commands() == built
    assert [item.name for item in built.commands] == NAMES


def test_what_the_command_line_must_know_is_in_it():
    commands = {item.name: item for item in build_commands(SAMPLES).commands}
    params = {item.name: item for item in commands["note.put"].params}
    assert (params["name"].kind, params["name"].location) == ("argument", "path")
    assert params["name"].pattern == "^[A-Za-z][A-Za-z0-9_]{0,31}$"
    assert params["name"].help == "The note's name."
    assert params["text"].max_length == 1000
    assert (params["colour"].flag, params["colour"].choices) == ("--colour", ("green", "red"))
    assert params["if_version"].flag == "--if-version"
    listing = {item.name: item for item in commands["note.list"].params}
    assert (listing["colour"].repeated, listing["colour"].type) == (True, "string")
    assert (listing["limit"].minimum, listing["limit"].maximum) == (1, 1000)
    assert (listing["limit"].default, listing["newest"].type) == (100, "boolean")
    seal = {item.name: item for item in commands["note.seal"].params}
    assert seal["key"].secret
    assert (seal["labels"].type, seal["mode"].choices) == ("mapping", ("hard", "soft"))
    assert commands["note.list"].paginated
    assert [item.name for item in commands["note.list"].result.fields] == [
        "name",
        "text",
        "version",
        "colour",
        "due",
    ]
    kinds = {name: item.result.kind for name, item in commands.items()}
    assert kinds["note.count"] == "value"
    assert kinds["note.delete"] == "none"
    assert kinds["note.seal"] == "list"
    assert commands["note.watch"].streams


def test_loading_the_command_document_imports_no_domain():
    code = (
        "import sys\n"
        "from covey.operations.command_document import load_commands\n"
        "load_commands()\n"
        "print(*sorted(name for name in sys.modules if name.startswith('covey')))\n"
        "assert not {'asyncio', 'json', 'starlette', 'cryptography'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "covey",
        "covey.operations",
        "covey.operations.command_document",
    ]


def test_a_damaged_command_document_is_noticed(tmp_path: Path):
    broken = tmp_path / "commands.json"
    broken.write_bytes(msgspec.json.encode({"commands": [{"name": 1}]}))
    with pytest.raises(msgspec.DecodeError):
        load_commands(broken)
    assert isinstance(load_commands(), CommandDocument)
