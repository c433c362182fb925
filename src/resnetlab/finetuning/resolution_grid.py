"""FixRes over several resolutions: stage one once per train size, then stage two at each test size
(Touvron et al. 2019).

The frozen features are computed once for all train sizes, since stage two uses the same
draws for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.errors import input_error
from resnetlab.finetuning.confidence import write_model_confidence
from resnetlab.finetuning.evaluation import (
    accuracy_estimate,
    accuracy_metric,
    compare,
    predict_from_features,
)
from resnetlab.finetuning.job import FinetuneJob, save_model
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.finetuning.results import (
    CellStatus,
    PairedComparison,
    ResolutionCell,
    ResolutionTable,
    TrainResolution,
)
from resnetlab.finetuning.stage.stage_cache import StageCache, StageKey, StageLockedError, stage_key
from resnetlab.finetuning.stage.train_stage import StageCallbacks, StageResult, train_stage
from resnetlab.messages import ItemCallback, Notify, format_count, silent
from resnetlab.models.model_cost import count_parameters
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.runs.provenance import provenance_event
from resnetlab.training.memory import is_out_of_memory, peak_memory

StateDict = dict[str, Tensor]


@dataclass
class _Best:
    """Best pair of sizes by validation so far."""

    selection_key: tuple[float, float]
    sizes: tuple[int, int]
    state: StateDict
    test_predictions: SplitPredictions


@dataclass
class _ResolutionGrid:
    """Grid of train and test sizes under measurement, with the best pair so far."""

    job: FinetuneJob
    finetune_model: FinetuneModel
    cache: StageCache
    initial_key: StageKey
    should_stop: Callable[[], bool]
    notify: Notify
    initial_state: StateDict
    best: _Best | None = None
    same_size_predictions: dict[int, SplitPredictions] = field(default_factory=dict)
    """Predictions of stage one on test at the same size, by train size."""
    cached_seconds: float = 0.0
    """Training seconds of the stages that came from the cache."""

    def evaluate_row(
        self, train_size: int, test_sizes: tuple[int, ...]
    ) -> Iterator[TrainResolution | ResolutionCell]:
        """Train stage one at `train_size`, then yield its row and the cells of the row."""
        start, self.cached_seconds = time.monotonic(), 0.0
        row = TrainResolution(train_size=train_size)
        stage = self.job.recipe.resolved_stages[0]
        self.notify(f"train {train_size}: stage one begins")
        self.finetune_model.model.load_state_dict(self.initial_state)
        with peak_memory(self.finetune_model.device) as peak:
            try:
                transform = self.finetune_model.eval_transform(train_size)
                result = self._run_stage(
                    self.initial_key.with_stage(stage, transform),
                    {"train": transform, "test": transform},
                    self.should_stop,
                )
                row = replace(
                    row,
                    status="done" if result.complete else "not evaluated",
                    epochs=len(result.epochs),
                    best_epoch=result.best.epoch,
                    peak_bytes=result.peak_bytes,
                )
                summary = f"validation {result.best.accuracy_pct:.1f} %"
                if not result.complete:
                    summary = f"stopped after {format_count(len(result.epochs), 'epoch')}"
            except StageLockedError:
                summary = "stopped"
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                row, summary = replace(row, status="out of memory"), "out of memory"
        seconds = round(time.monotonic() - start + self.cached_seconds, 1)
        row = replace(row, seconds=seconds, peak_bytes=max(row.peak_bytes, peak.bytes))
        self.notify(f"train {train_size}: stage one, {summary}, {row.seconds:.0f} s")
        yield row
        state = self.finetune_model.clone_state()
        for test_size in test_sizes:
            if row.status != "done" or self.should_stop():
                status: CellStatus = (
                    "out of memory" if row.status == "out of memory" else "not evaluated"
                )
                yield ResolutionCell(train_size=train_size, test_size=test_size, status=status)
                continue
            yield self.evaluate_cell(train_size, test_size, state)

    def evaluate_cell(self, train_size: int, test_size: int, state: StateDict) -> ResolutionCell:
        """Evaluate stage one at `test_size`, then train and evaluate stage two from its weights.

        A cell that is stopped before the end of stage two is not evaluated.
        """
        start, self.cached_seconds = time.monotonic(), 0.0
        cell, previous_best = ResolutionCell(train_size=train_size, test_size=test_size), self.best
        self.notify(f"train {train_size}, test {test_size}: begins")
        self.finetune_model.model.load_state_dict(state)
        with peak_memory(self.finetune_model.device) as peak:
            try:
                cell = self._evaluate_stages(cell)
            except StageLockedError:
                pass
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.finetune_model.device.type == "cuda":
                    torch.cuda.empty_cache()
                cell = replace(cell, status="out of memory")
        if cell.status == "not evaluated":  # stopped before the end of stage two
            self.best = previous_best
            return cell
        cell = replace(
            cell,
            seconds=round(time.monotonic() - start + self.cached_seconds, 1),
            peak_bytes=peak.bytes,
        )
        estimates = cell.stage_two or cell.stage_one
        summary = f"validation {estimates[0].accuracy_pct:.1f} %" if estimates else cell.status
        self.notify(f"train {train_size}, test {test_size}: {summary}, {cell.seconds:.0f} s")
        return cell

    def _evaluate_stages(self, cell: ResolutionCell) -> ResolutionCell:
        photos, recipe, finetune_model = self.job.photos, self.job.recipe, self.finetune_model
        transforms = {
            "train": finetune_model.eval_transform(cell.train_size),
            "test": finetune_model.eval_transform(cell.test_size),
        }

        def predict() -> tuple[SplitPredictions, SplitPredictions]:
            """Predict validation and test with the present weights."""
            partitioned = finetune_model.partition_for_training("last norm", cell.test_size)
            validation, test = (
                predict_from_features(finetune_model, partitioned, split, transforms["test"])
                for split in (photos.validation, photos.test)
            )
            return validation, test

        first = predict()
        self._update_best(cell, first)
        if cell.train_size == cell.test_size:
            self.same_size_predictions[cell.train_size] = first[1]
        estimates = accuracy_estimate(first[0]), accuracy_estimate(first[1])
        unfinished, cell = cell, replace(cell, status="done", stage_one=estimates)
        if len(recipe.stages) < 2:
            return cell
        stage_one, stage_two = recipe.resolved_stages
        key = self.initial_key.with_stage(stage_one, transforms["train"]).with_stage(
            stage_two, transforms[stage_two.size]
        )
        if not self._run_stage(key, transforms, self.should_stop).complete:
            return unfinished
        second = predict()
        self._update_best(cell, second)
        estimates = accuracy_estimate(second[0]), accuracy_estimate(second[1])
        return replace(cell, stage_two=estimates, paired=compare(second[1], first[1]))

    def _run_stage(
        self, key: StageKey, transforms: dict[str, EvalTransform], should_stop: Callable[[], bool]
    ) -> StageResult:
        """Return the last stage of `key`, trained or from the cache."""
        start = time.monotonic()
        compute = partial(
            train_stage,
            self.finetune_model,
            key.stages[-1],
            self.job.photos,
            transforms,
            self.job.seed,
            callbacks=StageCallbacks(should_stop),
        )
        result = self.cache.load_or_train(key, self.finetune_model, compute, self.should_stop)
        self.cached_seconds = max(0.0, result.seconds - (time.monotonic() - start))
        return result

    def _update_best(
        self, cell: ResolutionCell, predictions: tuple[SplitPredictions, SplitPredictions]
    ) -> None:
        key = accuracy_estimate(predictions[0]).selection_key
        if self.best is None or key > self.best.selection_key:
            self.best = _Best(
                key,
                (cell.train_size, cell.test_size),
                self.finetune_model.clone_state(),
                predictions[1],
            )

    def update_table(
        self, table: ResolutionTable, entry: TrainResolution | ResolutionCell, seconds: float
    ) -> ResolutionTable:
        """Return the table with a new row or cell, and with the best pair of sizes so far."""
        if isinstance(entry, TrainResolution):
            rows = {row.train_size: row for row in table.rows} | {entry.train_size: entry}
            table = replace(table, rows=tuple(rows.values()))
        else:
            cells = {(cell.train_size, cell.test_size): cell for cell in table.cells}
            cells[entry.train_size, entry.test_size] = entry
            table = replace(table, cells=tuple(cells.values()))
        best = self.best.sizes if self.best else None
        paired = self._compare_best()
        return replace(table, best=best, best_paired=paired, seconds=round(seconds, 1))

    def _compare_best(self) -> PairedComparison | None:
        """Compare the best pair of sizes with stage one at its train size."""
        if self.best is None or self.best.sizes[0] not in self.same_size_predictions:
            return None
        size = self.best.sizes[0]
        paired = compare(self.best.test_predictions, self.same_size_predictions[size])
        return replace(paired, baseline=f"stage one, train and test {size}")

    def save_best(self, folder: Path) -> None:
        """Write the network of the best pair of sizes as a model folder."""
        assert self.best is not None
        self.finetune_model.model.load_state_dict(self.best.state)
        estimate = accuracy_estimate(self.best.test_predictions)
        metrics = (accuracy_metric("test", estimate, self.job.photos.name),)
        transform = self.finetune_model.eval_transform(self.best.sizes[1])
        save_model(self.job, self.finetune_model, transform, folder, metrics)
        write_model_confidence(self.job.photos, self.finetune_model, transform, folder, self.notify)


def measure_resolutions(
    job: FinetuneJob,
    train_sizes: tuple[int, ...],
    test_sizes: tuple[int, ...],
    model: Path,
    cache: StageCache,
    *,
    command: str,
    should_stop: Callable[[], bool] = lambda: False,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> Iterator[ResolutionTable]:
    """Yield the table after each row and cell, and write the best network to the folder `model`.

    Validation selects the best pair of sizes. Each cell is evaluated once on test, which selects
    nothing. Stages in `cache` are not trained again, but evaluated again. Raises InputError for a
    recipe of more than two stages, or for a size that the network does not accept.
    """
    if len(job.recipe.stages) > 2:
        raise input_error(
            job.recipe.name,
            "more than two stages",
            "give --recipe fixres, or --recipe proof-of-concept",
            field="stages",
        )
    if job.recipe.class_weights != "none" or job.recipe.sampler != "shuffled":
        message, fix = "fixres does not balance classes", "remove class_weights and sampler"
        raise input_error(job.recipe.name, message, fix)
    start = time.monotonic()
    finetune_model = job.setup_model(on_item=on_item)
    for size in sorted({*train_sizes, *test_sizes}):
        finetune_model.eval_transform(size)
    finetune_model.partition_for_training(job.recipe.stages[0].trainable, train_sizes[0])
    table = _empty_table(job, finetune_model, train_sizes, test_sizes, command)
    key = stage_key(finetune_model, job.photos.sha256, "none")
    grid = _ResolutionGrid(
        job, finetune_model, cache, key, should_stop, notify, finetune_model.clone_state()
    )
    for train_size in train_sizes:
        for entry in grid.evaluate_row(train_size, test_sizes):
            table = grid.update_table(table, entry, time.monotonic() - start)
            yield table
        if should_stop():
            break
    if grid.best is not None:
        grid.save_best(model)
    yield replace(table, seconds=round(time.monotonic() - start, 1))


def _empty_table(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    train_sizes: tuple[int, ...],
    test_sizes: tuple[int, ...],
    command: str,
) -> ResolutionTable:
    """Return the table before the first row, with its settings."""
    photos = job.photos
    provenance = provenance_event("fixres", 0, job.numerics, photos.sha256)
    return ResolutionTable(
        model=job.backbone.config.slug,
        recipe=job.recipe.name,
        data=photos.name,
        classes=len(photos.classes),
        images=(len(photos.train), len(photos.validation), len(photos.test)),
        seed=job.seed,
        chance_pct=100 * photos.class_share,
        rows=tuple(TrainResolution(train_size=size) for size in train_sizes),
        cells=tuple(
            ResolutionCell(train_size=train_size, test_size=test_size)
            for train_size in train_sizes
            for test_size in test_sizes
        ),
        best=None,
        best_paired=None,
        trainable_parameters=count_parameters(finetune_model.model, trainable=True),
        parameters=count_parameters(finetune_model.model),
        precision=job.numerics.precision,
        machine=str(provenance["processor"]),
        license=str(job.backbone.license),
        caveats=job.caveats,
        command=command,
        seconds=0.0,
        provenance=provenance,
    )
