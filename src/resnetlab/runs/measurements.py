"""Measurements of a run beside its evaluations, in the subfolder `diagnostics`. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from resnetlab.checksums import renewed_checksum
from resnetlab.files import MAX_GENERATED_BYTES, read_json, write_json
from resnetlab.inspection.diagnostics_records import BlockAblations, GradientNorms, LossLandscape
from resnetlab.runs.paths import BLOCK_ABLATION, GRADIENT_NORMS, LANDSCAPE, TRAIN_MODE
from resnetlab.runs.records import Evaluation, RunFile, TrainModeEvaluation
from resnetlab.schema import decode, encode

T = TypeVar("T")


@dataclass(frozen=True)
class RunMeasurements:
    """Requested measurements of the run in `folder`."""

    folder: Path

    def read_gradient_norms(self) -> tuple[GradientNorms, ...]:
        """Read the saved gradient norms of the layers, in order of steps."""
        paths = self.folder.glob(GRADIENT_NORMS.format(epoch="*"))
        files: list[GradientNorms] = [
            decode(GradientNorms, read_json(path, MAX_GENERATED_BYTES), str(path)) for path in paths
        ]
        return tuple(sorted(files, key=lambda gradients: gradients.step))

    def save_gradient_norms(self, gradients: GradientNorms) -> None:
        """Write the gradient norms of the layers after an epoch atomically."""
        write_json(self._gradient_norms_path(gradients), encode(gradients))

    def read_block_ablation(self) -> BlockAblations | None:
        """Read the block ablation, or return None if the run has none."""
        return self._read(BlockAblations, BLOCK_ABLATION)

    def save_block_ablation(self, ablations: BlockAblations) -> None:
        """Write the block ablation atomically."""
        self._save(BLOCK_ABLATION, ablations)

    def read_loss_landscape(self) -> LossLandscape | None:
        """Read the loss landscapes, or return None if the run has none."""
        return self._read(LossLandscape, LANDSCAPE)

    def save_loss_landscape(self, landscape: LossLandscape) -> None:
        """Write the loss landscapes atomically."""
        self._save(LANDSCAPE, landscape)

    def read_train_mode_evaluation(self) -> TrainModeEvaluation | None:
        """Read the evaluation in training mode, or return None if the run has none."""
        return self._read(TrainModeEvaluation, TRAIN_MODE)

    def append_train_mode(self, *evaluations: Evaluation) -> None:
        """Add evaluations in training mode to the curve of the run."""
        if evaluations:
            evaluation = self.read_train_mode_evaluation() or TrainModeEvaluation()
            curve = (*evaluation.curve, *evaluations)
            self.save_train_mode(replace(evaluation, curve=curve))

    def save_train_mode(self, evaluation: TrainModeEvaluation) -> None:
        """Write the evaluation in training mode atomically."""
        self._save(TRAIN_MODE, evaluation)

    def lacks_any(self, file: RunFile) -> bool:
        """Return True if `file` requests a measurement that a finished run can still get and lacks.

        Gradient norms are not among them: they are measured while the run trains.
        """
        lacks = (self.lacks_block_ablation, self.lacks_loss_landscape, self.lacks_train_mode)
        return any(lacks_measurement(file) for lacks_measurement in lacks)

    def lacks_block_ablation(self, file: RunFile) -> bool:
        """Return True if `file` requests a block ablation and there is none, or none of sets."""
        if not file.diagnostics.measures_blocks:
            return False
        if not (self.folder / BLOCK_ABLATION).exists():
            return True
        ablations = self.read_block_ablation() if file.diagnostics.ablate_sets else None
        return ablations is not None and ablations.lacks_sets

    def lacks_loss_landscape(self, file: RunFile) -> bool:
        """Return True if `file` requests loss landscapes and there are none of this size."""
        if (config := file.diagnostics.loss_landscape) is None:
            return False
        landscape = self.read_loss_landscape()
        return landscape is None or not landscape.fulfills(config, file.train_images)

    def lacks_train_mode(self, file: RunFile) -> bool:
        """Return True if `file` requests final scores in training mode and there are none."""
        if not file.diagnostics.train_mode:
            return False
        evaluation = self.read_train_mode_evaluation()
        return evaluation is None or evaluation.status is None

    def discard_after(self, step: int) -> None:
        """Remove what was measured after `step`, from which the run is resumed."""
        for name in (BLOCK_ABLATION, LANDSCAPE):  # made after the last step
            (self.folder / name).unlink(missing_ok=True)
        if step < 0:  # also files that cannot be read
            for path in self.folder.glob(GRADIENT_NORMS.format(epoch="*")):
                path.unlink()
        for gradients in self.read_gradient_norms():
            if gradients.step > step:
                self._gradient_norms_path(gradients).unlink()
        if (evaluation := self.read_train_mode_evaluation()) is not None:
            curve = tuple(line for line in evaluation.curve if line.step <= step)
            self.save_train_mode(TrainModeEvaluation(curve=curve))

    def file_names(self) -> Iterator[str]:
        """Yield the paths of all files in the folder of the run."""
        for path in (self.folder / "diagnostics").glob("*.json"):
            yield f"diagnostics/{path.name}"

    def _gradient_norms_path(self, gradients: GradientNorms) -> Path:
        return self.folder / GRADIENT_NORMS.format(epoch=f"{gradients.epoch:g}")

    def _read(self, record_type: type[T], name: str) -> T | None:
        """Read a record of measurements, or return None if the run has none."""
        path = self.folder / name
        if not path.exists():
            return None
        record: T = decode(record_type, read_json(path, MAX_GENERATED_BYTES), str(path))
        return record

    def _save(self, name: str, record: Any) -> None:
        """Write a record of measurements atomically. A file that was removed is replaced."""
        path = self.folder / name
        with renewed_checksum(self.folder, name, replaced=not path.exists()):
            write_json(path, encode(record))
