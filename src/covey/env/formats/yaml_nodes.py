"""YAML as nodes with their lines, every scalar as it was written."""

from __future__ import annotations

import yaml

from covey.env.formats.entry import malformed


def compose(what: str, text: str) -> list[yaml.Node]:
    """Return the documents of a YAML text; raises `InvalidRequestError` naming the line."""
    try:
        found = list(yaml.compose_all(text, yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The parser quotes what it found, which may be part of a value.
        cause = (error.problem or "it is not valid YAML").split("'")[0].strip()
        raise malformed(what, mark.line + 1 if mark else 1, cause) from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise malformed(what, 1, "it is not valid YAML") from None
    return found


def mapping_of(what: str, node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return a mapping's pairs; raises `InvalidRequestError` for any other node."""
    if not isinstance(node, yaml.MappingNode):
        raise malformed(what, line_of(node), "it is not a mapping of names and values")
    return list(node.value)


def scalar_of(what: str, node: yaml.Node) -> tuple[str, int]:
    """Return a scalar's text and its line; raises `InvalidRequestError` for any other node."""
    if not isinstance(node, yaml.ScalarNode):
        raise malformed(what, line_of(node), "a table or list stands where a text belongs")
    return str(node.value), line_of(node)


def line_of(node: yaml.Node) -> int:
    """Return a node's line, from 1."""
    return node.start_mark.line + 1 if node.start_mark else 1
