"""Where a network looked: Grad-CAM (Selvaraju et al. 2017), as a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from resnetlab.data.view import show
from resnetlab.deploy.asked import check_label
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import mistake

PHOTO_SHARE = 0.55
"""Of the photograph in the picture; the rest is heat."""

BATCH = 8
"""Photographs whose gradients are computed together."""

TURBO = (
    "30123b 392a73 4040a2 4456c7 466be3 4680f6 4294ff 37a8fa 28bceb 1ccdd8 18ddc2 1fe9af 32f298 4ef97d 6dfe62 8bff4b "
    "a4fc3c b7f735 cbed34 dde037 ecd13a f7c13a fdae35 fe992c fb8122 f56918 ec530f e14109 d23105 c12302 ac1701 950d01 "
    "7a0403"
)
"""Every eighth colour of the map of that name (Mikhailov 2019), from no heat to the most."""

_TINY = 1e-7


@dataclass(frozen=True)
class Explanation:
    """What spoke for a class, and where."""

    label: str
    probability: float
    layer: str
    """The last that still has places: whose features are weighed."""
    shown: NDArray[np.uint8]
    """What the network saw (H, W, C)."""
    heat: NDArray[np.float32]
    """(H, W), 0 to 1: how much each place spoke for the class; all 0 where none did."""

    def overlay(self) -> Image.Image:
        """The heat on what the network saw."""
        photo = np.broadcast_to(self.shown, (*self.heat.shape, 3)) / 255
        mixed = PHOTO_SHARE * photo + (1 - PHOTO_SHARE) * colours(self.heat) / 255
        return Image.fromarray((255 * mixed / max(float(mixed.max()), _TINY)).astype(np.uint8))

    def picture(self) -> Image.Image:
        """What the network saw, and the heat on it, side by side."""
        height, width = self.heat.shape
        both = Image.new("RGB", (2 * width, height))
        both.paste(Image.fromarray(self.shown.squeeze()), (0, 0))
        both.paste(self.overlay(), (width, 0))
        return both


@dataclass
class Explainer:
    """Explains photographs by one model. The stage whose features it weighs is looked for once a size of image."""

    model: Classifier
    stages: dict[torch.Size, tuple[str, nn.Module]] = field(default_factory=dict)

    def explain(self, shown: Sequence[NDArray[np.uint8]], labels: Sequence[str]) -> Iterator[Explanation]:
        """Why the model calls each photograph by its label, or by what it calls it where that is empty.

        `shown` has the pixels (H, W, C) that the network is shown of each, as `data.view.show` gives them. The answers
        come in order, a few at a time. Raises InputError for a class that the model lacks, and for a network without a
        convolutional stage.
        """
        for label in labels:
            check_label(label, self.model.classes)
        for start in range(0, len(shown), BATCH):
            part = range(start, min(start + BATCH, len(shown)))
            alike = defaultdict(list)  # whole photographs differ in shape
            for place in part:
                alike[shown[place].shape].append(place)
            found: dict[int, Explanation] = {}
            for places in alike.values():
                pixels, wanted = np.stack([shown[place] for place in places]), [labels[place] for place in places]
                found |= zip(places, self._alike(pixels, wanted), strict=True)
            yield from (found[place] for place in part)

    def _alike(self, shown: NDArray[np.uint8], labels: Sequence[str]) -> Iterator[Explanation]:
        """Photographs as the network is shown them, (N, H, W, C), all of one shape."""
        images, classes = self.model.images(shown), self.model.classes
        if images.shape[1:] not in self.stages:
            self.stages[images.shape[1:]] = last_stage(self.model.module, images[:1], self.model.file.name)
        name, stage = self.stages[images.shape[1:]]
        features, logits = seen(self.model.module, stage, images)
        probabilities = logits.detach().double().softmax(1).cpu().numpy()
        wanted = [
            classes.index(label) if label else int(row.argmax())
            for label, row in zip(labels, probabilities, strict=True)
        ]
        heat = grad_cam(features, logits, wanted, (images.shape[2], images.shape[3]))
        for place, index in enumerate(wanted):
            yield Explanation(classes[index], float(probabilities[place, index]), name, shown[place], heat[place])


def explain(model: Classifier, image: Image.Image, label: str = "") -> Explanation:
    """Why the model calls a decoded photograph `label`, by default what it calls it. Raises as `Explainer.explain`."""
    return next(Explainer(model).explain([show(image, model.file.view)], [label]))


def grad_cam(features: Tensor, logits: Tensor, classes: Sequence[int], side: tuple[int, int]) -> NDArray[np.float32]:
    """The heat (N, H, W), 0 to 1, of a class an image: Selvaraju et al. 2017, eq. 1 and 2, resized to `side` (H, W).

    `features` (N, C, h, w) are those from which `logits` (N, K) were computed. Each map of features weighs as much as
    the logit's mean gradient over its places; what speaks against the class is cut off.
    """
    chosen = logits[torch.arange(len(logits)), torch.tensor(classes)]
    (gradient,) = torch.autograd.grad(chosen.sum(), features)
    with torch.no_grad():
        weights = gradient.mean((2, 3), keepdim=True)
        heat = F.relu((weights * features).sum(1, keepdim=True)).float()
        heat = heat - heat.amin((2, 3), keepdim=True)
        heat = heat / (_TINY + heat.amax((2, 3), keepdim=True))
        heat = F.interpolate(heat, size=side, mode="bilinear", align_corners=False)
        heat = heat - heat.amin((2, 3), keepdim=True)
        heat = heat / (_TINY + heat.amax((2, 3), keepdim=True))
    found: NDArray[np.float32] = heat[:, 0].cpu().numpy()
    return found


def colours(heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """The colours (H, W, 3), 0 to 255, of heat from 0 to 1 (H, W)."""
    table = np.array([[int(colour[k : k + 2], 16) for k in (0, 2, 4)] for colour in TURBO.split()], np.float64)
    places = np.linspace(0, 1, len(table))
    return np.stack([np.interp(heat, places, table[:, k]) for k in range(3)], 2)


def last_stage(module: nn.Module, images: Tensor, where: str) -> tuple[str, nn.Module]:
    """The module that finishes last of those whose output (N, C, H, W) still has several places.

    Raises InputError when there is none: the network is not convolutional, or its images are too small.
    """
    found: list[tuple[str, nn.Module]] = []

    def watch(name: str, part: nn.Module) -> Any:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                found.append((name, part))

        return part.register_forward_hook(note)

    hooks = [watch(name, part) for name, part in module.named_modules() if part is not module]
    try:
        with torch.inference_mode():
            module(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise mistake(where, "no convolutional stage with more than one place", "Grad-CAM needs one: a larger image")
    return found[-1]


def seen(module: nn.Module, stage: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What `stage` gives for images, as the next layer finds it, and the logits that are computed from it."""
    held: list[Tensor] = []
    hook = stage.register_forward_hook(lambda _, __, output: held.append(output))
    try:
        with torch.enable_grad():  # the weights need no gradient, and without any there is none to look at
            logits = module(images.clone().requires_grad_(True))
    finally:
        hook.remove()
    return held[-1], logits
