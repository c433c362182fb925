"""Fine-tuning job: everything that determines the result, its network, and the model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.finetuning.dataset import PhotoDataset
from resnetlab.finetuning.network.backbones import Backbone
from resnetlab.finetuning.network.model import FinetuneModel
from resnetlab.messages import ItemCallback, format_count, silent
from resnetlab.model_folder.model_file import Metric, ModelFile
from resnetlab.model_folder.store import save_model_folder
from resnetlab.recipes.finetune import FinetuneRecipe
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.provenance import provenance_event
from resnetlab.schema import encode
from resnetlab.training.device import setup_device
from resnetlab.training.distributed import SINGLE_PROCESS, World

NO_TEST = (
    "without a test split (--no-test) nothing is independent: the validation images that selected "
    "the model also measure it, so its accuracy is optimistic"
)

MAX_LISTED_CLASSES = 10


@dataclass(frozen=True)
class FinetuneJob:
    """Fine-tuning job: everything that determines the result."""

    photos: PhotoDataset
    backbone: Backbone
    recipe: FinetuneRecipe
    seed: int
    numerics: Numerics
    """Resolved numerics, without `auto`."""
    device_index: int = 0
    """Index of the GPU, if one process does all the work."""
    identity: str = ""
    """Hash of what makes the model, in its provenance; only the model of the same is replaced."""
    selection: tuple[str, ...] = ()
    """Sentences about what validation selected before training."""

    @property
    def caveats(self) -> tuple[str, ...]:
        """Caveats that a reader of the numbers must know."""
        photos = self.photos
        untested = describe_untested(photos.untested_classes)
        no_test = "" if photos.has_test else NO_TEST
        lines = (photos.pretraining_overlap, untested, no_test, *self.selection)
        return tuple(line for line in lines if line)

    def class_weights(self, device: torch.device) -> Tensor | None:
        """Return the weight of each class in the loss (K,); None if the recipe has none."""
        if self.recipe.class_weights == "none":
            return None
        return balanced_class_weights(self.photos.train.labels, len(self.photos.classes)).to(device)

    def setup_model(
        self,
        world: World = SINGLE_PROCESS,
        on_item: ItemCallback = silent,
        features_folder: Path | None = None,
    ) -> FinetuneModel:
        """Set up the device of the job and return its network there, before the first stage.

        `features_folder` has the features before the classifier; None stores none.
        """
        return FinetuneModel(
            self.backbone.config,
            self.backbone.weights_path,
            self.photos.classes,
            self.seed,
            self.numerics,
            setup_device(self.numerics, world.local_rank if world.size > 1 else self.device_index),
            world,
            on_item,
            features_folder,
        )


def balanced_class_weights(labels: NDArray[np.int64], num_classes: int) -> Tensor:
    """Return balanced class weights (K,), N / (K n_k), which give each class the same weight in the
    loss.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return torch.from_numpy(len(labels) / (num_classes * np.maximum(counts, 1))).float()


def describe_untested(names: Sequence[str]) -> str:
    """Return a sentence about the classes without a test image, or "" if there are none."""
    if not names:
        return ""
    listed = ", ".join(names[:MAX_LISTED_CLASSES])
    rest = len(names) - MAX_LISTED_CLASSES
    more = f" and {rest:,} more" if rest > 0 else ""
    count = format_count(len(names), "class")
    return f"no test image of {count}, whose accuracy is unknown: {listed}{more}"


def save_model(
    job: FinetuneJob,
    finetune_model: FinetuneModel,
    transform: EvalTransform,
    folder: Path,
    metrics: tuple[Metric, ...],
    skipped: tuple[str, ...] = (),
) -> None:
    """Write the network with its present weights as a model folder; `skipped` has a caveat for
    each skipped stage.
    """
    provenance = provenance_event("finetune", 0, job.numerics, job.photos.sha256)
    file = ModelFile(
        name=folder.name,
        model=finetune_model.config,
        classes=job.photos.classes,
        eval_transform=transform,
        license=job.backbone.license,
        caveats=(
            *job.caveats,
            *finetune_model.assumptions,
            *skipped,
        ),
        metrics=metrics,
        provenance={
            "recipe": encode(job.recipe),
            "seed": job.seed,
            "data": job.photos.name,
            **({"identity": job.identity} if job.identity else {}),
            **provenance,
        },
    )
    save_model_folder(folder, finetune_model.model, file)
