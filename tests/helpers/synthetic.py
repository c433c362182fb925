"""Fabricated records of studies whose true verdicts are known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from resnetlab.analysis.collect import collect_study_data
from resnetlab.data.config import DataIdentity
from resnetlab.models.model_cost import model_cost
from resnetlab.recipes.numerics import Numerics
from resnetlab.reports.document import Report
from resnetlab.reports.study.assemble import build_report
from resnetlab.runs.records import Evaluation, Result, RunRecord, Scores
from resnetlab.schema import SCHEMA, encode
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.plan import (
    DataProperties,
    Plan,
    PlannedRun,
    StudyRecord,
    make_plan,
    make_record,
)
from resnetlab.studies.study import Study

NUMERICS = Numerics(device="cpu", precision="fp32", memory_format="contiguous", threads=1)
EPOCHS, STEPS = 10, 21
DIGITS = tuple(str(digit) for digit in range(10))

Runs = list[tuple[str, float | None]]
"""Outcome and test accuracy in percent of each run of a condition, in the order of the seeds."""

Truth = dict[str, Runs]
"""Runs by condition."""

EVENT: dict[str, Any] = {
    "event": "start",
    "time": "2026-11-22T07:00:00Z",
    "step": 0,
    "commit": "abc1234",
    "dirty": False,
    "version": "0.1.0",
    "packages": {"torch": "2.15.0", "numpy": "2.4.6"},
    "python": "3.11.7",
    "platform": "Linux-6.1",
    "processor": "A processor",
    "device": "cpu",
    "threads": 1,
    "data_sha256": "d" * 64,
}

TRUTH: Truth = {
    "plain 8": [("trained", x) for x in (98.9, 98.6, 99.2, 98.9, 99.4)],
    "residual 8 (A)": [("trained", x) for x in (99.2, 98.9, 98.6, 99.4, 98.9)],
    "plain 56": [
        ("trained", 35.8),
        ("trained", 28.1),
        ("at chance", 10.3),
        ("trained", 22.8),
        ("at chance", 14.7),
    ],
    "residual 56 (A)": [("trained", x) for x in (97.5, 96.1, 98.1, 96.9, 97.2)],
}
"""By condition, by seed: how the run ends, and at what test accuracy in percent."""

EVERY_STATUS: Truth = TRUTH | {
    "plain 8": [
        ("trained", 98.9),
        ("out of memory", None),
        ("missing", None),
        ("diverged", None),
        ("at chance", 11.1),
    ],
    "residual 8 (A)": [
        ("missing", None),
        ("trained", 98.9),
        ("trained", 98.6),
        ("running", None),
        ("waiting", None),
    ],
}


def study_record(
    truth: Truth = TRUTH,
    *,
    study: Study | None = None,
    classes: tuple[str, ...] = DIGITS,
    events: Sequence[dict[str, Any]] = (EVENT,),
    test_curve: bool = False,
) -> StudyRecord:
    """Return the record of the digits study, or of `study`, whose runs end as `truth` says."""
    study = study or load_study("digits")
    if test_curve:
        conditions = tuple(
            replace(c, data=replace(c.data, test_curve=True)) for c in study.conditions
        )
        study = replace(study, conditions=conditions)
    identity = DataIdentity(sha256="d" * 64, test_curve=test_curve)
    details = DataProperties("digits", identity, classes, 1, 8, 1294, 0.1011)
    plan = _planned(study, details)
    values, running = {}, set()
    for run in plan.runs:
        outcome, accuracy = truth[run.condition][study.seeds.index(run.seed)]
        if outcome == "running":
            running.add(run.id)
        if outcome != "waiting":
            values[run.id] = _record(run, outcome, accuracy, events, test_curve)
    return StudyRecord(study, make_record(plan, values.get, frozenset(running)).runs)


PLANS: dict[str, Plan] = {}


def _planned(study: Study, details: DataProperties) -> Plan:
    """Return the plan, made once for each study: most of its cost is the names of the runs."""
    key = json.dumps([encode(study), repr(details)])
    if key not in PLANS:
        PLANS[key] = make_plan(
            study, {c.data_key: details for c in study.conditions}, lambda _: NUMERICS, model_cost
        )
    return PLANS[key]


def _record(
    run: PlannedRun,
    outcome: str,
    accuracy: float | None,
    events: Sequence[dict[str, Any]],
    test_curve: bool,
) -> RunRecord:
    generator = np.random.default_rng([run.seed, len(run.condition)])
    provenance = tuple(dict(event) for event in events)
    if outcome == "missing":
        broken = {
            "event": "failed",
            "reason": "the worker was killed",
            "time": "2026-11-22T07:01:00Z",
        }
        provenance += (broken, {"event": "gave up", "time": "2026-11-22T07:02:00Z"})
    metrics = tuple(_metrics(outcome, accuracy, generator, test_curve))
    result = None
    if outcome in ("trained", "at chance", "diverged", "out of memory"):
        result = _result(outcome, accuracy, metrics, generator)
    return RunRecord(
        id=run.id, file=run.file, metrics=metrics, provenance=provenance, result=result
    )


def _metrics(
    outcome: str, accuracy: float | None, generator: np.random.Generator, test_curve: bool
) -> Iterator[Evaluation]:
    """Exponential decay from a guess to the accuracy, with noise; failures stop where they fail."""
    final = {"trained": accuracy, "at chance": accuracy}.get(outcome) or 40.0
    last = {"diverged": 3, "running": 4, "missing": 2, "out of memory": 0}.get(outcome, EPOCHS)
    rate = 0.9 if final > 90 else 0.25
    for epoch in range(last + 1):
        share = (1 - math.exp(-rate * epoch)) / (1 - math.exp(-rate * EPOCHS))
        contents = (
            10 + (final - 10) * share + (generator.normal(0, 1.2 * (1.05 - share)) if epoch else 0)
        )
        loss = 2.35 * (1 - contents / 100) ** 0.8 + abs(generator.normal(0, 0.03))
        for split in ("train", "validation", *(["test"] if test_curve else [])):
            yield Evaluation(
                step=epoch * STEPS,
                epoch=float(epoch),
                split=split,
                loss_nats=loss,
                seconds=epoch * 0.8,
                top1_error_pct=100 - min(100.0, contents + (0.6 if split == "train" else 0.0)),
            )


def _result(
    outcome: str,
    accuracy: float | None,
    metrics: tuple[Evaluation, ...],
    generator: np.random.Generator,
) -> Result:
    if outcome == "out of memory":
        return Result(
            schema=SCHEMA, status=outcome, reason="needed 12 GB of 8 GB", step=0, selected_step=0
        )
    step = metrics[-1].step
    seconds = step * 0.04 + float(generator.random())
    if outcome == "diverged":
        return Result(
            schema=SCHEMA,
            status=outcome,
            reason=f"loss nan at step {step + 9}",
            step=step + 9,
            selected_step=step,
            train_seconds=seconds,
        )
    error = 100 - accuracy
    loss = 2.35 * (error / 100) ** 0.8
    return Result(
        schema=SCHEMA,
        status=outcome,
        reason="never left chance" if outcome == "at chance" else "",
        step=step,
        selected_step=step,
        train=Scores(images=500, loss_nats=loss * 0.9, top1_error_pct=error * 0.9),
        validation=Scores(images=143, loss_nats=loss, top1_error_pct=error),
        test=Scores(images=360, loss_nats=loss, top1_error_pct=error),
        train_seconds=seconds,
        evaluation_seconds=1.0,
        images_per_second=1500.0,
    )


def build_report_from_record(record: StudyRecord, command: str = "") -> Report:
    """Build the report of a study, finished or not; `command` repeats the study."""
    return build_report(collect_study_data(record, command))
