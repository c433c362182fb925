"""Errors of a decoded file, each in one line with the field, the value and a fix.

`describe_errors` translates the errors that pydantic finds; `FieldError` is the error of a check in
a dataclass.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

from resnetlab.errors import MAX_LISTED_PROBLEMS, Problem, more_problems, suggest
from resnetlab.schema_types import (
    discriminator_values,
    is_discriminator,
    is_literal,
    is_union,
    literal_values,
    literal_values_of_fields,
    type_hints,
    union_members,
    unwrap_annotated,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]
"""Location of a value as pydantic reports it: keys, indexes, and names of members of unions."""


class FieldError(ValueError):
    """Error that a `__post_init__` raises: the field, the problem with its value, and the fix."""

    def __init__(self, field: str, message: str, fix: str) -> None:
        super().__init__(f"{field}: {message}. Fix: {fix}" if field else f"{message}. Fix: {fix}")
        self.field, self.message, self.fix = field, message, fix

    def _render_traceback_(self) -> list[str]:
        """Return the line that a notebook shows."""
        return [f"FieldError: {self}"]


RENAMED_FIELDS = (
    ("abreast", "parallel_seeds"),
    ("accumulate", "grad_accum_steps"),
    ("capture", "cuda_graphs"),
    ("checkpoint_parts", "grad_checkpointing"),
    ("choose", "select"),
    ("chosen", "selected_on"),
    ("depth_decay", "layer_decay"),
    ("deviation", "std"),
    ("differs", "differences"),
    ("drop_blocks", "ablate_blocks"),
    ("gradients", "gradient_norms"),
    ("instruments", "diagnostics"),
    ("licence", "license"),
    ("longest_loss_seconds", "max_checkpoint_seconds"),
    ("m", "num_runs"),
    ("normalise", "normalize"),
    ("of", "conditions"),
    ("optimiser", "optimizer"),
    ("published", "reference"),
    ("published", "references"),
    ("ranks", "world_size"),
    ("rates", "lrs"),
    ("runs", "run_values"),
    ("said", "summary"),
    ("says", "statement"),
    ("trains", "trainable"),
    ("view", "crop_mode"),
)
"""Keys of TOML files in schema 1, and in schema 2. The JSON files of schema 1 are not read."""


def unknown_field(where: str, field: str, name: str, known: Collection[str]) -> Problem:
    """Return the problem of a table's unknown key, with its new name if schema 2 renamed it.

    Args:
        where: File of the table.
        field: Path of the key in the file, such as `recipe.optimiser`.
        name: The key.
        known: Keys that the table may have.
    """
    renamed = next((new for old, new in RENAMED_FIELDS if old == name and new in known), "")
    if renamed:
        fix = f"write {renamed}: the field was renamed in schema 2"
    else:
        fix = suggest(name, known) or "remove it"
    return Problem(where, "unknown field", fix, field=field, allowed=", ".join(known))


def describe_errors(
    type_: Any, details: Sequence[ErrorDetails], where: str, prefix: str
) -> tuple[Problem, ...]:
    """Return the problems of a table, from the errors that pydantic found in it.

    Args:
        type_: Type that the table was decoded as.
        details: The errors.
        where: File of the table.
        prefix: Field of the table in the file; empty for the whole file.
    """
    relevant = [detail for detail in details if _is_relevant(detail)] or list(details)
    remaining = _of_nearest_members(type_, relevant)
    listed = remaining[:MAX_LISTED_PROBLEMS]  # a description with its suggestion takes a while
    problems = dict.fromkeys(_to_problem(type_, detail, where, prefix) for detail in listed)
    return (*problems, *more_problems(where, remaining[MAX_LISTED_PROBLEMS:]))


# Errors in a table that may be one of several dataclasses
# --------------------------------------------------------------------------------------------------


def _is_relevant(detail: ErrorDetails) -> bool:
    """Return True if an error belongs to the member of a union that the user meant."""
    part = str(detail["loc"][-1]) if detail["loc"] else ""
    if part.startswith("literal["):
        return not isinstance(detail["input"], dict)
    return detail["type"] != "dataclass_type" or not part[:1].isupper()


def _of_nearest_members(type_: Any, details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without those of the other members of a union such as `Recipe |
    FinetuneRecipe`.

    pydantic tries a table as each of them. The member that was meant has the fewest errors.
    """
    members = [_resolve_location(type_, detail["loc"]).union_member for detail in details]
    counts = Counter(member for member in members if member)
    nearest: dict[Location, Location] = {}
    """Location of the member with the fewest errors, by the location of its union."""
    for member, count in counts.items():
        union = member[:-1]
        if union not in nearest or count < counts[nearest[union]]:
            nearest[union] = member
    return [
        detail
        for detail, member in zip(details, members, strict=True)
        if not member or nearest[member[:-1]] == member
    ]


class _Field(NamedTuple):
    """Field of a file that an error is about."""

    names: list[str]
    """Names of the tables around it, and its own."""
    owner: Any
    """Dataclass that declares the field; None if none does."""
    type_: Any
    union_member: Location
    """Start of the error's location up to the first member of a union by its name; may be empty."""


def _resolve_location(type_: Any, location: Location) -> _Field:
    """Return the field at a location of a table that was decoded as `type_`."""
    names: list[str] = []
    union_member: Location = ()
    owner: Any = None
    field_type: Any = type_
    for end, part in enumerate(location, 1):
        bare = unwrap_annotated(field_type)
        if is_union(bare):
            members = union_members(bare)
            # pydantic adds the tag or the name of a union's member; the file has no such level.
            tagged = _member_with_tag(members, part)
            if tagged is not None:
                field_type = tagged
                continue
            if isinstance(part, str) and part.startswith("literal["):
                continue
            named = _member_with_name(members, part)
            if named is not None:
                if dataclasses.is_dataclass(named):
                    field_type = named
                    union_member = union_member or location[:end]
                continue
            field_type = members[0]
            bare = unwrap_annotated(field_type)
        if isinstance(part, int):
            names.append(f"[{part}]")
            arguments = typing.get_args(bare)
            field_type = arguments[0] if arguments else Any
        else:
            names.append(part)
            owner = bare if dataclasses.is_dataclass(bare) else None
            field_type = type_hints(bare, include_extras=True).get(part, Any) if owner else Any
            if typing.get_origin(bare) is dict:
                field_type = typing.get_args(bare)[1]
    return _Field(names, owner, field_type, union_member)


def _member_with_tag(members: list[Any], tag: int | str) -> Any:
    """Return the first dataclass with `tag` among the values of its discriminator, or None."""
    for member in members:
        if dataclasses.is_dataclass(member) and tag in literal_values_of_fields(member):
            return member
    return None


def _member_with_name(members: list[Any], name: int | str) -> Any:
    """Return the first member of a union that pydantic's locations call by `name`, or None."""
    for member in members:
        if name in (getattr(member, "__name__", ""), str(member)):
            return member
    return None


# The text of an error
# --------------------------------------------------------------------------------------------------


def _to_problem(type_: Any, detail: ErrorDetails, where: str, prefix: str) -> Problem:
    names, owner, field_type, _ = _resolve_location(type_, detail["loc"])
    field = ".".join(filter(None, (prefix, *names))).replace(".[", "[")
    last = names[-1] if names else ""
    got = _short_json(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            known = sorted(item.name for item in dataclasses.fields(owner)) if owner else []
            return unknown_field(where, field, last, known)
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            fix = "give one more value"
            if not last.startswith("["):
                fix = f"add {last} = {_example_value(field_type)}"
            return Problem(where, "missing", fix, field=field)
        case "union_tag_not_found" | "union_tag_invalid":
            return _tag_problem(context, field_type, where, field)
        case "literal_error":
            options = [str(option) for option in literal_values(field_type)]
            fix = suggest(str(detail["input"]), options) or f"{last} = {_short_json(options[0])}"
            allowed = ", ".join(options)
            return Problem(where, "unknown value", fix, field=field, got=got, allowed=allowed)
        case "value_error" if isinstance(context.get("error"), FieldError):
            error = context["error"]
            path = f"{field}.{error.field}" if field and error.field else field or error.field
            return Problem(where, error.message, error.fix, field=path)
        case "dataclass_type" | "dict_type":
            fix = "give it as a table"
            if last.isidentifier():
                fix = f"write it as [{last}] with its fields below"
            if is_union(unwrap_annotated(field_type)):
                fix = f"{last} = {_example_value(field_type)}"
            return Problem(where, "not a table", fix, field=field, got=got)
        case "json_invalid":
            return Problem(where, "has text that is not UTF-8", "give it in UTF-8", field=field)
    allowed = _describe_allowed(field_type)
    message = "out of range" if "than" in detail["type"] else "not allowed"
    default = _field_default(owner, last)
    example = _short_json(default) if default is not None else _example_value(field_type)
    fix = f"{last} = {example}"
    if "..." in example or not last.isidentifier():
        fix = f"give {allowed}"
    return Problem(where, message, fix, field=field, got=got, allowed=allowed)


def _tag_problem(context: Mapping[str, Any], union: Any, where: str, field: str) -> Problem:
    """Return the problem of a table whose discriminator names no member of a union."""
    name = str(context.get("discriminator", "")).strip("'")
    expected = (tag.strip("' ") for tag in str(context.get("expected_tags", "")).split(","))
    tags = list(filter(None, expected)) or discriminator_values(union, name)
    got = _short_json(context["tag"]) if "tag" in context else "none"
    example = tags[0] if tags else "..."
    fix = suggest(str(context.get("tag", "")), tags) or f'{name} = "{example}"'
    allowed = ", ".join(tags)
    return Problem(where, "unknown", fix, field=f"{field}.{name}", got=got, allowed=allowed)


def _field_default(owner: Any, name: str) -> Any:
    for item in dataclasses.fields(owner) if owner else ():
        if item.name == name and item.default is not dataclasses.MISSING:
            return item.default
    return None


_TYPE_DESCRIPTIONS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "1"),
    float: ("a number", "0.1"),
    str: ("a string", '"..."'),
    bool: ("true or false", "true"),
}
"""Description of a type's values, and one of them."""

_LIMIT_DESCRIPTIONS: dict[str, Callable[[Any], str]] = {
    "ge": lambda bound: f"at least {bound:g}",
    "gt": lambda bound: f"above {bound:g}",
    "le": lambda bound: f"at most {bound:g}",
    "lt": lambda bound: f"below {bound:g}",
    "pattern": lambda _: "a letter or digit, then up to 63 more, '.', '_' or '-'",
}
"""Description of a limit of values, by its name in pydantic."""


def _describe_allowed(type_: Any) -> str:
    """Describe the allowed values of a type: `a whole number, at least 1`."""
    bare = unwrap_annotated(type_)
    if is_union(bare):
        return " or ".join(dict.fromkeys(map(_describe_allowed, union_members(bare))))
    if typing.get_origin(bare) in (tuple, list):
        return f"a list, each {_describe_allowed(typing.get_args(bare)[0])}"
    phrases = [_TYPE_DESCRIPTIONS.get(bare, ("another value", "..."))[0]]
    annotations = typing.get_args(type_)[1:] if typing.get_origin(type_) is Annotated else ()
    for annotation in annotations:
        for limit in getattr(annotation, "metadata", [annotation]):
            for name, describe in _LIMIT_DESCRIPTIONS.items():
                bound = getattr(limit, name, None)
                if bound is not None:
                    phrases.append(describe(bound))
    return ", ".join(phrases)


def _example_value(type_: Any) -> str:
    bare = unwrap_annotated(type_)
    if is_union(bare):
        return _example_value(union_members(bare)[0])
    if is_literal(bare):
        return _short_json(typing.get_args(bare)[0])
    if typing.get_origin(bare) is tuple:
        return f"[{_example_value(typing.get_args(bare)[0])}]"
    if dataclasses.is_dataclass(bare):
        tags = [
            f"{name} = {_example_value(hint)}"
            for name, hint in type_hints(cast(Any, bare)).items()
            if is_discriminator(hint)
        ]
        return f"{{ {', '.join(tags) or '...'} }}"
    return _TYPE_DESCRIPTIONS.get(bare, ("", "..."))[1]


def _short_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
