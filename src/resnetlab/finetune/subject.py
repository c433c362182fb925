"""The network that is being fitted: pre-trained weights, a new classifier, and how it is shown photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from resnetlab.data.augment import normalise
from resnetlab.data.resident import Resident
from resnetlab.data.view import View, show
from resnetlab.errors import mistake
from resnetlab.finetune.photographs import Part
from resnetlab.finetune.progress import Pulse, silent
from resnetlab.models.pretrained import external_facts
from resnetlab.models.spec import External, Model
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
from resnetlab.training.accelerate import autocast, layout
from resnetlab.training.numerics import Numerics
from resnetlab.training.random import stream
from resnetlab.training.team import ALONE, Team
from resnetlab.training.tuning import Trains

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation a channel of ImageNet's pixels, from 0 to 1: what most weights were trained with."""

BATCH = 32
"""Images that pass a frozen part at a time."""

MEMO_BYTES = 3_000_000_000
"""Of constant features that are kept; beyond it they are computed again."""


@dataclass
class Memo:
    """Rows that a frozen trunk gave, by its cut and what they were made from; nothing above a bound is kept."""

    held: dict[tuple[object, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)
    bytes: int = 0

    def keep(self, key: tuple[object, ...], rows: Tensor, labels: Tensor) -> None:
        """Keep rows (B, F) and labels (B,) if there is room."""
        size = rows.numel() * rows.element_size()
        if self.bytes + size <= MEMO_BYTES:
            self.held[key] = rows, labels
            self.bytes += size

    def forget(self, at: str, learned: bool) -> None:
        """What lies before the cut `at` is as it was; rows of any other cut are forgotten if something `learned`."""
        for key in [key for key in self.held if learned and key[0] != at]:
            rows, _ = self.held.pop(key)
            self.bytes -= rows.numel() * rows.element_size()


@dataclass
class Halves:
    """A network as what is frozen and what learns; without a trunk all of it is the tail."""

    at: str
    trunk: Trunk | None
    tail: nn.Module


class Subject:
    """A pre-trained network with a classifier for `classes`, on a device."""

    def __init__(
        self, spec: Model, weights: Path | None, classes: tuple[str, ...], seed: int, numerics: Numerics,
        device: torch.device, team: Team = ALONE, pulse: Pulse = silent,
    ) -> None:  # fmt: skip
        self.pulse = pulse
        self.spec, self.classes, self.numerics, self.device, self.team = spec, classes, numerics, device, team
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
        self._mean, self._deviation = (torch.tensor(held, device=device) for held in (self.mean, self.deviation))

    def view(self, size: int, rule: str = "crop") -> View:
        """How a photograph is shown in evaluation. Raises InputError when the network takes no such size."""
        check_side(self.model, size, self.spec.slug)
        return View(rule=rule, size=size, mean=self.mean, deviation=self.deviation)  # type: ignore[arg-type]

    def halves(self, trains: Trains, side: int) -> Halves:
        """The network cut for what `trains`, its modes and gradients set; shares all modules with the whole.

        Batch norm whose statistics were folded away keeps the mean and variance that it has, and trains its weight and
        bias alone. Raises InputError where nothing would be left to train.
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
        found = cut(self.model, at, side) if at else None
        trunk, tail = found or (None, self.model)
        return Halves(at if found else "", trunk, tail)

    def images(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, C) anywhere to what the network takes, (B, C, H, W) on the device."""
        shown = normalise(pixels.to(self.device, non_blocking=True), self._mean, self._deviation)
        return shown.contiguous(memory_format=layout(self.numerics))

    def rows(self, halves: Halves, pixels: Tensor) -> Tensor:
        """What the frozen trunk gives for uint8 pixels (B, H, W, C): (B, F); without a trunk, images (B, C, H, W)."""
        shown = self.images(pixels)
        if halves.trunk is None:
            return shown
        with torch.no_grad(), autocast(self.numerics):
            rows: Tensor = halves.trunk(shown)
        return rows.float()

    def held(self, halves: Halves, part: Part, view: View) -> Resident:
        """A split as the tail takes it: rows of the trunk where they are constant and fit, else uint8 pixels."""
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
        found = []
        for piece in torch.split(pixels, BATCH):
            found.append(self.rows(halves, piece))
            self.pulse("features computed", min(len(found) * BATCH, len(part)), len(part))
        rows = torch.cat(found)
        self.memo.keep(key, rows, labels.to(self.device))
        return Resident(rows, labels.to(self.device))

    def _whole(self, halves: Halves, part: Part, view: View, labels: Tensor) -> Resident:
        """Whole photographs differ in shape: they pass one by one, and only a classifier's rows are all alike."""
        if halves.trunk is None:
            what = "whole images differ in shape, and this network is not cut before its classifier"
            raise mistake(self.spec.slug, what, 'view = "crop"', field="view")
        rows = []
        for place in range(len(part)):
            rows.append(self.rows(halves, torch.from_numpy(show(part.load(place), view))[None]))
            self.pulse("features computed", place + 1, len(part))
        return Resident(torch.cat(rows), labels.to(self.device))

    def forward(self, halves: Halves, judge: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """What gives the logits of what `held` holds."""
        return lambda held: judge(self.rows(halves, held) if held.dtype == torch.uint8 else held)
