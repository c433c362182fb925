"""Parser of published numbers, which assigns them to the conditions of a study. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resnetlab.errors import InputError, Problem, suggest
from resnetlab.models.parse import parse_model
from resnetlab.schema import decode, encode
from resnetlab.studies.parsing.reference_runs import with_run_curves
from resnetlab.studies.parsing.toml_tables import flatten, read_named
from resnetlab.studies.published.references import MatchedReference, ReferenceSource, ReferenceValue
from resnetlab.studies.study import Condition


def load_reference_source(source: str, where: str = "") -> ReferenceSource:
    """Read the numbers of a catalog name or TOML file. Raises InputError with every mistake."""
    raw, file = read_named("references", source, "reference", where, "references")
    loaded: ReferenceSource = decode(ReferenceSource, raw, file)
    loaded = with_run_curves(loaded, file)
    problems: list[Problem] = []
    for index, value in enumerate(loaded.value):
        for model in value.models:
            try:
                parse_model(model, file, f"value[{index}].model")
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*problems)
    return loaded


def parse_references(
    raw_names: object, conditions: Sequence[Condition], where: str
) -> tuple[tuple[MatchedReference, ...], tuple[Problem, ...]]:
    """Parse `references = "he2016-cifar10"` (or a list) and assign the numbers to conditions.

    A number belongs to the conditions that have its network and the fields in its `at`. A number
    without a condition comes last, with an empty label.
    """
    source_names = [raw_names] if isinstance(raw_names, str) else raw_names
    fix = 'references = "he2016-cifar10"'
    if not isinstance(source_names, list) or not all(
        isinstance(item, str) for item in source_names
    ):
        return (), (Problem(where, "neither a name nor a list of names", fix, field="references"),)
    if len(set(source_names)) < len(source_names):
        return (), (
            Problem(where, "a source is given twice", "give each source once", field="references"),
        )
    pairs: list[MatchedReference] = []
    unmatched: list[MatchedReference] = []
    problems: tuple[Problem, ...] = ()
    for item in source_names:
        try:
            source = load_reference_source(item, where)
        except InputError as error:
            problems += error.problems
            continue
        matches = [
            source.match(value, condition.label)
            for condition in conditions
            for value in source.value
            if _matches(value, condition)
        ]
        known = list(dict.fromkeys(str(model) for value in source.value for model in value.models))
        # A source that names no network has no condition anyway.
        if conditions and not matches and known:
            slug = conditions[0].model.slug
            fix = suggest(slug, known) or f"remove {item}, or add a condition that it has"
            message = f"no number of {item} is of a condition of this study"
            problems += (
                Problem(
                    where,
                    message,
                    fix,
                    field="references",
                    got=slug,
                    allowed=", ".join(known)[:200],
                ),
            )
        pairs += matches
        matched_values = [pair.value for pair in matches]
        unmatched += [
            source.match(value, "") for value in source.value if value not in matched_values
        ]
    return (*pairs, *unmatched), problems


def flatten_condition(condition: Condition) -> dict[str, Any]:
    """Return the fields of a condition by dotted name, defaults included."""
    parts = ("model", "data", "recipe", "evaluation_mode")
    return flatten({part: encode(getattr(condition, part)) for part in parts})


def has_fields(condition: Condition, required_fields: Mapping[str, Any]) -> bool:
    """Return True if a condition has all of these fields."""
    fields: Mapping[str, Any] = (
        flatten_condition(condition) | condition.values if required_fields else {}
    )
    return all(fields.get(key) == value for key, value in flatten(required_fields).items())


def _matches(value: ReferenceValue, condition: Condition) -> bool:
    named = any(parse_model(model, value.label) == condition.model for model in value.models)
    return named and has_fields(condition, value.at)
