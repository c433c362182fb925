"""Collect the data of a study from its runs, without any path of the machine that made them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from resnetlab.analysis.ensembles import ensemble_rows
from resnetlab.analysis.study_data import (
    BlockRow,
    CurvePoint,
    DatasetInfo,
    GradientNormRow,
    LandscapePoint,
    Machine,
    RunRow,
    StudyData,
)
from resnetlab.data.config import Split
from resnetlab.inspection.landscape_summary import axis_values
from resnetlab.runs.records import EvaluationMode, RunRecord
from resnetlab.schema import finite_or_none
from resnetlab.studies.exchange.remove_paths import study_without_paths
from resnetlab.studies.plan import StudyRecord, StudyRun
from resnetlab.studies.study import Study


def collect_study_data(study_record: StudyRecord, command: str = "") -> StudyData:
    """Collect the data of a study from the present state of its runs."""
    study, study_runs = study_record.study, _study_runs(study_record)
    records = [study_run.record for study_run in study_runs if study_run.record is not None]
    events = [event for record in records for event in record.provenance]
    times = sorted(str(event["time"]) for event in events if event.get("time"))
    return StudyData(
        study=study_without_paths(study),
        data=_dataset_infos(study_runs),
        machines=_machines(records),
        numerics=tuple(
            dict.fromkeys(study_run.planned.config.numerics for study_run in study_runs)
        ),
        began=times[0] if times else "",
        ended=times[-1] if times else "",
        command=command,
        rows=run_rows(study_record),
        curve_points=curve_points(study_record),
        gradient_norms=tuple(
            norm for study_run in study_runs for norm in _gradient_norm_rows(study_run, study)
        ),
        blocks=tuple(block for study_run in study_runs for block in _block_rows(study_run, study)),
        landscape_points=tuple(
            point for study_run in study_runs for point in _landscape_points(study_run)
        ),
        ensembles=ensemble_rows(study.ensembles, study_runs),
    )


def run_rows(study_record: StudyRecord) -> tuple[RunRow, ...]:
    """Return a row for each planned run of a study, by condition and seed."""
    modes = _evaluation_modes(study_record)
    return tuple(
        _run_row(study_run, modes[study_run.planned.condition])
        for study_run in _study_runs(study_record)
    )


def curve_points(study_record: StudyRecord) -> tuple[CurvePoint, ...]:
    """Return a row for each evaluation of the runs of a study."""
    modes = _evaluation_modes(study_record)
    return tuple(
        point
        for study_run in _study_runs(study_record)
        for point in _curve_points(study_run, modes[study_run.planned.condition])
    )


def _study_runs(study_record: StudyRecord) -> list[StudyRun]:
    study = study_record.study
    return [
        study_run
        for condition in study.conditions
        for study_run in study_record.runs_of(condition.label)
    ]


def _evaluation_modes(study_record: StudyRecord) -> dict[str, EvaluationMode]:
    return {
        condition.label: condition.evaluation_mode for condition in study_record.study.conditions
    }


def _run_row(study_run: StudyRun, mode: EvaluationMode) -> RunRow:
    run, record = study_run.planned, study_run.record
    result = record.result if record else None
    events = record.provenance if record else ()
    attempts = sum(event.get("event") in ("start", "resume") for event in events)
    parameters = run.file.parameters or None
    failures = [
        str(event["reason"])
        for event in events
        if event.get("event") in ("failed", "gave up") and event.get("reason")
    ]
    last = record.metrics[-1] if record and record.metrics else None
    row = RunRow(
        condition=run.condition,
        seed=run.seed,
        status="waiting" if study_run.state == "finished" else study_run.state,
        run=run.id,
        attempts=attempts,
        parameters=parameters,
        steps=last.step if last else 0,
        epochs=last.epoch if last else 0.0,
        reason="; ".join(dict.fromkeys(failures)),
        evaluation_mode=mode,
    )
    if result is None:
        return row
    epochs = run.config.recipe.epochs_at(result.step, run.file.train_images)
    scores: dict[str, Any] = {}
    for split in ("test", "validation", "train"):
        if (evaluation := getattr(result, split)) is not None:
            scores[f"{split}_error_pct"] = finite_or_none(evaluation.top1_error_pct)
            scores[f"{split}_loss_nats"] = finite_or_none(evaluation.loss_nats)
            scores[f"{split}_top5_error_pct"] = finite_or_none(evaluation.top5_error_pct)
    return replace(
        row,
        status=result.status,
        steps=result.step,
        epochs=row.epochs if epochs is None else epochs,
        train_seconds=result.train_seconds,
        evaluation_seconds=result.evaluation_seconds,
        images_per_second=result.images_per_second,
        reason="; ".join(dict.fromkeys(filter(None, (result.reason, *failures)))),
        **scores,
    )


def _curve_points(study_run: StudyRun, mode: EvaluationMode) -> Iterable[CurvePoint]:
    for line in study_run.record.metrics if study_run.record else ():
        yield CurvePoint(
            condition=study_run.planned.condition,
            seed=study_run.planned.seed,
            split=line.split,
            step=line.step,
            epoch=line.epoch,
            loss_nats=finite_or_none(line.loss_nats),
            top1_error_pct=line.top1_error_pct,
            evaluation_mode=mode,
        )


def _gradient_norm_rows(study_run: StudyRun, study: Study) -> Iterable[GradientNormRow]:
    """Yield the norms of the epochs that this study asks for; a shared run may have more."""
    run: dict[str, Any] = {"condition": study_run.planned.condition, "seed": study_run.planned.seed}
    for norms in study_run.record.gradient_norms if study_run.record else ():
        if norms.epoch in study.diagnostics.gradient_norms:
            batch = run | {"epoch": norms.epoch, "images": norms.images}
            yield from (GradientNormRow(**batch, **vars(layer)) for layer in norms.layers)


def _block_rows(study_run: StudyRun, study: Study) -> Iterable[BlockRow]:
    if study.diagnostics.measures_blocks and study_run.record and study_run.record.block_ablation:
        run = study_run.planned
        for block in study_run.record.block_ablation.blocks:
            yield BlockRow(condition=run.condition, seed=run.seed, **vars(block))


def _landscape_points(study_run: StudyRun) -> Iterable[LandscapePoint]:
    """Yield the losses on the planes of a run that is asked for them, in this size."""
    file, record = study_run.planned.file, study_run.record
    config = file.diagnostics.loss_landscape
    landscape = record.loss_landscape if record else None
    if config is None or landscape is None or not landscape.fulfills(config, file.train_images):
        return
    axis = axis_values(config.points)
    for plane in landscape.planes:
        for y, row in zip(axis, plane.losses_nats, strict=True):
            for x, loss in zip(axis, row, strict=True):
                yield LandscapePoint(
                    condition=study_run.planned.condition,
                    seed=study_run.planned.seed,
                    images=landscape.images,
                    batch_norm=landscape.batch_norm,
                    plane=plane.plane,
                    x=x,
                    y=y,
                    loss_nats=loss,
                )


def _dataset_infos(study_runs: Iterable[StudyRun]) -> tuple[DatasetInfo, ...]:
    runs_by_data: dict[tuple[Any, ...], list[StudyRun]] = {}
    for study_run in study_runs:
        file = study_run.planned.file
        key = (file.data_name, file.run.data, file.class_share, file.train_images)
        runs_by_data.setdefault(key, []).append(study_run)
    return tuple(map(_dataset_info, runs_by_data.values()))


def _dataset_info(study_runs: Sequence[StudyRun]) -> DatasetInfo:
    """Return the data that these runs share."""
    file = study_runs[0].planned.file
    results = [
        study_run.record.result
        for study_run in study_runs
        if study_run.record and study_run.record.result
    ]

    def images(split: Split) -> int | None:
        scores = (getattr(result, split) for result in results)
        return next((score.images for score in scores if score is not None), None)

    return DatasetInfo(
        conditions=tuple(dict.fromkeys(study_run.planned.condition for study_run in study_runs)),
        name=file.data_name,
        about=file.data_about,
        sha256=file.run.data.sha256,
        classes=file.classes,
        class_share=file.class_share,
        train_images=file.train_images,
        available_train_images=file.available_train_images or None,
        train_subset_images=images("train"),
        validation_images=images("validation"),
        test_images=images("test"),
    )


def _machines(records: Iterable[RunRecord]) -> tuple[Machine, ...]:
    """Return every environment in which a run was started or resumed, the most used one first."""
    runs: dict[str, tuple[Machine, set[str]]] = {}
    software = ("version", "commit", "dirty", "python", "platform")
    names = (*software, "processor", "instruction_set", "device")
    for record in records:
        for event in record.provenance:
            if event.get("event") in ("start", "resume"):
                fields = {name: event[name] for name in names if event.get(name) is not None}
                packages = dict(sorted(event.get("packages", {}).items()))
                machine = Machine(packages=packages, runs=0, **fields)
                runs.setdefault(repr(machine), (machine, set()))[1].add(record.id)
    return tuple(
        replace(machine, runs=len(ids))
        for machine, ids in sorted(runs.values(), key=lambda entry: -len(entry[1]))
    )
