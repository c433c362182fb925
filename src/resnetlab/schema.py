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
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, dataclass_transform

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from resnetlab.errors import InputError, Problem, input_error
from resnetlab.files import read_text
from resnetlab.schema_errors import describe_errors, unknown_field
from resnetlab.schema_types import is_discriminator, is_union, type_hints, union_members

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
    for field, hint in type_hints(cls).items():
        for member in union_members(hint) if is_union(hint) else [hint]:
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
        message = "has a value that cannot be written as JSON"
        fix = "a config is a small table"
        raise input_error(where, message, fix, field=field) from None
    try:
        return _type_adapter(type_).validate_json(text, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise InputError(*describe_errors(type_, details, where, field)) from None


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


def finite_or_none(value: float | None) -> float | None:
    """Return the number, or None for one that is not finite, which JSON cannot contain."""
    return value if value is not None and math.isfinite(value) else None


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
def _defaults(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Return name, default and kind of each field; the last is true for a discriminator."""
    hints = type_hints(cls)
    return tuple(
        (
            item.name,
            item.default_factory() if callable(item.default_factory) else item.default,
            is_discriminator(hints[item.name]),
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
    """Parse a TOML text. `where` names the file in errors. Raises InputError if it is no TOML."""
    fix = "a config is a small text file"
    too_deep = f"a whole number beyond 64 bits, or tables nested deeper than {MAX_DEPTH}"
    # tomllib's time and memory grow with the square of the parts of a dotted key.
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
    if _exceeds_limits(tables):
        raise input_error(where, too_deep, fix)
    return tables


def _exceeds_limits(tables: dict[str, Any]) -> bool:
    """Return True if there is a whole number beyond 64 bits, or a table too deep in others."""
    level: list[Any] = [tables]
    for _ in range(MAX_DEPTH):
        next_level: list[Any] = []
        for item in level:
            if type(item) is int and not -(2**63) <= item < 2**63:
                return True
            if isinstance(item, dict):
                next_level += item.values()
            elif isinstance(item, list):
                next_level += item
        level = next_level
    return bool(level)
