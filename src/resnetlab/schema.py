"""Conversion between TOML or JSON and frozen dataclasses. No other module imports pydantic.

An error lists every mistake of a file at once, each with the file, the field, the value, the
allowed values and a fix. Unknown fields, values of another type, files over a megabyte and very
deeply nested tables are errors.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
import sys
import tomllib
import types
import typing
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, cast, dataclass_transform

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from resnetlab.errors import (
    MAX_LISTED_PROBLEMS,
    InputError,
    Problem,
    input_error,
    more_problems,
    suggest,
)
from resnetlab.files import read_text

T = TypeVar("T")

MAX_DEPTH = 20
"""Maximum nesting of tables and lists."""

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
UnitInterval = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Name of a study or a source, which names its folder, so that it is never a path or an option."""
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}$")]
"""Id of a run, which names its folder."""
HttpsUrl = Annotated[str, Field(pattern=r"^(https://[A-Za-z0-9._/-]{1,200})?$")]
"""HTTPS address, or an empty string."""


class FieldError(ValueError):
    """Error that a `__post_init__` raises: the field, the problem with its value, and the fix."""

    def __init__(self, field: str, message: str, fix: str) -> None:
        super().__init__(f"{field}: {message}. Fix: {fix}" if field else f"{message}. Fix: {fix}")
        self.field, self.message, self.fix = field, message, fix

    def _render_traceback_(self) -> list[str]:
        """Return the line that a notebook shows."""
        return [f"FieldError: {self}"]


class StoredAsText:
    """Base class of values that files have as text: `str` writes the text, and `parse` reads it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the value of a text. Raises FieldError for a text that `str` never gives."""
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> CoreSchema:
        """Return the schema by which pydantic reads and writes the text."""
        return core_schema.no_info_after_validator_function(
            cls.parse,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def strict_dataclass(cls: type[T]) -> type[T]:
    """Make a class a frozen, keyword-only dataclass whose decoding rejects unknown fields."""
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return _with_checked_names(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


def _with_checked_names(cls: type[T]) -> type[T]:
    """Let a constructor raise InputError for an unknown field, as `decode` does."""
    construct = cls.__init__

    @functools.wraps(construct)
    def checked(self: T, *values: object, **fields: object) -> None:
        try:
            construct(self, *values, **fields)
        except TypeError:
            known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
            unknown = [name for name in fields if name not in known]
            if not unknown:
                raise
            raise InputError(*(_unknown_argument(cls, name, known) for name in unknown)) from None

    cls.__init__ = checked  # type: ignore[method-assign, assignment]
    return cls


def _unknown_argument(cls: Any, name: str, known: Collection[str]) -> Problem:
    """Return the problem of an unknown field; a field of that name may be one level below."""
    problem = unknown_field(cls.__name__, name, name, known)
    for field, hint in _type_hints(cls).items():
        for member in typing.get_args(hint) if _is_union(hint) else (hint,):
            if isinstance(member, type) and name in getattr(member, "__dataclass_fields__", ()):
                fix = f'did you mean "{field}={member.__name__}({name}=...)"?'
                return dataclasses.replace(problem, fix=fix)
    return problem


def checked_by(check: Callable[[T], T]) -> Any:
    """Return the annotation of a type whose values `check` returns, or refuses by FieldError."""
    return AfterValidator(check)


def discriminated_by(field: str) -> Any:
    """Declare the discriminator field of a union of dataclasses.

    Example: `Annotated[SGD | Adam, discriminated_by("name")]`.
    """
    return Field(discriminator=field)


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _type_adapter(type_: Any) -> TypeAdapter[Any]:
    if type_ not in _adapters:  # building an adapter takes milliseconds
        _adapters[type_] = TypeAdapter(type_)
    return _adapters[type_]


SCHEMA = 2
"""Version of the names in files. Schema 2 gave fields and statuses the field's standard names."""

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
        fix = f"write {renamed}: the field was renamed in schema {SCHEMA}"
    else:
        fix = suggest(name, known) or "remove it"
    return Problem(where, "unknown field", fix, field=field, allowed=", ".join(known))


def check_schema(table: object, where: str) -> None:
    """Raise InputError if `table`, the content of the file `where`, has another schema version."""
    schema = table.get("schema", 1) if isinstance(table, dict) else None
    if schema == SCHEMA:
        return
    if isinstance(schema, int) and schema < SCHEMA:
        message = (
            f"written by an older resnetlab: fields were renamed in schema {SCHEMA} (CHANGELOG)"
        )
        fix = "create it again, or read it with the version that wrote it"
    else:
        message, fix = "has another schema version", "read it with the resnetlab that wrote it"
    raise input_error(where, message, fix, field="schema", got=schema, allowed=str(SCHEMA))


def decode(type_: Any, value: object, where: str, field: str = "") -> Any:
    """Decode `value` (plain tables, lists, strings and numbers) as an instance of `type_`.

    `where` and `field` name the file and the field for errors. Raises InputError with every
    mistake.
    """
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):  # a number of thousands of digits; deeply nested tables
        message, fix = (
            "has a value that cannot be written as JSON",
            "a specification is a small table",
        )
        raise input_error(where, message, fix, field=field) from None
    try:
        return _type_adapter(type_).validate_json(text, strict=True)
    except ValidationError as error:
        every = error.errors(include_url=False)
        details = _of_nearest_members(type_, list(filter(_is_relevant, every)) or every)
        described = details[:MAX_LISTED_PROBLEMS]  # a description with its suggestion takes a while
        problems = dict.fromkeys(_to_problem(type_, detail, where, field) for detail in described)
        raise InputError(*problems, *more_problems(where, details[MAX_LISTED_PROBLEMS:])) from None


def decode_lines(type_: type[T], lines: Sequence[bytes]) -> list[T] | None:
    """Decode JSON lines as instances of `type_` at once; None unless all of them are valid.

    It is several times as fast as to decode one line after the other.
    """
    try:
        text = b"[" + b",".join(lines) + b"]"
        decoded: list[T] = _type_adapter(list[type_]).validate_json(text, strict=True)  # type: ignore[valid-type]
    except ValidationError:
        return None
    return decoded if len(decoded) == len(lines) else None


def encode(value: object) -> Any:
    """Encode a dataclass as plain tables, lists, strings and numbers."""
    return _type_adapter(type(value)).dump_python(value, mode="json")


def to_json(value: object, indent: int | None = 1) -> str:
    """Encode plain values and dataclasses as standard JSON; a number that is not finite is null."""
    return json.dumps(_to_plain(value), indent=indent, allow_nan=False)


def _to_plain(value: Any) -> Any:
    if isinstance(value, StoredAsText):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a numpy scalar
        return _to_plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@functools.cache
def _type_hints(cls: Any, *, include_extras: bool = False) -> dict[str, Any]:
    """Return the types of a dataclass's fields. Evaluating them takes as long as a short decode."""
    return typing.get_type_hints(cls, include_extras=include_extras)


@functools.cache
def _defaults(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Return name, default and kind of each field; the last is true for a discriminator."""
    hints = _type_hints(cls)
    return tuple(
        (
            item.name,
            item.default_factory() if callable(item.default_factory) else item.default,
            _is_discriminator(hints[item.name]),
        )
        for item in dataclasses.fields(cls)
    )


def without_defaults(value: Any) -> Any:
    """Encode like `encode`, without fields at their default except discriminators (Literal)."""
    if isinstance(value, StoredAsText):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: without_defaults(current)
            for name, default, is_discriminator in _defaults(type(value))
            if (current := getattr(value, name)) != default or is_discriminator
        }
    if isinstance(value, tuple | list):
        return [without_defaults(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def config_hash(value: Any) -> str:
    """Return the SHA-256 of a dataclass's canonical JSON: sorted keys, without defaults."""
    # After decoding, 1 and 1.0 in a float field are one value.
    normalized = without_defaults(decode(type(value), encode(value), type(value).__name__))
    text = json.dumps(normalized, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file. Raises InputError if absent, too large or not TOML."""
    return parse_toml(read_text(path), str(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse a TOML text. `where` names the file in errors. Raises InputError."""
    # tomllib's time and memory grow with the square of the parts of a dotted key.
    fix = "a specification is a small text file"
    too_deep = f"a whole number beyond 64 bits, or tables nested deeper than {MAX_DEPTH}"
    if sum(line.count(".") ** 2 for line in text.splitlines()) > 4_000_000:
        raise input_error(where, "has a key of thousands of parts", fix)
    try:
        tables = tomllib.loads(text.removeprefix("\ufeff"))  # some editors write a byte order mark
    except tomllib.TOMLDecodeError as error:
        match = re.match(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        line = f":{match[2]}" if match and match[2] else ""
        message = f"not TOML: {match[1] if match else error}"
        raise input_error(f"{where}{line}", message, "write it as key = value") from None
    except (ValueError, RecursionError):
        raise input_error(where, too_deep, fix) from None
    level: list[Any] = [tables]
    for _ in range(MAX_DEPTH):
        if any(type(item) is int and not -(2**63) <= item < 2**63 for item in level):
            break
        inside = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, dict | list)
        ]
        level = [item for items in inside for item in items]
    if level:
        raise input_error(where, too_deep, fix)
    return tables


# Error messages
# --------------------------------------------------------------------------------------------------


def _to_problem(type_: Any, detail: ErrorDetails, where: str, prefix: str) -> Problem:
    names, holder, field_type, _ = _resolve_location(type_, detail["loc"])
    field = ".".join(filter(None, (prefix, *names))).replace(".[", "[")
    last = names[-1] if names else ""
    got = _short_json(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            known = sorted(item.name for item in dataclasses.fields(holder)) if holder else []
            return unknown_field(where, field, last, known)
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            fix = "give one more value"
            if not last.startswith("["):
                fix = f"add {last} = {_example_value(field_type)}"
            return Problem(where, "missing", fix, field=field)
        case "union_tag_not_found" | "union_tag_invalid":
            return _tag_problem(context, field_type, where, field)
        case "literal_error":
            options = [str(option) for option in _literal_values(field_type)]
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
            if _is_union(_unwrap_annotated(field_type)):
                fix = f"{last} = {_example_value(field_type)}"
            return Problem(where, "not a table", fix, field=field, got=got)
        case "json_invalid":
            return Problem(where, "has text that is not UTF-8", "give it in UTF-8", field=field)
    allowed = _describe_allowed(field_type)
    message = "out of range" if "than" in detail["type"] else "not allowed"
    default = _field_default(holder, last)
    example = _short_json(default) if default is not None else _example_value(field_type)
    fix = f"{last} = {example}"
    if "..." in example or not last.isidentifier():
        fix = f"give {allowed}"
    return Problem(where, message, fix, field=field, got=got, allowed=allowed)


def _tag_problem(context: Mapping[str, Any], union: Any, where: str, field: str) -> Problem:
    """Return the problem of a table whose discriminator names no member of a union."""
    name = str(context.get("discriminator", "")).strip("'")
    expected = (tag.strip("' ") for tag in str(context.get("expected_tags", "")).split(","))
    tags = list(filter(None, expected)) or _discriminator_options(union, name)
    got = _short_json(context["tag"]) if "tag" in context else "none"
    fix = suggest(str(context.get("tag", "")), tags) or f'{name} = "{[*tags, "..."][0]}"'
    allowed = ", ".join(tags)
    return Problem(where, "unknown", fix, field=f"{field}.{name}", got=got, allowed=allowed)


def _is_relevant(detail: ErrorDetails) -> bool:
    """Return True if an error belongs to the member of a union that the user meant."""
    step = str(detail["loc"][-1]) if detail["loc"] else ""
    if step.startswith("literal["):
        return not isinstance(detail["input"], dict)
    return detail["type"] != "dataclass_type" or not step[:1].isupper()


def _of_nearest_members(type_: Any, details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without those of the other members of a union such as `Recipe |
    FinetuneRecipe`.

    pydantic tries a table as each of them. The member that was meant has the fewest errors.
    """
    members = [
        detail["loc"][:end] if end else None
        for detail in details
        for end in (_resolve_location(type_, detail["loc"])[3],)
    ]
    counts = Counter(member for member in members if member)
    nearest: dict[tuple[int | str, ...], tuple[int | str, ...]] = {}
    for member, count in counts.items():
        if count < counts.get(nearest.get(member[:-1], ()), sys.maxsize):
            nearest[member[:-1]] = member
    return [
        detail
        for detail, member in zip(details, members, strict=True)
        if not member or nearest[member[:-1]] == member
    ]


def _resolve_location(type_: Any, loc: tuple[int | str, ...]) -> tuple[list[str], Any, Any, int]:
    """Resolve the error location `loc` in the type `type_`.

    Returns:
        The field names along the location, the dataclass of the last field, the type of the last
        field, and the number of parts of `loc` up to the first name of a union's member; 0 if it
        has none.
    """
    names: list[str] = []
    member_end = 0
    holder: Any = None
    field_type: Any = type_
    for number, part in enumerate(loc, 1):
        bare = _unwrap_annotated(field_type)
        if _is_union(bare):
            members = [member for member in typing.get_args(bare) if member is not type(None)]
            tables = filter(dataclasses.is_dataclass, members)
            # pydantic adds the tag of a union to the location; the file has no such level.
            if matches := [m for m in tables if part in _discriminator_values(m)]:
                field_type = matches[0]
                continue
            if isinstance(part, str) and part.startswith("literal["):
                continue
            if named := [member for member in members if part in _pydantic_names(member)]:
                if dataclasses.is_dataclass(named[0]):
                    field_type, member_end = named[0], member_end or number
                continue
            field_type = members[0]
            bare = _unwrap_annotated(field_type)
        if isinstance(part, int):
            names.append(f"[{part}]")
            arguments = typing.get_args(bare)
            field_type = arguments[0] if arguments else Any
        else:
            names.append(part)
            holder = bare if dataclasses.is_dataclass(bare) else None
            field_type = _type_hints(bare, include_extras=True).get(part, Any) if holder else Any
            if typing.get_origin(bare) is dict:
                field_type = typing.get_args(bare)[1]
    return names, holder, field_type, member_end


def _pydantic_names(member: Any) -> tuple[str, str]:
    """Return the names by which pydantic's locations call a member of a union."""
    return getattr(member, "__name__", ""), str(member)


def _unwrap_annotated(type_: Any) -> Any:
    return typing.get_args(type_)[0] if typing.get_origin(type_) is Annotated else type_


def _is_union(type_: Any) -> bool:
    return isinstance(type_, types.UnionType) or typing.get_origin(type_) is typing.Union


def _is_discriminator(type_: Any) -> bool:
    return typing.get_origin(type_) is typing.Literal and len(typing.get_args(type_)) == 1


def _discriminator_values(cls: Any) -> set[str]:
    hints = _type_hints(cls).values()
    return {
        value
        for hint in hints
        if typing.get_origin(hint) is typing.Literal
        for value in typing.get_args(hint)
    }


def _literal_values(type_: Any) -> list[Any]:
    """Return the values of a Literal, or of a union of Literals."""
    bare = _unwrap_annotated(type_)
    members = list(typing.get_args(bare))
    return [v for m in members for v in _literal_values(m)] if _is_union(bare) else members


def _discriminator_options(type_: Any, discriminator: str) -> list[str]:
    members = typing.get_args(_unwrap_annotated(type_))
    return [
        str(v) for m in members for v in typing.get_args(_type_hints(m).get(discriminator, None))
    ]


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


def _describe_allowed(type_: Any) -> str:
    """Describe the allowed values of a type: `a whole number, at least 1`."""
    bare = _unwrap_annotated(type_)
    if _is_union(bare):
        members = [_describe_allowed(m) for m in typing.get_args(bare) if m is not type(None)]
        return " or ".join(dict.fromkeys(members))
    if typing.get_origin(bare) in (tuple, list):
        return f"a list, each {_describe_allowed(typing.get_args(bare)[0])}"
    words = [_TYPE_DESCRIPTIONS.get(bare, ("another value", "..."))[0]]
    phrases: dict[str, Callable[[Any], str]] = {
        "ge": lambda bound: f"at least {bound:g}",
        "gt": lambda bound: f"above {bound:g}",
        "le": lambda bound: f"at most {bound:g}",
        "lt": lambda bound: f"below {bound:g}",
        "pattern": lambda _: "a letter or digit, then up to 63 more, '.', '_' or '-'",
    }
    for mark in typing.get_args(type_)[1:] if typing.get_origin(type_) is Annotated else ():
        for rule in getattr(mark, "metadata", [mark]):
            for attribute, phrase in phrases.items():
                bound = getattr(rule, attribute, None)
                if bound is not None:
                    words.append(phrase(bound))
    return ", ".join(words)


def _example_value(type_: Any) -> str:
    bare = _unwrap_annotated(type_)
    if _is_union(bare):
        return _example_value(next(m for m in typing.get_args(bare) if m is not type(None)))
    if typing.get_origin(bare) is typing.Literal:
        return _short_json(typing.get_args(bare)[0])
    if typing.get_origin(bare) is tuple:
        return f"[{_example_value(typing.get_args(bare)[0])}]"
    if dataclasses.is_dataclass(bare):
        tags = [
            f"{name} = {_example_value(hint)}"
            for name, hint in _type_hints(cast(Any, bare)).items()
            if _is_discriminator(hint)
        ]
        return f"{{ {', '.join(tags) or '...'} }}"
    return _TYPE_DESCRIPTIONS.get(bare, ("", "..."))[1]


def _short_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
