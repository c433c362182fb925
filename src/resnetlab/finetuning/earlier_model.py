"""Model of an earlier call of the same fine-tuning, which a shorter call must not replace.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnetlab.errors import InputError
from resnetlab.files import read_json
from resnetlab.finetuning.results import FinetuneResult
from resnetlab.model_folder.model_file import MODEL_FILE
from resnetlab.schema import decode


@dataclass(frozen=True)
class EarlierModel:
    """Model in the folder of a fine-tuning, from an earlier call with the same settings."""

    folder: Path
    record: FinetuneResult | None
    """Record of the earlier call; None if it did not end."""
    planned_stages: int
    """Number of stages of the recipe."""

    @property
    def other_folder(self) -> Path:
        """Folder of the new model until it is complete, and if the earlier one is kept."""
        return self.folder.with_name(f"{self.folder.name}-shorter")

    def must_stay(self, new: FinetuneResult) -> bool:
        """Return True if the new model must not replace the earlier one.

        A model that was cut short, by its time limit or a stop, replaces only a model that was cut
        short too and has no higher validation accuracy.
        """
        if self.record is None or not self._is_cut_short(new):
            return False
        earlier, accuracy = self.record.validation, new.validation.selection_key
        return not self._is_cut_short(self.record) or earlier.selection_key > accuracy

    def _is_cut_short(self, record: FinetuneResult) -> bool:
        complete = [stage for stage in record.stages if stage.complete]
        return bool(record.time_limit_cuts) or len(complete) < self.planned_stages

    def note(self, new: FinetuneResult) -> str:
        """Return the sentence about an earlier model that is kept."""
        assert self.record is not None
        return (
            f"{self.folder} keeps its model from before (validation "
            f"{self.record.validation.accuracy_pct:.1f} %), because this fine-tuning was cut "
            f"short (validation {new.validation.accuracy_pct:.1f} %); the new model is in "
            f"{self.other_folder}"
        )


def find_earlier_model(
    model_folder: Path, report_folder: Path, planned_stages: int
) -> EarlierModel | None:
    """Return the model in the folder of a fine-tuning; None if there is none."""
    if not (model_folder / MODEL_FILE).is_file():
        return None
    path = report_folder / "finetune.json"
    try:
        record: FinetuneResult | None = decode(FinetuneResult, read_json(path), str(path))
    except (InputError, OSError):  # the earlier call was killed, or its report was removed
        record = None
    return EarlierModel(model_folder, record, planned_stages)
