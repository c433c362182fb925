"""Parts of type annotations: the members of a union, the values of a `Literal`, and the like."""

from __future__ import annotations

import functools
import types
import typing
from typing import Annotated, Any


@functools.cache
def type_hints(cls: Any, *, include_extras: bool = False) -> dict[str, Any]:
    """Return the types of a dataclass's fields. Evaluating them takes as long as a short decode."""
    return typing.get_type_hints(cls, include_extras=include_extras)


def unwrap_annotated(type_: Any) -> Any:
    """Return the type inside of `Annotated[...]`; another type as it is."""
    return typing.get_args(type_)[0] if typing.get_origin(type_) is Annotated else type_


def is_union(type_: Any) -> bool:
    """Return True for `A | B` and for `Union[A, B]`."""
    return isinstance(type_, types.UnionType) or typing.get_origin(type_) is typing.Union


def is_literal(type_: Any) -> bool:
    """Return True for `Literal[...]`."""
    return typing.get_origin(type_) is typing.Literal


def is_discriminator(type_: Any) -> bool:
    """Return True for the type of a discriminator field: a `Literal` with one value."""
    return is_literal(type_) and len(typing.get_args(type_)) == 1


def union_members(union: Any) -> list[Any]:
    """Return the members of a union, without None."""
    return [member for member in typing.get_args(union) if member is not type(None)]


def literal_values(type_: Any) -> list[Any]:
    """Return the values of a `Literal`, or of a union of them."""
    bare = unwrap_annotated(type_)
    if not is_union(bare):
        return list(typing.get_args(bare))
    return [value for member in typing.get_args(bare) for value in literal_values(member)]


def literal_values_of_fields(cls: Any) -> set[str]:
    """Return the values of the `Literal` fields of a dataclass, among them its discriminator."""
    hints = filter(is_literal, type_hints(cls).values())
    return {value for hint in hints for value in typing.get_args(hint)}


def discriminator_values(union: Any, discriminator: str) -> list[str]:
    """Return the values of the discriminator field of a union of dataclasses."""
    members = typing.get_args(unwrap_annotated(union))
    fields = [type_hints(member).get(discriminator) for member in members]
    return [str(value) for field in fields for value in typing.get_args(field)]
