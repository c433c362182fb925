"""What a report is built from, as plain values that can be committed and read back.

`report.json` holds the study, its data and the machines; `results.csv` a row a planned run; `curves.csv` a row an
evaluation; where the study asked for them, `layers.csv` a row a layer and epoch, `blocks.csv` a row a block,
`ensembles.csv` a row an ensemble. Judges nothing. Refuses to name a path of the machine on which the runs were made.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from resnetlab import files
from resnetlab.analysis.ensembles import Joint, joints
from resnetlab.data.config import Split
from resnetlab.errors import mistake
from resnetlab.inspection.diagnostics_config import BlockWorth, LayerNorms
from resnetlab.models.configs.external import External
from resnetlab.recipes.finetune import Tuning
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.records import RunRecord
from resnetlab.schema import decode, spec, without_defaults
from resnetlab.shell import last_part
from resnetlab.stats.outcomes import Outcome
from resnetlab.studies.plan import Cell, StudyRecord
from resnetlab.studies.study import Condition, Study

T = TypeVar("T")

SCHEMA = 1


@spec
class Row:
    """A planned run: a line of results.csv. Error in percent, loss in nats; empty where nothing was measured."""

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
    """Of data of more than ten classes."""
    validation_top5_error_pct: float | None = None
    train_top5_error_pct: float | None = None
    steps: int = 0
    epochs: float = 0.0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    images_per_second: float = 0.0
    parameters: int | None = None
    """Of the network; empty in reports of before they were counted."""
    attempts: int = 0
    """Times that the run was started or resumed."""
    run: str
    reason: str = ""


@spec
class Point:
    """An evaluation: a line of curves.csv."""

    condition: str
    seed: int
    split: str
    step: int
    epoch: float
    loss_nats: float | None = None
    top1_error_pct: float


@spec
class _OfRun:
    condition: str
    seed: int


@spec
class _OfEpoch(_OfRun):
    epoch: float
    images: int
    """Of the batch."""


@spec
class Norm(LayerNorms, _OfEpoch):
    """A layer after an epoch: a line of layers.csv, where the study asked for gradients."""


@spec
class Block(BlockWorth, _OfRun):
    """A block of a run: a line of blocks.csv, where the study asked to drop them."""


@spec
class DataFacts:
    """The data of some conditions; counts are None until a run has told them."""

    conditions: tuple[str, ...]
    name: str
    about: str = ""
    """What must be known of the images."""
    sha256: str
    classes: tuple[str, ...]
    class_share: float
    train_images: int
    train_subset_images: int | None = None
    """Of the fixed train subset whose loss is drawn."""
    validation_images: int | None = None
    test_images: int | None = None


@spec
class Machine:
    """Hardware and software that runs were made with."""

    version: str = ""
    commit: str = ""
    dirty: bool = False
    python: str = ""
    platform: str = ""
    processor: str = ""
    instruction_set: str = ""
    """The vector instructions that torch used; empty where an older version made the run."""
    device: str = ""
    packages: dict[str, str]
    runs: int
    """Planned runs that took part here; a run that moved counts on both."""


@spec
class Evidence:
    """All that a report says follows from this."""

    schema: int = SCHEMA
    study: Study
    data: tuple[DataFacts, ...]
    machines: tuple[Machine, ...] = ()
    numerics: tuple[Numerics, ...] = ()
    """Resolved; one, unless the study was moved."""
    began: str = ""
    """ISO 8601, UTC."""
    ended: str = ""
    command: str = ""
    """What a person types to repeat it."""
    rows: tuple[Row, ...] = ()
    points: tuple[Point, ...] = ()
    norms: tuple[Norm, ...] = ()
    blocks: tuple[Block, ...] = ()
    joints: tuple[Joint, ...] = ()


def gather(record: StudyRecord, command: str = "") -> Evidence:
    """The evidence of a study as its runs' folders hold it now."""
    cells = [cell for condition in record.study.conditions for cell in record.of(condition.label)]
    records = [cell.record for cell in cells if cell.record is not None]
    times = sorted(str(event["time"]) for held in records for event in held.provenance if event.get("time"))
    return Evidence(
        study=_without_paths(record.study),
        data=_data_facts(cells),
        machines=_machines(records),
        numerics=tuple(dict.fromkeys(cell.run.file.run.numerics for cell in cells)),
        began=times[0] if times else "",
        ended=times[-1] if times else "",
        command=command,
        rows=tuple(_row(cell) for cell in cells),
        points=tuple(point for cell in cells for point in _points(cell)),
        norms=tuple(norm for cell in cells for norm in _norms(cell, record.study)),
        blocks=tuple(block for cell in cells for block in _blocks(cell, record.study)),
        joints=joints(record.study.ensembles, cells),
    )


def _row(cell: Cell) -> Row:
    run, held = cell.run, cell.record
    result = held.result if held else None
    events = held.provenance if held else ()
    attempts = sum(event.get("event") in ("start", "resume") for event in events)
    parameters = run.file.parameters or None
    broken = dict.fromkeys(str(event["reason"]) for event in events if event.get("reason"))
    status: Outcome = result.status if result else "waiting" if cell.state == "finished" else cell.state
    if result is None:
        last = held.metrics[-1] if held and held.metrics else None
        return Row(
            condition=run.condition, seed=run.seed, status=status, run=run.id, attempts=attempts, parameters=parameters,
            steps=last.step if last else 0, epochs=last.epoch if last else 0.0, reason="; ".join(broken),
        )  # fmt: skip
    recipe, last = run.file.run.recipe, held.metrics[-1] if held and held.metrics else None
    # The batches of the stages of a fine-tuning may differ, so that its steps do not tell its epochs.
    tuned = last.epoch if last else 0.0
    per_epoch = 0 if isinstance(recipe, Tuning) else recipe.steps_per_epoch(run.file.train_images)
    scores = {
        f"{split}_{name}": _finite(getattr(held_scores, field))
        for split, held_scores in (("test", result.test), ("validation", result.validation), ("train", result.train))
        if held_scores is not None
        for name, field in (
            ("error_pct", "top1_error_pct"),
            ("loss_nats", "loss_nats"),
            ("top5_error_pct", "top5_error_pct"),
        )
    }
    return Row(
        condition=run.condition, seed=run.seed, status=status, run=run.id, attempts=attempts, parameters=parameters,
        steps=result.step, epochs=result.step / per_epoch if per_epoch else tuned, train_seconds=result.train_seconds,
        evaluation_seconds=result.evaluation_seconds, images_per_second=result.images_per_second,
        reason="; ".join(dict.fromkeys([*([result.reason] if result.reason else []), *broken])), **scores,
    )  # fmt: skip


def _points(cell: Cell) -> Iterable[Point]:
    for line in cell.record.metrics if cell.record else ():
        yield Point(
            condition=cell.run.condition, seed=cell.run.seed, split=line.split, step=line.step, epoch=line.epoch,
            loss_nats=_finite(line.loss_nats), top1_error_pct=line.top1_error_pct,
        )  # fmt: skip


def _norms(cell: Cell, study: Study) -> Iterable[Norm]:
    """Of the epochs that this study asks for; another that shares the run may ask for more."""
    for held in cell.record.gradients if cell.record else ():
        if held.epoch in study.instruments.gradients:
            for layer in held.layers:
                yield Norm(
                    condition=cell.run.condition, seed=cell.run.seed, epoch=held.epoch, images=held.images,
                    **vars(layer),
                )  # fmt: skip


def _blocks(cell: Cell, study: Study) -> Iterable[Block]:
    if study.instruments.drop_blocks and cell.record and cell.record.dropped:
        for block in cell.record.dropped.blocks:
            yield Block(condition=cell.run.condition, seed=cell.run.seed, **vars(block))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _data_facts(cells: Iterable[Cell]) -> tuple[DataFacts, ...]:
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        file = cell.run.file
        found.setdefault((file.data_name, file.run.data, file.class_share, file.train_images), []).append(cell)
    return tuple(map(_facts, found.values()))


def _facts(cells: Sequence[Cell]) -> DataFacts:
    """The data that these runs share."""
    file = cells[0].run.file
    results = [cell.record.result for cell in cells if cell.record is not None and cell.record.result is not None]

    def images(split: Split) -> int | None:
        return next((scores.images for result in results if (scores := getattr(result, split)) is not None), None)

    return DataFacts(
        conditions=tuple(dict.fromkeys(cell.run.condition for cell in cells)), name=file.data_name,
        about=file.data_about, sha256=file.run.data.sha256, classes=file.classes, class_share=file.class_share,
        train_images=file.train_images, train_subset_images=images("train"), validation_images=images("validation"),
        test_images=images("test"),
    )  # fmt: skip


def _machines(records: Iterable[RunRecord]) -> tuple[Machine, ...]:
    """Every setting under which a run was started or resumed, the most used first."""
    runs: dict[str, tuple[Machine, set[str]]] = {}
    names = ("version", "commit", "dirty", "python", "platform", "processor", "instruction_set", "device")
    for held in records:
        for event in held.provenance:
            if event.get("event") in ("start", "resume"):
                said = {name: event[name] for name in names if event.get(name) is not None}
                machine = Machine(packages=dict(sorted(event.get("packages", {}).items())), runs=0, **said)
                runs.setdefault(repr(machine), (machine, set()))[1].add(held.id)
    return tuple(replace(machine, runs=len(ids)) for machine, ids in sorted(runs.values(), key=lambda it: -len(it[1])))


def _without_paths(study: Study) -> Study:
    """Data and weights by name alone: where they lay is nobody's business and repeats nothing elsewhere."""

    def bare(condition: Condition) -> Condition:
        data, model = condition.data, condition.model
        source = last_part(data.source)
        data = replace(data, source=source if source.strip("./\\") else "data")
        if data.split is not None:
            data = replace(data, split=last_part(data.split))
        if isinstance(model, External):
            model = replace(model, weights=last_part(model.weights))
        return replace(condition, data=data, model=model)

    return replace(study, conditions=tuple(map(bare, study.conditions)))


# Files ----------------------------------------------------------------------------------------------------------------


def save(evidence: Evidence, folder: Path) -> None:
    """Write `report.json`, `results.csv` and `curves.csv`, and what instruments measured, each whole or not at all."""
    bare = replace(evidence, rows=(), points=(), norms=(), blocks=(), joints=())
    files.write_json(folder / "report.json", without_defaults(bare))
    files.write_text(folder / "results.csv", _csv(Row, evidence.rows))
    files.write_text(folder / "curves.csv", _csv(Point, evidence.points))
    if evidence.norms:
        files.write_text(folder / "layers.csv", _csv(Norm, evidence.norms))
    if evidence.blocks:
        files.write_text(folder / "blocks.csv", _csv(Block, evidence.blocks))
    if evidence.joints:
        files.write_text(folder / "ensembles.csv", _csv(Joint, evidence.joints))


def load(folder: Path) -> Evidence:
    """The evidence that `save` wrote. Raises InputError that names the file and the field."""
    path = folder / "report.json"
    held: Evidence = decode(Evidence, files.read_json(path, files.MAX_OWN_BYTES), str(path))
    if held.schema != SCHEMA:
        raise mistake(str(path), "of another resnetlab", "install the version that wrote it", field="schema")
    return replace(
        held,
        rows=_read_csv(Row, folder / "results.csv"),
        points=_read_csv(Point, folder / "curves.csv"),
        norms=_read_csv(Norm, folder / "layers.csv", optional=True),
        blocks=_read_csv(Block, folder / "blocks.csv", optional=True),
        joints=_read_csv(Joint, folder / "ensembles.csv", optional=True),
    )


def _csv(form: type[Any], lines: Iterable[Any]) -> str:
    names = [field.name for field in dataclasses.fields(form)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(line, name) for name in names] for line in lines)
    return buffer.getvalue()


def _read_csv(form: type[T], path: Path, optional: bool = False) -> tuple[T, ...]:
    if optional and not path.exists():
        return ()
    hints = typing.get_type_hints(form)
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    found: list[T] = []
    for number, line in enumerate(lines, start=2):
        where = f"{path}:{number}"
        found.append(
            decode(form, {name: _cell(hints.get(name), text, where, name) for name, text in line.items()}, where)
        )
    return tuple(found)


def _cell(hint: Any, text: str, where: str, name: str) -> object:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text == "" and types.NoneType in kinds:
        return None
    try:
        return int(text) if int in kinds else float(text) if float in kinds else text
    except ValueError:
        raise mistake(where, "not a number", "restore the file from its commit", field=name, got=text) from None
