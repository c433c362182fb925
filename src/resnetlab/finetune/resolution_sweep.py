"""FixRes sweep over resolutions: stage one once per train size, then stage two at each test size
(Touvron et al. 2019).

The features of a frozen trunk are computed once for all train sizes, since stage two uses the same
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

from resnetlab.data.transforms.eval_transform import View
from resnetlab.errors import mistake
from resnetlab.finetune.model import Subject
from resnetlab.finetune.pipeline import (
    Job,
    Scores,
    caveats,
    compare,
    look_of,
    merit,
    metric,
    save,
    scores_of,
)
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.finetune.results import Cell, Comparison, Row, Sizes
from resnetlab.finetune.stage import Fitted, fit
from resnetlab.finetune.stage_cache import Basis, Kept, TakenError, basis_of
from resnetlab.models.flops import parameters
from resnetlab.runs.provenance import provenance
from resnetlab.training.device import prepare
from resnetlab.training.memory import is_out_of_memory, peak_memory

Say = Callable[[str], None]
State = dict[str, Tensor]


@dataclass
class _Best:
    """Best pair of sizes by validation so far."""

    merit: tuple[float, float]
    pair: tuple[int, int]
    state: State
    test: Scores


@dataclass
class _Sweep:
    job: Job
    subject: Subject
    cache: Kept
    basis: Basis
    stop: Callable[[], bool]
    say: Say
    start: State
    best: _Best | None = None
    plain: dict[int, Scores] = field(default_factory=dict)
    """Predictions of stage one on test at the same size, by train size."""
    spared: float = 0.0
    """Training seconds of the stages that came from the cache."""

    def row(self, train_size: int, test_sizes: tuple[int, ...]) -> Iterator[Row | Cell]:
        """Train stage one at `train_size`, then yield its row and the cells of the row."""
        start, row, self.spared = time.monotonic(), Row(train_size=train_size), 0.0
        stage = self.job.tuning.due[0]
        self.say(f"train {train_size}: stage one begins")
        self.subject.model.load_state_dict(self.start)
        with peak_memory(self.subject.device) as peak:
            try:
                view = self.subject.view(train_size)
                views = {"train": view, "test": view}
                fitted = self._fitted(self.basis.then(stage, view), views, self.stop)
                row = replace(
                    row,
                    status="done",
                    epochs=len(fitted.epochs),
                    best_epoch=fitted.best.epoch,
                    peak_bytes=fitted.peak_bytes,
                )
                summary = f"validation {fitted.best.accuracy_pct:.1f} %"
            except TakenError:
                summary = "stopped"
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                row, summary = replace(row, status="out of memory"), "out of memory"
        seconds = round(time.monotonic() - start + self.spared, 1)
        row = replace(row, seconds=seconds, peak_bytes=max(row.peak_bytes, peak.bytes))
        self.say(f"train {train_size}: stage one, {summary}, {row.seconds:.0f} s")
        yield row
        state = _clone_state(self.subject)
        for test_size in test_sizes:
            if row.status != "done" or self.stop():
                status = "out of memory" if row.status == "out of memory" else "not evaluated"
                yield Cell(train_size=train_size, test_size=test_size, status=status)  # type: ignore[arg-type]
                continue
            yield self.cell(train_size, test_size, state)

    def cell(self, train_size: int, test_size: int, state: State) -> Cell:
        """Evaluate stage one at `test_size`, then train and evaluate stage two from its weights."""
        start, cell, self.spared = (
            time.monotonic(),
            Cell(train_size=train_size, test_size=test_size),
            0.0,
        )
        self.say(f"train {train_size}, test {test_size}: begins")
        self.subject.model.load_state_dict(state)
        with peak_memory(self.subject.device) as peak:
            try:
                cell = self._measured(cell)
            except TakenError:
                return cell
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.subject.device.type == "cuda":
                    torch.cuda.empty_cache()
                cell = replace(cell, status="out of memory")
        cell = replace(
            cell, seconds=round(time.monotonic() - start + self.spared, 1), peak_bytes=peak.bytes
        )
        estimates = cell.two or cell.one
        summary = f"validation {estimates[0].accuracy_pct:.1f} %" if estimates else cell.status
        self.say(f"train {train_size}, test {test_size}: {summary}, {cell.seconds:.0f} s")
        return cell

    def _measured(self, cell: Cell) -> Cell:
        photos, tuning, subject = self.job.photos, self.job.tuning, self.subject
        views = {"train": subject.view(cell.train_size), "test": subject.view(cell.test_size)}
        halves = subject.halves("last norm", cell.test_size)

        def predictions() -> tuple[Scores, Scores]:
            view = views["test"]
            return scores_of(subject, halves, photos.validation, view), scores_of(
                subject, halves, photos.test, view
            )

        first_scores = predictions()
        self._prefer(cell, first_scores)
        if cell.train_size == cell.test_size:
            self.plain[cell.train_size] = first_scores[1]
        cell = replace(
            cell, status="done", one=(look_of(first_scores[0]), look_of(first_scores[1]))
        )
        if len(tuning.stages) < 2:
            return cell
        first, second = tuning.due
        basis = self.basis.then(first, views["train"]).then(second, views[second.size])
        self._fitted(basis, views, lambda: False)
        halves = subject.halves("last norm", cell.test_size)
        second_scores = predictions()
        self._prefer(cell, second_scores)
        estimates = look_of(second_scores[0]), look_of(second_scores[1])
        return replace(cell, two=estimates, paired=compare(second_scores[1], first_scores[1]))

    def _fitted(self, basis: Basis, views: dict[str, View], stop: Callable[[], bool]) -> Fitted:
        """Return the last stage of `basis`, trained or from the cache."""
        start = time.monotonic()
        fitting = partial(
            fit, self.subject, basis.stages[-1], self.job.photos, views, self.job.seed, stop=stop
        )
        fitted = self.cache.stage(basis, self.subject, fitting, self.stop)
        self.spared = max(0.0, fitted.seconds - (time.monotonic() - start))
        return fitted

    def _prefer(self, cell: Cell, scores: tuple[Scores, Scores]) -> None:
        score = merit(look_of(scores[0]))
        if self.best is None or score > self.best.merit:
            self.best = _Best(
                score, (cell.train_size, cell.test_size), _clone_state(self.subject), scores[1]
            )


def sweep(
    job: Job,
    train_sizes: tuple[int, ...],
    test_sizes: tuple[int, ...],
    model: Path,
    cache: Kept,
    *,
    command: str,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    pulse: Pulse = silent,
) -> Iterator[Sizes]:
    """Yield the table after each row and cell, and write the best network to the folder `model`.

    Validation selects the best pair of sizes. Each cell is evaluated once on test, which selects
    nothing. Stages in `cache` are not trained again, but evaluated again. Raises InputError for a
    recipe of more than two stages, or for a size that the network does not accept.
    """
    if len(job.tuning.stages) > 2:
        raise mistake(
            job.tuning.name,
            "more than two stages",
            "--recipe fixres, or proof-of-concept",
            field="stages",
        )
    start = time.monotonic()
    device = prepare(job.numerics, job.device_index)
    subject = Subject(
        job.backbone.spec,
        job.backbone.weights,
        job.photos.classes,
        job.seed,
        job.numerics,
        device,
        pulse=pulse,
    )
    for size in sorted({*train_sizes, *test_sizes}):
        subject.view(size)
    subject.halves(job.tuning.stages[0].trains, train_sizes[0])
    trained, total = parameters(subject.model, trainable=True), parameters(subject.model)
    basis = basis_of(subject, job.photos.sha256, "none")
    progress = _Sweep(job, subject, cache, basis, stop, say, _clone_state(subject))
    rows = {size: Row(train_size=size) for size in train_sizes}
    cells = {(a, b): Cell(train_size=a, test_size=b) for a in train_sizes for b in test_sizes}
    line = provenance("fixres", 0, job.numerics, job.photos.sha256)

    def table() -> Sizes:
        photos, best = job.photos, progress.best
        paired: Comparison | None = None
        if best is not None and best.pair[0] in progress.plain:
            baseline = f"stage one, train and test {best.pair[0]}"
            paired = replace(compare(best.test, progress.plain[best.pair[0]]), baseline=baseline)
        return Sizes(
            model=job.backbone.spec.slug,
            recipe=job.tuning.name,
            data=photos.name,
            classes=len(photos.classes),
            images=(len(photos.train), len(photos.validation), len(photos.test)),
            seed=job.seed,
            chance_pct=100 * photos.chance,
            rows=tuple(rows.values()),
            cells=tuple(cells.values()),
            best=best.pair if best else None,
            best_paired=paired,
            trainable=trained,
            parameters=total,
            precision=job.numerics.precision,
            machine=str(line["processor"]),
            licence=str(job.backbone.licence),
            caveats=caveats(job),
            command=command,
            seconds=round(time.monotonic() - start, 1),
            provenance=line,
        )

    for train_size in train_sizes:
        for entry in progress.row(train_size, test_sizes):
            if isinstance(entry, Row):
                rows[train_size] = entry
            else:
                cells[entry.train_size, entry.test_size] = entry
            yield table()
        if stop():
            break
    if progress.best is not None:
        subject.model.load_state_dict(progress.best.state)
        look = look_of(progress.best.test)
        save(
            job,
            subject,
            subject.view(progress.best.pair[1]),
            model,
            (metric("test", look, job.photos.name),),
        )
    yield table()


def _clone_state(subject: Subject) -> State:
    return {name: tensor.detach().clone() for name, tensor in subject.model.state_dict().items()}
