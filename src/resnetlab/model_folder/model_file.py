"""Content of model.json: everything that a program needs to use the weights.

Free of torch.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.models.configs import ModelConfig
from resnetlab.models.weight_licenses import CommercialUse, commercial_use
from resnetlab.schema import SCHEMA, NonNegativeInt, PositiveInt, strict_dataclass
from resnetlab.schema_errors import FieldError

WEIGHTS_FILE, MODEL_FILE, CARD_FILE = "model.safetensors", "model.json", "README.md"
"""Names of the files of a model folder; timm and Hugging Face expect the first and the last."""

OLD_WEIGHTS_FILE = "weights.safetensors"
"""Name of the weights in older model folders, in runs and in the output of `import-weights`."""

TIMM_FILE = "config.json"
"""Name of timm's description of the network, for networks that timm can build."""


@strict_dataclass
class Metric:
    """Metric of these weights, measured by the run that the provenance names."""

    name: str
    """Name with its unit: `top1_error_pct`, `loss_nats`."""
    value: float
    """Measured value."""
    low: float | None = None
    """Lower end of the 95 % interval over `images`."""
    high: float | None = None
    """Upper end of the interval."""
    data: str
    """Name of a data set or a folder, without a path."""
    split: str = "test"
    """Split of the data that was evaluated."""
    images: PositiveInt
    """Number of evaluated images."""


@strict_dataclass
class License:
    """License of the weights, which every copy of them carries."""

    name: str = ""
    """SPDX identifier (`Apache-2.0`, `CC-BY-NC-4.0`); empty if it is unknown."""
    applies_to: str = ""
    """Subject of the license, if it is not the entire model: `the pre-trained weights of
    timm/mobilenetv2_100`.
    """
    source: str = ""
    """Source of this information."""

    @property
    def commercial_use(self) -> CommercialUse:
        """Permission of commercial use: allowed, forbidden or unknown."""
        return commercial_use(self.name)

    @property
    def non_commercial(self) -> bool:
        """True if the license forbids commercial use."""
        return self.commercial_use == "forbidden"

    def __str__(self) -> str:
        return f"{self.name or 'unknown'}{f' ({self.applies_to})' if self.applies_to else ''}"


@strict_dataclass
class ModelFile:
    """Content of model.json."""

    schema: int = SCHEMA
    """Version of the names in the file."""
    name: str
    model: ModelConfig
    """Model config without a path, since the weights are in the same folder."""
    classes: tuple[str, ...]
    """Class names in the order of the outputs."""
    eval_transform: EvalTransform
    """Evaluation transform of the input images."""
    weights_sha256: str = ""
    """SHA-256 of the weights; set when the folder is written."""
    license: License = License()
    """License of the weights."""
    caveats: tuple[str, ...] = ()
    """Caveats for the reader of the metrics: for example, the pre-training data contain the test
    images.
    """
    metrics: tuple[Metric, ...] = ()
    """Measured values of these weights."""
    parameters: NonNegativeInt = 0
    """Number of parameters; set when the folder is written."""
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """Origin of the weights: versions, machine, commit, and the SHA-256 of the data."""
    sha256: str = ""
    """SHA-256 of the other fields as JSON; set when the folder is written. Remove this field if you
    change another one on purpose.
    """

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise FieldError(
                "classes", f'"{twice}" occurs twice', "give each output a different name"
            )
        if len(self.classes) == 1:
            raise FieldError(
                "classes",
                "one output, whose probability is always 1",
                "give a network with an output for each class",
            )
        if not self.classes:
            raise FieldError("classes", "empty", "name the outputs in their order")
