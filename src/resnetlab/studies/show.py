"""Description of a study: its question, conditions, axes, claims, seeds, data and references."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnetlab.messages import format_count, truncate_lines
from resnetlab.shell import command_line
from resnetlab.studies.claims import condition_labels, describe_claim
from resnetlab.studies.parsing.toml_tables import to_toml
from resnetlab.studies.study import Study
from resnetlab.studies.timing.catalog_durations import describe_duration

MAX_LISTED = 100
"""Number of conditions and of claims that are printed. A count stands for the others."""


def axes_of(study: Study) -> dict[str, list[Any]]:
    """Return the axes of a study, each with its values in their order."""
    axes: dict[str, list[Any]] = {}
    for condition in study.conditions:
        for axis, value in condition.values.items():
            values = axes.setdefault(axis, [])
            if value not in values:
                values.append(value)
    return axes


def set_option(axis: str, values: list[Any]) -> str:
    """Return the option of a command that keeps these values of an axis."""
    return command_line(["--set", f"grid.{axis}={to_toml(values)}"])


def describe_study(study: Study) -> dict[str, Any]:
    """Return the description as plain values, for `--json`."""
    shared = study.shared_runs
    references: dict[str, dict[str, Any]] = {}
    for reference in study.references:
        entry = references.setdefault(
            reference.title, {"reference": reference.title, "conditions": []}
        )
        if reference.condition not in entry["conditions"]:
            entry["conditions"].append(reference.condition)
    return {
        "study": study.name,
        "question": study.question,
        "about": study.about,
        "limits": study.limits,
        "duration": describe_duration(study.name),
        "data": list(dict.fromkeys(c.data.source for c in study.conditions)),
        "seeds": list(study.seeds),
        "axes": [
            {"axis": axis, "values": values, "set": set_option(axis, values)}
            for axis, values in axes_of(study).items()
        ],
        "conditions": [
            {
                "condition": condition.label,
                "values": condition.values,
                "evaluation_mode": condition.evaluation_mode,
                "shares_runs_with": shared.get(condition.label),
            }
            for condition in study.conditions
        ],
        "claims": [
            {
                "claim": claim.statement,
                "kind": claim.kind,
                "compares": describe_claim(claim),
                "conditions": list(dict.fromkeys(condition_labels(claim))),
                "source": claim.source,
            }
            for claim in study.claims
        ],
        "claims_left_out": list(study.left_out),
        "references": list(references.values()),
        "changes": list(map(str, study.overrides)),
    }


def summary_lines(study: Study) -> Iterator[str]:
    """Yield the lines that describe a study."""
    details = describe_study(study)
    yield f"{study.name}: {study.question}"
    yield from (text for text in (study.about, study.limits and f"Limits: {study.limits}") if text)
    yield from (f"Changed: {change}" for change in study.overrides)
    seeds = ", ".join(map(str, study.seeds))
    yield ""
    yield f"Duration: {details['duration']}"
    yield f"Data: {', '.join(details['data'])}"
    yield f"Seeds: {seeds}"
    yield f"Conditions: {len(study.conditions)}, so {format_count(study.num_runs, 'run')}"
    labels = [f"  {condition.label}" for condition in study.conditions]
    for index, condition in enumerate(details["conditions"]):
        if condition["shares_runs_with"]:
            labels[index] += f" (the runs of {condition['shares_runs_with']})"
    yield from truncate_lines(labels, MAX_LISTED)
    if details["axes"]:
        yield ""
        yield "Axes; an option keeps some of the values:"
        yield from (f"  {axis['set']}" for axis in details["axes"])
    yield ""
    yield f"Claims: {len(study.claims)}"
    for claim in details["claims"][:MAX_LISTED]:
        source = f" [{claim['source']}]" if claim["source"] else ""
        yield f"  {claim['claim']}{source}"
        yield f"    {claim['kind']}: {claim['compares']}"
    if len(study.claims) > MAX_LISTED:
        yield f"  ... and {len(study.claims) - MAX_LISTED:,} more"
    if study.left_out:
        yield f"Claims that need conditions which were left out: {len(study.left_out)}"
        yield from truncate_lines([f"  {claim}" for claim in study.left_out], MAX_LISTED)
    if details["references"]:
        yield ""
        yield "References:"
        for reference in details["references"]:
            count = len(reference["conditions"])
            yield (
                f"  {reference['reference']} ({count} of "
                f"{format_count(len(study.conditions), 'condition')})"
            )
