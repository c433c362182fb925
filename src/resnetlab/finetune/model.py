"""Fine-tuning model: pre-trained weights, a new classifier, input normalization and cached
features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from resnetlab.data.device_images import Resident
from resnetlab.data.transforms.augment import normalise
from resnetlab.data.transforms.eval_transform import View, show
from resnetlab.errors import mistake
from resnetlab.finetune.dataset import Part
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.models.configs import External, Model
from resnetlab.models.external import external_facts
from resnetlab.models.transfer import (
    Trunk,
    adapt,
    check_side,
    classifier,
    cut,
    freeze,
    is_folded,
    last_norm,
    load_backbone,
    parts,
)
from resnetlab.models.weights import Facts, read_weights
from resnetlab.recipes.finetune import Trains
from resnetlab.recipes.numerics import Numerics
from resnetlab.training.device import autocast, layout
from resnetlab.training.distributed import ALONE, Team
from resnetlab.training.rng import stream

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels by channel, in [0, 1].

Most weights were trained with them.
"""

BATCH = 32
"""Batch size of the frozen part of a network."""

MEMO_BYTES = 3_000_000_000
"""Maximum size of the cache of constant features. Others are computed again."""


@dataclass
class Memo:
    """Cache of the features of a frozen trunk, by cut point and input, up to a size limit."""

    held: dict[tuple[object, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)
    bytes: int = 0

    def keep(self, key: tuple[object, ...], rows: Tensor, labels: Tensor) -> None:
        """Add features (B, F) and labels (B,) if the cache has room."""
        size = rows.numel() * rows.element_size()
        if self.bytes + size <= MEMO_BYTES:
            self.held[key] = rows, labels
            self.bytes += size

    def forget(self, at: str, learned: bool) -> None:
        """Remove the features of every cut point other than `at`, if a layer `learned` since they
        were computed.
        """
        for key in [key for key in self.held if learned and key[0] != at]:
            rows, _ = self.held.pop(key)
            self.bytes -= rows.numel() * rows.element_size()


@dataclass
class Halves:
    """Network split into a frozen trunk and a trainable tail.

    Without a trunk the tail is the entire network.
    """

    at: str
    trunk: Trunk | None
    tail: nn.Module


class Subject:
    """Pre-trained network with a new classifier for `classes`, on a device."""

    def __init__(
        self,
        spec: Model,
        weights: Path | None,
        classes: tuple[str, ...],
        seed: int,
        numerics: Numerics,
        device: torch.device,
        team: Team = ALONE,
        pulse: Pulse = silent,
    ) -> None:
        self.pulse = pulse
        self.spec, self.classes, self.numerics, self.device, self.team = (
            spec,
            classes,
            numerics,
            device,
            team,
        )
        self.seed = seed
        if weights is not None and isinstance(spec, External):
            self.spec = spec = replace(spec, weights=str(weights), sha256="")
        facts = external_facts(spec) if isinstance(spec, External) else Facts()
        model = adapt(spec, len(classes), lambda name: stream(seed, "init", name))
        if weights is not None and not isinstance(spec, External):
            tensors, facts = read_weights(weights)
            load_backbone(model, tensors, str(weights))
        self.mean, self.deviation = (facts.mean, facts.deviation) if facts.mean else IMAGENET
        self.model: nn.Module = model.to(device).to(memory_format=layout(numerics)).eval()
        self.memo = Memo()
        self._mean, self._deviation = (
            torch.tensor(values, device=device) for values in (self.mean, self.deviation)
        )

    def view(self, size: int, rule: str = "crop") -> View:
        """Return the evaluation transform for an image size.

        Raises InputError if the network does not accept it.
        """
        check_side(self.model, size, self.spec.slug)
        return View(rule=rule, size=size, mean=self.mean, deviation=self.deviation)  # type: ignore[arg-type]

    def halves(self, trains: Trains, side: int) -> Halves:
        """Split the network for training the part `trains`, and set train modes and
        `requires_grad`.

        The two parts share their modules with the network. Batch norm with folded statistics keeps
        its mean and variance and trains only its weight and bias. Raises InputError if no layer
        would be trainable.
        """
        where = self.spec.slug
        head_name, _ = classifier(self.model, where)
        at = head_name
        match trains:
            case "classifier":
                freeze(self.model, "backbone", where)
            case "last norm":
                freeze(self.model, "backbone", where)
                at = last_norm(self.model, side) or head_name
                self.model.get_submodule(at).train().requires_grad_(True)
            case "all":
                freeze(self.model, "none", where)
                at = ""
            case int():
                freeze(self.model, trains, where)
                at = parts(self.model)[trains][0] if trains else ""
            case _:
                assert_never(trains)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d) and is_folded(module):
                module.eval()
        split = cut(self.model, at, side) if at else None
        trunk, tail = split or (None, self.model)
        return Halves(at if split else "", trunk, tail)

    def images(self, pixels: Tensor) -> Tensor:
        """Convert uint8 pixels (B, H, W, C) on any device to normalized images (B, C, H, W) on the
        model's device.
        """
        images = normalise(pixels.to(self.device, non_blocking=True), self._mean, self._deviation)
        return images.contiguous(memory_format=layout(self.numerics))

    def rows(self, halves: Halves, pixels: Tensor) -> Tensor:
        """Compute the trunk's features (B, F) of uint8 pixels (B, H, W, C), or without a trunk
        images (B, C, H, W).
        """
        images = self.images(pixels)
        if halves.trunk is None:
            return images
        with torch.no_grad(), autocast(self.numerics):
            rows: Tensor = halves.trunk(images)
        return rows.float()

    def held(self, halves: Halves, part: Part, view: View) -> Resident:
        """Return the inputs of the tail for a split: trunk features if they fit in the cache, else
        uint8 pixels.
        """
        labels = torch.from_numpy(part.labels)
        key = (halves.at, view, tuple(row.sha256 for row in part.rows))
        if halves.trunk is not None and key in self.memo.held:
            return Resident(*self.memo.held[key])
        if view.rule == "whole":
            return self._whole(halves, part, view, labels)
        pixels = torch.from_numpy(part.shown(lambda image: show(image, view), self.pulse))
        if halves.trunk is None:
            return Resident(pixels, labels.to(self.device))
        first = self.rows(halves, pixels[:2])
        if first.shape[1] * 4 * len(part) + self.memo.bytes > MEMO_BYTES:
            return Resident(pixels, labels.to(self.device))
        batches = []
        for piece in torch.split(pixels, BATCH):
            batches.append(self.rows(halves, piece))
            self.pulse("features computed", min(len(batches) * BATCH, len(part)), len(part))
        rows = torch.cat(batches)
        self.memo.keep(key, rows, labels.to(self.device))
        return Resident(rows, labels.to(self.device))

    def _whole(self, halves: Halves, part: Part, view: View, labels: Tensor) -> Resident:
        """Compute the features of whole photographs one by one, since they differ in shape.

        Only the features before a classifier have the same shape for all of them.
        """
        if halves.trunk is None:
            what = "whole images differ in shape, and this network is not cut before its classifier"
            raise mistake(self.spec.slug, what, 'view = "crop"', field="view")
        rows = []
        for index in range(len(part)):
            rows.append(self.rows(halves, torch.from_numpy(show(part.load(index), view))[None]))
            self.pulse("features computed", index + 1, len(part))
        return Resident(torch.cat(rows), labels.to(self.device))

    def forward(
        self, halves: Halves, judge: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """Return a function from features or uint8 pixels to logits; `judge` maps the tail's inputs
        to logits.
        """
        return lambda inputs: judge(
            self.rows(halves, inputs) if inputs.dtype == torch.uint8 else inputs
        )
