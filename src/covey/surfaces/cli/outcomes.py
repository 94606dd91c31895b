"""What a change did, in one line for people, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covey.surfaces.cli.output import Output
from covey.surfaces.cli.terminal import one_line

_VERSION_COLUMNS = ("name", "scope", "version", "value", "author", "updated_at", "counts")


def unset(output: Output, result: Mapping[str, Any]) -> None:
    """Say which variable is gone from where."""
    _say(output, f"Unset {_variable(result)}.")


def rolled_back(output: Output, result: Mapping[str, Any] | None) -> None:
    """Say which variable has an earlier value again."""
    if result is None:
        _say(output, "That version is a deletion: the variable is unset again.")
    else:
        _say(output, f"Set {_variable(result)} as it was in that version.")


def resolved(output: Output, result: Mapping[str, Any] | None) -> None:
    """Say which conflict is settled."""
    if result is None:
        _say(output, "Settled: the variable is unset, as in that version.")
    else:
        _say(output, f"Settled {_variable(result)}.")


def copied(output: Output, names: Sequence[str]) -> None:
    """Say which variables were copied."""
    if names:
        _say(output, f"Copied {', '.join(names)}.")
    else:
        _say(output, "Nothing to copy: the target has all of it.")


def revoked(output: Output, tokens: Sequence[Mapping[str, Any]]) -> None:
    """Say which tokens are void."""
    names = [f"{token['name']} ({token['id']})" for token in tokens]
    _say(output, f"Revoked {', '.join(names)}.")


def synced(output: Output, report: Mapping[str, Any]) -> None:
    """Say which machines hold the same as this one."""
    groups = (
        ("Level with", report["level_with"]),
        ("Not level yet with", report["not_level"]),
        ("Not reached", report["unreachable"]),
    )
    said = [f"{text}: {', '.join(map(str, names))}" for text, names in groups if names]
    _say(output, "\n".join(said) or "This fleet has no other machine. Let one in: covey invite")


def renamed(output: Output, machine: Mapping[str, Any]) -> None:
    """Say what the machine is called now."""
    _say(output, f"The machine is called {machine['node']['name']} now.")


def given_role(output: Output, machine: Mapping[str, Any]) -> None:
    """Say what the machine may do now."""
    _say(output, f"{machine['node']['name']} is {machine['node']['role']} now.")


def recorded(output: Output, machine: Mapping[str, Any]) -> None:
    """Say what is on record of the machine."""
    fields = ", ".join(f"{name}={value}" for name, value in machine["fields"].items())
    _say(output, f"On record of {machine['node']['name']}: {fields or 'nothing'}")


def conflicts(output: Output, found: Sequence[Mapping[str, Any]]) -> None:
    """Show the rival versions of each variable, the one that counts first."""
    if output.quiet:
        for item in found:
            output.line(one_line(str(item["name"])))
        return
    if not found:
        output.note("No variable is in conflict.")
        return
    rows = [
        {
            **version,
            "name": item["name"] if at == 0 else "",
            "scope": item["scope"] if at == 0 else "",
            "value": "(deleted)" if version["deleted"] else version["value"],
            "counts": at == 0,
        }
        for item in found
        for at, version in enumerate(item["versions"])
    ]
    output.table(_VERSION_COLUMNS, rows)
    output.note("Settle each: covey env resolve NAME --version VERSION")


def _variable(result: Mapping[str, Any]) -> str:
    return f"{result['name']} ({result['scope']})"


def _say(output: Output, text: str) -> None:
    if not output.quiet:
        for line in text.split("\n"):
            output.line(one_line(line))
