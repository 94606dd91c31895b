"""Hypothesis strategies for any type that an operation takes or gives, as msgspec sees it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

from covey.operations.codec import schema_hook
from covey.operations.secret import Secret

Strategy = st.SearchStrategy[Any]
_LEAST, _MOST = -(2**53), 2**53


def values_of(annotation: Any) -> Strategy:
    """Return a strategy of valid values; raises `TypeError` for a type that nobody taught it."""
    return _values(mi.type_info(annotation), {})


def _values(info: mi.Type, seen: dict[type, Strategy]) -> Strategy:
    if isinstance(info, mi.CustomType) and info.cls is Secret:
        return st.text(max_size=64).map(Secret)
    make = _MAKERS.get(type(info))
    if make is None:
        raise TypeError(f"there is no strategy for {info!r}: add one here")
    return make(info, seen)


def _integers(info: mi.IntType) -> Strategy:
    least = info.ge if info.ge is not None else _LEAST if info.gt is None else info.gt + 1
    most = info.le if info.le is not None else _MOST if info.lt is None else info.lt - 1
    found = st.integers(least, most)
    multiple = info.multiple_of
    return found if multiple is None else found.map(lambda item: item - item % multiple)


def _floats(info: mi.FloatType) -> Strategy:
    least = info.ge if info.gt is None else info.gt
    most = info.le if info.lt is None else info.lt
    return st.floats(
        min_value=least,
        max_value=most,
        exclude_min=info.gt is not None,
        exclude_max=info.lt is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _texts(info: mi.StrType) -> Strategy:
    least, most = info.min_length or 0, info.max_length
    if info.pattern is None:
        return st.text(min_size=least, max_size=min(most or 64, least + 64))
    found = st.from_regex(info.pattern, alphabet=st.characters(codec="utf-8"))
    return found.filter(lambda item: least <= len(item) and (most is None or len(item) <= most))


def _collections(
    info: mi.ListType | mi.SetType | mi.FrozenSetType | mi.VarTupleType, seen: dict[type, Strategy]
) -> Strategy:
    least = info.min_length or 0
    most = least + 3 if info.max_length is None else min(least + 3, info.max_length)
    return st.lists(_values(info.item_type, seen), min_size=least, max_size=most)


def _structs(info: mi.StructType, seen: dict[type, Strategy]) -> Strategy:
    if info.cls not in seen:
        seen[info.cls] = st.deferred(lambda: made)
        made = st.builds(info.cls, **{item.name: _values(item.type, seen) for item in info.fields})
    return seen[info.cls]


def _anything(_info: mi.Type, _seen: dict[type, Strategy]) -> Strategy:
    return st.recursive(
        st.none() | st.booleans() | st.integers(_LEAST, _MOST) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=5,
    )


_MAKERS: dict[type[mi.Type], Callable[[Any, dict[type, Strategy]], Strategy]] = {
    mi.Metadata: lambda info, seen: _values(info.type, seen),
    mi.NoneType: lambda _info, _seen: st.none(),
    mi.BoolType: lambda _info, _seen: st.booleans(),
    mi.IntType: lambda info, _seen: _integers(info),
    mi.FloatType: lambda info, _seen: _floats(info),
    mi.StrType: lambda info, _seen: _texts(info),
    mi.BytesType: lambda info, _seen: st.binary(
        min_size=info.min_length or 0, max_size=info.max_length or 64
    ),
    mi.DateTimeType: lambda _info, _seen: st.datetimes(timezones=st.just(UTC)),
    mi.LiteralType: lambda info, _seen: st.sampled_from(info.values),
    mi.EnumType: lambda info, _seen: st.sampled_from(list(info.cls)),
    mi.UnionType: lambda info, seen: st.one_of([_values(item, seen) for item in info.types]),
    mi.ListType: _collections,
    mi.SetType: lambda info, seen: _collections(info, seen).map(set),
    mi.FrozenSetType: lambda info, seen: _collections(info, seen).map(frozenset),
    mi.VarTupleType: lambda info, seen: _collections(info, seen).map(tuple),
    mi.TupleType: lambda info, seen: st.tuples(*(_values(item, seen) for item in info.item_types)),
    mi.DictType: lambda info, seen: st.dictionaries(
        _values(info.key_type, seen), _values(info.value_type, seen), max_size=4
    ),
    mi.StructType: _structs,
    mi.AnyType: _anything,
}


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type with its definitions."""
    return msgspec.json.schema(annotation, schema_hook=schema_hook)
