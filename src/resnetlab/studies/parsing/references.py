"""Sources of published numbers, and which of them stand beside the conditions of a study. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from resnetlab.errors import InputError, Problem, nearest
from resnetlab.models.parse import parse_model
from resnetlab.schema import decode, encode
from resnetlab.studies.parsing.toml_tables import flat, names, read_named
from resnetlab.studies.references import Beside, Source, Value
from resnetlab.studies.study import Condition


def published_names() -> list[str]:
    """The sources of the catalog."""
    return names("published")


@cache
def works() -> dict[str, str]:
    """Where the works are whose numbers the catalog has, as far as that is public: `He et al. 2016` and its address."""
    tables = [read_named("published", name, "published source")[0] for name in published_names()]
    return {str(table["title"]).partition(",")[0]: str(table["url"]) for table in tables if "url" in table}


def load_published(source: str, where: str = "", field: str = "published") -> Source:
    """The published numbers of a catalog name or TOML file. Raises InputError with every mistake of it."""
    raw, called = read_named("published", source, "published source", where, field)
    found: Source = decode(Source, raw, called)
    problems: list[Problem] = []
    for index, value in enumerate(found.value):
        for model in value.models:
            try:
                parse_model(model, called, f"value[{index}].model")
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*problems)
    return found


def parse_published(
    named: object, conditions: Sequence[Condition], where: str
) -> tuple[tuple[Beside, ...], tuple[Problem, ...]]:
    """What a study's `published = "he2016-cifar10"` (or a list of such) puts beside its conditions.

    A number belongs to the conditions that have its network and the fields that it names in `at`; one that no condition
    has comes last and names none.
    """
    held = [named] if isinstance(named, str) else named
    fix = 'published = "he2016-cifar10"'
    if not isinstance(held, list) or not all(isinstance(item, str) for item in held):
        return (), (Problem(where, "neither a name nor a list of names", fix, field="published"),)
    if len(set(held)) < len(held):
        return (), (Problem(where, "a source stands twice", "give each source once", field="published"),)
    pairs: list[Beside] = []
    alone: list[Beside] = []
    problems: tuple[Problem, ...] = ()
    for item in held:
        try:
            source = load_published(item, where)
        except InputError as error:
            problems += error.problems
            continue
        found = [
            source.beside(value, condition.label)
            for condition in conditions
            for value in source.value
            if _matches(value, condition)
        ]
        known = list(dict.fromkeys(str(model) for value in source.value for model in value.models))
        if conditions and not found and known:  # one that names no network is repeated, beside none
            slug = conditions[0].model.slug
            fix = nearest(slug, known) or f"remove {item}, or add a condition that it has"
            what = f"no number of {item} is of a condition of this study"
            problems += (Problem(where, what, fix, field="published", got=slug, allowed=", ".join(known)[:200]),)
        pairs += found
        beside = [pair.value for pair in found]
        alone += [source.beside(value, "") for value in source.value if value not in beside]
    return (*pairs, *alone), problems


def settled(condition: Condition) -> dict[str, Any]:
    """A condition's fields by dotted name, defaults included."""
    return flat({part: encode(getattr(condition, part)) for part in ("model", "data", "recipe")})


def has(condition: Condition, wanted: Mapping[str, Any]) -> bool:
    """Whether a condition has all of these fields."""
    fields: Mapping[str, Any] = settled(condition) | condition.values if wanted else {}
    return all(fields.get(key) == value for key, value in flat(wanted).items())


def _matches(value: Value, condition: Condition) -> bool:
    named = any(parse_model(model, value.label) == condition.model for model in value.models)
    return named and has(condition, value.at)
