"""model.json: all that must be known to use a network's weights. Free of torch."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from resnetlab.data.transforms.eval_transform import View
from resnetlab.models.configs import Model
from resnetlab.schema import FieldError, Positive, Whole, spec

SCHEMA = 1
WEIGHTS, FILE, CARD = "weights.safetensors", "model.json", "README.md"


@spec
class Metric:
    """Something that was measured with these weights, by a run that the provenance names."""

    name: str
    """With its unit: `top1_error_pct`, `loss_nats`."""
    value: float
    low: float | None = None
    """Ends of its 95 % interval over `images`."""
    high: float | None = None
    data: str
    """Of a data set or a folder; never a path."""
    split: str = "test"
    images: Positive


@spec
class Licence:
    """Under which others may use the weights; it travels with them wherever they go."""

    name: str = ""
    """As SPDX has it (`Apache-2.0`, `CC-BY-NC-4.0`); empty where nobody said."""
    of: str = ""
    """What it is the licence of, where that is not the whole: `the pre-trained weights of timm/mobilenetv2_100`."""
    source: str = ""
    """Where it is said."""

    @property
    def non_commercial(self) -> bool:
        """Whether commercial use is ruled out."""
        return "NC" in re.split(r"[^A-Z]+", self.name.upper())

    def __str__(self) -> str:
        return f"{self.name or 'not known'}{f' ({self.of})' if self.of else ''}"


@spec
class ModelFile:
    """model.json."""

    schema: int = SCHEMA
    name: str
    model: Model
    """Without a path: the weights lie beside this file."""
    classes: tuple[str, ...]
    """In the order of the outputs."""
    view: View
    """What is done to a photograph before the network sees it."""
    weights_sha256: str = ""
    """Filled in when the folder is written."""
    licence: Licence = Licence()
    caveats: tuple[str, ...] = ()
    """What a reader of any number below must know: where the pre-training saw the test images, say."""
    metrics: tuple[Metric, ...] = ()
    parameters: Whole = 0
    """Filled in when the folder is written."""
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise FieldError("classes", f'"{twice}" stands there twice', "give each output a name of its own")
        if not self.classes:
            raise FieldError("classes", "no class", "name the outputs in their order")
