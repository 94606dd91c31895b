"""The rules of `[access]`: which members and roles may do what on this node."""

from __future__ import annotations

import msgspec

from covey.settings_values import Kind

_LABEL = 'rules such as [[access.rule]] with members = ["frigg"], allow = ["exec.*"]'


class AccessRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: for callers from `members` (names or node ids) with one of `roles`.

    Without `members` or `roles` it is for all of them. `allow` and `deny` are patterns of
    operation names. `as_user` is the system user of the caller's commands and files.
    """

    members: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    as_user: str | None = None

    def __post_init__(self) -> None:
        for role in self.roles:
            if role not in {"viewer", "developer", "operator", "admin"}:
                raise ValueError(f"{role} is no role")
        if self.as_user == "":
            raise ValueError("as_user names no user")
        if not (self.allow or self.deny or self.as_user):
            raise ValueError("a rule allows, denies or names a user")


def rules() -> Kind:
    """Accept a list of rules: in TOML as tables, in the environment as JSON."""

    def from_toml(value: object) -> tuple[AccessRule, ...]:
        try:
            return msgspec.convert(value, tuple[AccessRule, ...])
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    def from_text(value: str) -> tuple[AccessRule, ...]:
        try:
            return msgspec.json.decode(value, type=tuple[AccessRule, ...])
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error

    return Kind(_LABEL, from_toml, from_text)
