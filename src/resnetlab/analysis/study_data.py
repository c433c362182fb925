"""Data of a study as plain values that can be committed, read back and reported.

`report.json` holds the study, its data and the machines. `results.csv` has a row for each planned
run, and `curves.csv` has a row for each evaluation. If the study asks for them, `layers.csv` has a
row for each layer and epoch, `blocks.csv` for each block, and `ensembles.csv` for each ensemble.
These files never name a path of the machine that made the runs.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, TypeVar

from resnetlab import files
from resnetlab.analysis.ensembles import EnsembleRow, ensemble_rows
from resnetlab.checksums import CHECKSUMS, check_files, write_checksums
from resnetlab.data.config import DataConfig, Split
from resnetlab.errors import input_error
from resnetlab.inspection.diagnostics_config import BlockAblation, LayerNorms
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.records import EvaluationMode, RunRecord
from resnetlab.schema import SCHEMA, check_schema, decode, strict_dataclass, without_defaults
from resnetlab.shell import strip_folders
from resnetlab.stats.outcomes import Outcome
from resnetlab.studies.plan import StudyRecord, StudyRun
from resnetlab.studies.study import Condition, Study

T = TypeVar("T")


@strict_dataclass
class RunRow:
    """Planned run, a line of results.csv: error in percent, loss in nats; empty if not measured."""

    condition: str
    seed: int
    status: Outcome
    test_error_pct: float | None = None
    test_loss_nats: float | None = None
    validation_error_pct: float | None = None
    validation_loss_nats: float | None = None
    train_error_pct: float | None = None
    train_loss_nats: float | None = None
    test_top5_error_pct: float | None = None
    """Top-5 error, for data with more than ten classes."""
    validation_top5_error_pct: float | None = None
    train_top5_error_pct: float | None = None
    steps: int = 0
    epochs: float = 0.0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    images_per_second: float = 0.0
    parameters: int | None = None
    """Number of parameters of the network; empty in older reports, which did not count them."""
    attempts: int = 0
    """Number of times that the run was started or resumed."""
    run: str
    reason: str = ""
    evaluation_mode: EvaluationMode = "eval"


@strict_dataclass
class CurvePoint:
    """Evaluation of a run: a line of curves.csv."""

    condition: str
    seed: int
    split: str
    step: int
    epoch: float
    loss_nats: float | None = None
    top1_error_pct: float
    evaluation_mode: EvaluationMode = "eval"


@strict_dataclass
class _RunKey:
    condition: str
    seed: int


@strict_dataclass
class _EpochKey(_RunKey):
    epoch: float
    images: int
    """Number of images of the batch."""


@strict_dataclass
class GradientNormRow(LayerNorms, _EpochKey):
    """Gradient norms of a layer after an epoch: a line of layers.csv."""


@strict_dataclass
class BlockRow(BlockAblation, _RunKey):
    """Block ablation of a run: a line of blocks.csv, if the study asks for it."""


@strict_dataclass
class DatasetInfo:
    """Data that some conditions share. Numbers of images are None until a run has recorded them."""

    conditions: tuple[str, ...]
    name: str
    about: str = ""
    """Remark about the images, for the report."""
    sha256: str
    classes: tuple[str, ...]
    class_share: float
    train_images: int
    available_train_images: int | None = None
    """Number of train images before `data.train_images` takes a part; None in older reports."""
    train_subset_images: int | None = None
    """Number of images of the fixed train subset whose loss is plotted."""
    validation_images: int | None = None
    test_images: int | None = None


@strict_dataclass
class Machine:
    """Hardware and software of runs."""

    version: str = ""
    commit: str = ""
    dirty: bool = False
    python: str = ""
    platform: str = ""
    processor: str = ""
    instruction_set: str = ""
    """Vector instructions that torch used; empty if an older version made the run."""
    device: str = ""
    packages: dict[str, str]
    runs: int
    """Number of planned runs that used this machine; a run that moved counts for both machines."""


@strict_dataclass
class ClaimVerdict:
    """Verdict on a claim in report.json, for other programs. A report computes it from the runs."""

    claim: str
    verdict: str
    """Verdict with its protocol: `at 4 % of the training: contradicted`."""
    direction: str = ""
    """Verdict on the direction, for a claim about a size."""
    training_share_low: float | None = None
    """Lowest share of its training, 0 to 1, of a condition of the claim; None: all or unknown."""
    training_share_high: float | None = None


@strict_dataclass
class QuestionAnswer:
    """Answer to a question of a source, in English (`en`) and in French (`fr`).

    A report writes it from the runs.
    """

    number: dict[str, str]
    """Number or place of the question in its source, by language."""
    source: str
    mark: str = ""
    """Mark that the source gives to the question: `star`, `bonus` or nothing."""
    statuses: tuple[str, ...] = ()
    """Result of each piece of evidence: `supported`, `not run`, `at 4 % of the training:
    inconclusive`; empty if the explanation alone answers the question.
    """
    question: dict[str, str]
    """Question by language."""
    measured: dict[str, str]
    """Sentences about the runs by language; empty if the question asks for none."""
    explanation: dict[str, str]
    """General explanation by language. It states no result of the runs."""
    values: dict[str, float] = field(default_factory=dict)
    """All numbers of the sentences about the runs, by name."""

    def text(self, language: str) -> str:
        """Return the answer in a language: what the runs show, and then the explanation."""
        return " ".join(filter(None, (self.measured[language], self.explanation[language])))


@strict_dataclass
class StudyData:
    """Evidence of a study: a report is built from it alone."""

    schema: int = SCHEMA
    study: Study
    data: tuple[DatasetInfo, ...]
    machines: tuple[Machine, ...] = ()
    numerics: tuple[Numerics, ...] = ()
    """Resolved numerics of the runs; there is one entry unless the runs used different ones."""
    began: str = ""
    """Start time of the first run, ISO 8601, UTC."""
    ended: str = ""
    command: str = ""
    """Command that repeats the study."""
    verdicts: tuple[ClaimVerdict, ...] = ()
    """Verdicts on the claims, in their order."""
    answers: tuple[QuestionAnswer, ...] = ()
    """Answers to the questions of the study's sources."""
    rows: tuple[RunRow, ...] = ()
    curve_points: tuple[CurvePoint, ...] = ()
    gradient_norms: tuple[GradientNormRow, ...] = ()
    blocks: tuple[BlockRow, ...] = ()
    ensembles: tuple[EnsembleRow, ...] = ()


def collect(record: StudyRecord, command: str = "") -> StudyData:
    """Collect the evidence of a study from the present state of its runs."""
    study = record.study
    modes = {condition.label: condition.evaluation_mode for condition in study.conditions}
    cells = [cell for condition in study.conditions for cell in record.runs_of(condition.label)]
    records = [cell.record for cell in cells if cell.record is not None]
    events = [event for run_record in records for event in run_record.provenance]
    times = sorted(str(event["time"]) for event in events if event.get("time"))
    return StudyData(
        study=_without_paths(study),
        data=_dataset_infos(cells),
        machines=_machines(records),
        numerics=tuple(dict.fromkeys(cell.run.file.run.numerics for cell in cells)),
        began=times[0] if times else "",
        ended=times[-1] if times else "",
        command=command,
        rows=tuple(_run_row(cell, modes[cell.run.condition]) for cell in cells),
        curve_points=tuple(
            point for cell in cells for point in _curve_points(cell, modes[cell.run.condition])
        ),
        gradient_norms=tuple(norm for cell in cells for norm in _gradient_norm_rows(cell, study)),
        blocks=tuple(block for cell in cells for block in _block_rows(cell, study)),
        ensembles=ensemble_rows(study.ensembles, cells),
    )


def _run_row(study_run: StudyRun, mode: EvaluationMode) -> RunRow:
    run, record = study_run.run, study_run.record
    result = record.result if record else None
    events = record.provenance if record else ()
    attempts = sum(event.get("event") in ("start", "resume") for event in events)
    parameters = run.file.parameters or None
    broken = [str(event["reason"]) for event in events if event.get("reason")]
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
        reason="; ".join(dict.fromkeys(broken)),
        evaluation_mode=mode,
    )
    if result is None:
        return row
    epochs = run.file.run.recipe.epochs_at(result.step, run.file.train_images)
    scores: dict[str, Any] = {}
    for split in ("test", "validation", "train"):
        if (evaluation := getattr(result, split)) is not None:
            scores[f"{split}_error_pct"] = _finite(evaluation.top1_error_pct)
            scores[f"{split}_loss_nats"] = _finite(evaluation.loss_nats)
            scores[f"{split}_top5_error_pct"] = _finite(evaluation.top5_error_pct)
    return replace(
        row,
        status=result.status,
        steps=result.step,
        epochs=row.epochs if epochs is None else epochs,
        train_seconds=result.train_seconds,
        evaluation_seconds=result.evaluation_seconds,
        images_per_second=result.images_per_second,
        reason="; ".join(dict.fromkeys(filter(None, (result.reason, *broken)))),
        **scores,
    )


def _curve_points(study_run: StudyRun, mode: EvaluationMode) -> Iterable[CurvePoint]:
    for line in study_run.record.metrics if study_run.record else ():
        yield CurvePoint(
            condition=study_run.run.condition,
            seed=study_run.run.seed,
            split=line.split,
            step=line.step,
            epoch=line.epoch,
            loss_nats=_finite(line.loss_nats),
            top1_error_pct=line.top1_error_pct,
            evaluation_mode=mode,
        )


def _gradient_norm_rows(study_run: StudyRun, study: Study) -> Iterable[GradientNormRow]:
    """Yield the norms of the epochs that this study asks for; a shared run may have more."""
    run: dict[str, Any] = {"condition": study_run.run.condition, "seed": study_run.run.seed}
    for norms in study_run.record.gradient_norms if study_run.record else ():
        if norms.epoch in study.diagnostics.gradient_norms:
            batch = run | {"epoch": norms.epoch, "images": norms.images}
            yield from (GradientNormRow(**batch, **vars(layer)) for layer in norms.layers)


def _block_rows(study_run: StudyRun, study: Study) -> Iterable[BlockRow]:
    if study.diagnostics.ablate_blocks and study_run.record and study_run.record.block_ablation:
        run = study_run.run
        for block in study_run.record.block_ablation.blocks:
            yield BlockRow(condition=run.condition, seed=run.seed, **vars(block))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _dataset_infos(study_runs: Iterable[StudyRun]) -> tuple[DatasetInfo, ...]:
    cells_by_data: dict[tuple[Any, ...], list[StudyRun]] = {}
    for cell in study_runs:
        file = cell.run.file
        key = (file.data_name, file.run.data, file.class_share, file.train_images)
        cells_by_data.setdefault(key, []).append(cell)
    return tuple(map(_dataset_info, cells_by_data.values()))


def _dataset_info(study_runs: Sequence[StudyRun]) -> DatasetInfo:
    """Return the data that these runs share."""
    file = study_runs[0].run.file
    results = [cell.record.result for cell in study_runs if cell.record and cell.record.result]

    def images(split: Split) -> int | None:
        scores = (getattr(result, split) for result in results)
        return next((score.images for score in scores if score is not None), None)

    return DatasetInfo(
        conditions=tuple(dict.fromkeys(cell.run.condition for cell in study_runs)),
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


def _without_paths(study: Study) -> Study:
    """Return the study with data and weights named without their folders.

    The folders of one machine are private, and they do not help to repeat the study on another one.
    """

    def without_folders(data: DataConfig) -> DataConfig:
        source = strip_folders(data.source)
        data = replace(data, source=source if source.strip("./\\") else "data")
        return data if data.split is None else replace(data, split=strip_folders(data.split))

    def bare(condition: Condition) -> Condition:
        data, model = condition.data, condition.model
        if isinstance(model, ExternalConfig):
            model = replace(model, weights=strip_folders(model.weights))
        file = condition.file_protocol
        if file is not None:
            file = replace(file, data=without_folders(file.data))
        return replace(condition, data=without_folders(data), model=model, file_protocol=file)

    return replace(study, conditions=tuple(map(bare, study.conditions)))


# Files
# --------------------------------------------------------------------------------------------------


DATA_FILES = (
    *("report.json", "results.csv", "curves.csv"),
    *("layers.csv", "blocks.csv", "ensembles.csv"),
)


def save(study_data: StudyData, folder: Path) -> None:
    """Write report.json, results.csv, curves.csv and optional files, each atomically."""
    without_tables = replace(
        study_data, rows=(), curve_points=(), gradient_norms=(), blocks=(), ensembles=()
    )
    (folder / CHECKSUMS).unlink(missing_ok=True)  # a kill leaves files without checksums
    files.write_json(folder / "report.json", {"schema": SCHEMA} | without_defaults(without_tables))
    files.write_text(folder / "results.csv", _to_csv(RunRow, study_data.rows))
    files.write_text(folder / "curves.csv", _to_csv(CurvePoint, study_data.curve_points))
    if study_data.gradient_norms:
        files.write_text(folder / "layers.csv", _to_csv(GradientNormRow, study_data.gradient_norms))
    if study_data.blocks:
        files.write_text(folder / "blocks.csv", _to_csv(BlockRow, study_data.blocks))
    if study_data.ensembles:
        files.write_text(folder / "ensembles.csv", _to_csv(EnsembleRow, study_data.ensembles))
    write_checksums(folder, DATA_FILES)


def load(folder: Path) -> StudyData:
    """Read the evidence that `save` wrote. Raises InputError that names the file and the field."""
    check_files(folder)
    path = folder / "report.json"
    table = files.read_json(path, files.MAX_GENERATED_BYTES)
    check_schema(table, str(path))
    evidence: StudyData = decode(StudyData, table, str(path))
    return replace(
        evidence,
        verdicts=(),  # they follow from the runs, as the answers do
        answers=(),
        rows=_read_csv(RunRow, folder / "results.csv"),
        curve_points=_read_csv(CurvePoint, folder / "curves.csv"),
        gradient_norms=_read_csv(GradientNormRow, folder / "layers.csv", optional=True),
        blocks=_read_csv(BlockRow, folder / "blocks.csv", optional=True),
        ensembles=_read_csv(EnsembleRow, folder / "ensembles.csv", optional=True),
    )


def _to_csv(row_type: type[Any], rows: Sequence[Any]) -> str:
    """Return rows as CSV. Only a study with two modes of evaluation has a column for the mode."""
    names = [field.name for field in dataclasses.fields(row_type)]
    if all(getattr(line, "evaluation_mode", "eval") == "eval" for line in rows):
        names = [name for name in names if name != "evaluation_mode"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(line, name) for name in names] for line in rows)
    return buffer.getvalue()


def _read_csv(row_type: type[T], path: Path, optional: bool = False) -> tuple[T, ...]:
    if optional and not path.exists():
        return ()
    hints = typing.get_type_hints(row_type)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise input_error(str(path), f"cannot be read: {error}", "restore it from a copy") from None
    rows: list[T] = []
    for number, line in enumerate(lines, start=2):
        where = f"{path}:{number}"
        cells = {key: _parse_cell(hints.get(key), text, where, key) for key, text in line.items()}
        rows.append(decode(row_type, cells, where))
    return tuple(rows)


def _parse_cell(hint: Any, text: str, where: str, name: str) -> object:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text == "" and types.NoneType in kinds:
        return None
    try:
        return int(text) if int in kinds else float(text) if float in kinds else text
    except ValueError:
        raise input_error(
            where, "not a number", "restore the file from its commit", field=name, got=text
        ) from None
