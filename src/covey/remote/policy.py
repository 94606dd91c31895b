"""What this node lets callers from other members do, by the rules of its `covey.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from covey.operations.access import Limits, Role
from covey.settings_access import AccessRule

_SHORTEST_ID = 8
_IS_ID = re.compile(r"[0-9a-f]{32}")
_EVERYTHING = ("*",)


def limits_of(
    rules: Iterable[AccessRule],
    *,
    member: str,
    node_id: str,
    role: Role,
    allow_by_default: bool = True,
) -> Limits:
    """Return what the rules leave to a caller with `role` from a member, or from none (`""`).

    All rules that fit count: what any of them denies is denied; if any of them allows something,
    the rest is denied; else the default holds. The first `as_user` of them counts.
    """
    fitting = [rule for rule in rules if _fits(rule, member, node_id, role)]
    allow = tuple(pattern for rule in fitting for pattern in rule.allow)
    deny = tuple(pattern for rule in fitting for pattern in rule.deny)
    default = _EVERYTHING if allow_by_default else ()
    as_user = next((rule.as_user for rule in fitting if rule.as_user is not None), None)
    return Limits(allow or default, deny, as_user)


def _fits(rule: AccessRule, member: str, node_id: str, role: Role) -> bool:
    if rule.roles and role.label not in rule.roles:
        return False
    if not rule.members:
        return True
    return bool(member) and any(_names(item, member, node_id) for item in rule.members)


def _names(pattern: str, member: str, node_id: str) -> bool:
    """Whether a rule's member is this one: by a pattern of its name, or by its id's beginning.

    A whole id is never a name: any operator could give that name to a machine.
    """
    wanted = pattern.lower()
    if _IS_ID.fullmatch(wanted):
        return node_id == wanted
    by_id = len(wanted) >= _SHORTEST_ID and node_id.startswith(wanted)
    return by_id or fnmatchcase(member.lower(), wanted)
