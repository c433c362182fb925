"""Data of a study of imported runs, from a table and its declaration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from resnetlab.analysis.study_data import CurvePoint, RunRow, StudyData
from resnetlab.errors import InputError, input_error
from resnetlab.imported_runs.claim_text import claim_metric, parse_claim, parse_published
from resnetlab.imported_runs.columns import Columns, find_columns
from resnetlab.imported_runs.declaration import MAX_RUNS, Declaration
from resnetlab.imported_runs.detect_measure import detect_measure, rescale
from resnetlab.imported_runs.raw_table import RawTable, select_rows
from resnetlab.imported_runs.run_values import ImportedRun, missing_partners, read_runs
from resnetlab.messages import format_count
from resnetlab.schema import decode
from resnetlab.stats.chance import is_at_chance
from resnetlab.stats.outcomes import OUTCOMES, count_outcomes
from resnetlab.studies.claims import (
    About,
    AnyClaim,
    Average,
    Best,
    Better,
    Claim,
    Equivalent,
    Every,
    FailsAndTrains,
    Faster,
    Monotone,
    Relative,
    condition_labels,
)
from resnetlab.studies.imported_design import ImportedRuns, PublishedValue
from resnetlab.studies.measure import Measure
from resnetlab.studies.study import Study

MAX_CONDITIONS = 200
"""Largest number of conditions; more of them are a sign of a wrong column."""


def import_runs(table: RawTable, declaration: Declaration, command: str = "") -> StudyData:
    """Return the data of a study of the runs of a table.

    Args:
        table: Table as it was read.
        declaration: Meaning of its columns, design of its runs, and claims.
        command: Command that repeats the report.

    Raises:
        InputError: The table or the declaration is invalid.
    """
    table = select_rows(table, declaration.where)
    columns = find_columns(table, declaration)
    runs, reading = read_runs(table, columns, declaration)
    conditions = tuple(dict.fromkeys(run.condition for run in runs))
    if len(conditions) > MAX_CONDITIONS:
        message = f"{len(conditions):,} conditions, at most {MAX_CONDITIONS}"
        raise input_error(table.where, message, "--condition with another column")
    measure, factor, sentences = detect_measure(table, runs, columns, declaration)
    runs = [_scaled(run, factor) for run in runs]
    if declaration.best_of > 1:
        measure = replace(measure, name=f"{measure.name}, best of {declaration.best_of}")
    if declaration.test_images is not None:
        runs = [_with_chance(run, measure, declaration.test_images) for run in runs]
    declared = parse_claim_texts(declaration, conditions, measure)
    claims = [_designed(claim, declaration) for claim in declared]
    untested: tuple[str, ...] = ()
    if len(runs) == len(conditions):  # one run each
        untested = tuple(claim.statement.rstrip(".") for claim in claims)
        claims = []
    for claim in claims:
        if isinstance(claim, Better | About | Equivalent) and claim.paired:
            runs += missing_partners(runs, claim.left, claim.right)
    imported = ImportedRuns(
        measure=measure,
        conditions=conditions,
        files=table.files,
        reading=(_count_sentence(runs, len(table.rows), len(conditions)), *reading, *sentences),
        paired_by=_pair_word(declaration, columns),
        folds=_number_of_folds(table, declaration, columns, runs),
        best_of=declaration.best_of,
        published=_published(declaration, conditions, factor),
        untested=untested,
    )
    seeds = _seed_numbers(runs)
    study = Study(
        name=_study_name(declaration.name or Path(table.where).stem),
        question=declaration.question or _question(conditions, measure),
        about=declaration.about,
        limits=declaration.limits,
        conditions=(),
        seeds=tuple(sorted(seeds.values())),
        claims=tuple(claims),
        imported=imported,
    )
    order = {label: number for number, label in enumerate(conditions)}
    runs.sort(key=lambda run: order[run.condition])
    return StudyData(
        study=study,
        data=(),
        command=command,
        rows=tuple(_run_row(run, seeds[run.key]) for run in runs),
        curve_points=tuple(point for run in runs for point in _curve(run, seeds[run.key])),
    )


def _curve(run: ImportedRun, seed: int) -> Iterator[CurvePoint]:
    """Yield the evaluations of a run. They count as those of the test images."""
    for epoch, value in run.curve:
        yield CurvePoint(
            condition=run.condition, seed=seed, split="test", step=0, epoch=epoch, value=value
        )


def _number_of_folds(
    table: RawTable, declaration: Declaration, columns: Columns, runs: Sequence[ImportedRun]
) -> int | None:
    """Return the number of folds, or None if the runs are no folds."""
    if not (declaration.folds or declaration.cross_validation or columns.fold):
        return None
    names = {run.fold if columns.fold else run.key for run in runs}
    count = declaration.folds or len(names)
    if columns.fold and len(names) > count:
        message = f"{len(names)} folds in the column {columns.fold}"
        raise input_error(table.where, message, f"--folds {len(names)}", got=f"--folds {count}")
    if count < 2:
        fix = "--folds K, with the number of folds of the cross-validation"
        raise input_error(table.where, "fewer than two folds", fix)
    return count


def _scaled(run: ImportedRun, factor: float) -> ImportedRun:
    curve = tuple((epoch, rescale(value, factor) or 0.0) for epoch, value in run.curve)
    return replace(run, value=rescale(run.value, factor), curve=curve)


def _with_chance(run: ImportedRun, measure: Measure, images: int) -> ImportedRun:
    """Return the run as at chance if luck explains the best of its accuracies."""
    if run.status != "trained" or run.value is None or measure.chance is None:
        return run
    if measure.unit != "%" or not 0 < measure.chance < 100:
        fix = "give --chance in percent, or leave --test-images out"
        raise input_error("--test-images", "needs a measure in percent", fix)
    scores = [run.value, *(value for _, value in run.curve)]
    chance = measure.chance
    if not measure.higher_is_better:
        scores, chance = [100 - value for value in scores], 100 - chance
    evaluations = max(1, len(run.curve))
    if not is_at_chance(max(scores), chance / 100, images, evaluations):
        return run
    reason = f"luck alone explains its accuracy on {images:,} images"
    return replace(run, status="at chance", reason=reason)


def parse_claim_texts(
    declaration: Declaration, conditions: Sequence[str], measure: Measure
) -> list[AnyClaim]:
    """Return the claims of a declaration, as text and as tables, in their order."""
    claims = [parse_claim(text, conditions, measure, "--claim") for text in declaration.claims]
    for index, table in enumerate(declaration.claim):
        claims.append(_claim_of_table(table, conditions, measure, f"claim[{index}]"))
    return claims


def _claim_of_table(
    table: dict[str, Any], conditions: Sequence[str], measure: Measure, field: str
) -> AnyClaim:
    where = "the declaration"
    for name in ("metric", "split", "paired"):
        if name in table:
            fix = "remove it: it follows from the table and --paired-by"
            raise input_error(where, "not allowed here", fix, field=f"{field}.{name}")
    kind = table.get("kind", "greater")
    metric = {} if kind in ("fails-and-trains", "faster") else {"metric": claim_metric(measure)}
    if kind == "best" and "rivals" not in table:
        table = table | {"rivals": [name for name in conditions if name != table.get("left")]}
    claim: AnyClaim = decode(Claim, {"kind": kind} | metric | table, where, field)
    unknown = [label for label in condition_labels(claim) if label not in conditions]
    if unknown:
        fix = f'name a condition, such as "{conditions[0]}"'
        allowed = ", ".join(conditions[:20])
        raise input_error(
            where, "no such condition", fix, field=field, got=unknown[0], allowed=allowed
        )
    if problem := _comparison_problem(claim):
        fix = "give a table with two conditions"
        if len(conditions) > 1:
            fix = f"compare two of the conditions {', '.join(conditions[:20])}"
        raise input_error(where, problem, fix, field=field)
    if isinstance(claim, Faster) and (measure.unit != "%" or not measure.higher_is_better):
        message = "compares epochs to an accuracy in percent"
        raise input_error(where, message, "another kind of claim", field=field)
    return claim


def _comparison_problem(claim: AnyClaim) -> str:
    """Return the reason why a claim compares no two different conditions; empty if it does."""
    labels = condition_labels(claim)
    if len(labels) < 2:
        return f"a claim of kind {claim.kind} about fewer than two conditions"
    if isinstance(claim, Average | Every | Relative):
        pairs = list(zip(claim.left, claim.right, strict=True))
        if isinstance(claim, Average) and sorted(claim.left) == sorted(claim.right):
            return "left and right have the same conditions"
    elif isinstance(claim, Monotone | Best):
        pairs = list(combinations(labels, 2))
    else:
        pairs = [(claim.left, claim.right)]
    same = next((left for left, right in pairs if left == right), "")
    return f"compares the condition {same} with itself" if same else ""


def _designed(claim: AnyClaim, declaration: Declaration) -> AnyClaim:
    """Return the claim as the declared design tests it. Raises InputError if it cannot."""
    if declaration.paired_by and isinstance(claim, Better | About | Equivalent):
        return replace(claim, paired=True)
    if declaration.paired_by and not isinstance(claim, FailsAndTrains | Faster):
        raise _design_error(claim, "--paired-by")
    folds = declaration.folds or declaration.cross_validation or declaration.fold
    if folds and isinstance(claim, Relative | Faster | FailsAndTrains):
        raise _design_error(claim, "folds")
    return claim


def _design_error(claim: AnyClaim, design: str) -> InputError:
    fix = "claims of two conditions: A > B, A = B within 0.5"
    message = f"a claim of kind {claim.kind} has no test with {design}"
    return input_error("the claims", message, fix, got=claim.statement)


def _pair_word(declaration: Declaration, columns: Columns) -> str:
    if not declaration.paired_by:
        return ""
    if not columns.seed and not columns.fold:
        fix = f"--{declaration.paired_by} COLUMN"
        raise input_error("--paired-by", f"no column of {declaration.paired_by}s", fix)
    both = columns.seed and columns.fold
    return "seed and fold" if both else declaration.paired_by


def _published(
    declaration: Declaration, conditions: Sequence[str], factor: float
) -> tuple[PublishedValue, ...]:
    """Return the published numbers in the unit of the report; a fraction becomes percent."""
    values = [parse_published(text, conditions, "--published") for text in declaration.published]
    for value in declaration.reference:
        if value.num_runs > MAX_RUNS:
            raise input_error(
                "the declaration",
                "not a number of runs",
                "give the number of runs of the source, or leave it out",
                field="reference.num_runs",
                got=value.num_runs,
                allowed=f"1 to {MAX_RUNS:,}",
            )
        if value.condition not in conditions:
            allowed = ", ".join(conditions[:20])
            fix = f'condition = "{conditions[0]}"'
            raise input_error(
                "the declaration",
                "no such condition",
                fix,
                field="reference.condition",
                got=value.condition,
                allowed=allowed,
            )
    return tuple(_in_percent(value, factor) for value in (*values, *declaration.reference))


def _in_percent(published: PublishedValue, factor: float) -> PublishedValue:
    """Return a published number times the factor of the runs, unless it is in percent already."""
    if factor == 1 or abs(published.value) > 1:
        return published
    half_width = published.half_width
    return replace(
        published,
        value=round(factor * published.value, 12),
        half_width=None if half_width is None else factor * half_width,
    )


def _seed_numbers(runs: Sequence[ImportedRun]) -> dict[str, int]:
    """Return a number for each key: the key itself if all are whole numbers, else its position."""
    keys = list(dict.fromkeys(run.key for run in runs))
    if all(re.fullmatch(r"\d{1,18}", key) for key in keys) and len({int(k) for k in keys}) == len(
        keys
    ):
        return {key: int(key) for key in keys}
    return {key: number for number, key in enumerate(keys)}


def _run_row(run: ImportedRun, seed: int) -> RunRow:
    origin = run.origin if run.key == str(seed) else f"{run.origin} ({run.key})"
    return RunRow(
        condition=run.condition,
        seed=seed,
        status=run.status,
        value=run.value,
        epochs=run.curve[-1][0] if run.curve else 0.0,
        run=origin,
        reason=run.reason,
    )


def _count_sentence(runs: Sequence[ImportedRun], rows: int, conditions: int) -> str:
    """Return the counts of rows and runs in one sentence: they add up."""
    counts = count_outcomes(run.status for run in runs)
    parts = [f"{number} {name}" for name in OUTCOMES if (number := counts.count(name))]
    total = format_count(len(runs), "run")
    return (
        f"{format_count(rows, 'row')}: {total} of {format_count(conditions, 'condition')} = "
        f"{' + '.join(parts)}."
    )


def _question(conditions: Sequence[str], measure: Measure) -> str:
    first = list(conditions[:4])
    more = len(conditions) - len(first)
    names = ", ".join(first) + (f" and {more} more" if more else "")
    return f"How do {names} compare in {measure.name}?"


def _study_name(text: str) -> str:
    """Return a name for the folder of the report: letters, digits, points and hyphens."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64]
    return name or "runs"
