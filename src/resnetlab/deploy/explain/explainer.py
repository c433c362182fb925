"""Grad-CAM heat maps of a network's predictions, as images (Selvaraju et al. 2017)."""

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

from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform
from resnetlab.deploy.checks import match_label
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import input_error
from resnetlab.models.photo_predictions import check_outputs

PHOTO_WEIGHT = 0.55
"""Weight of the photograph in the overlay; the rest is the heat map."""

MAX_DRAWN_SIDE = 1024
"""Longer side in pixels of a photograph that an explanation is drawn on."""

FADING = 0.6
"""Weight of white over the part of a photograph that the network did not see."""

GRADIENT_BATCH_SIZE = 8
"""Batch size of the gradients."""

TURBO_COLORS = (
    "30123b 392a73 4040a2 4456c7 466be3 4680f6 4294ff 37a8fa 28bceb 1ccdd8 18ddc2 1fe9af 32f298 "
    "4ef97d 6dfe62 8bff4b a4fc3c b7f735 cbed34 dde037 ecd13a f7c13a fdae35 fe992c fb8122 f56918 "
    "ec530f e14109 d23105 c12302 ac1701 950d01 7a0403"
)
"""Every eighth color of the Turbo color map (Mikhailov 2019), from 0 to 1."""

_EPSILON = 1e-7


@dataclass(frozen=True)
class Explanation:
    """Explanation of a prediction: the class, its probability and its heat map."""

    label: str
    probability: float
    layer: str
    """Name of the last layer with a spatial feature map, whose features Grad-CAM weights."""
    input_pixels: NDArray[np.uint8]
    """Pixels of the network's input (H, W, C)."""
    heat_map: NDArray[np.float32]
    """Heat map (H, W), 0 to 1: evidence for the class at each position; all 0 if there is none."""

    def overlay(self) -> Image.Image:
        """Draw the heat map over the network's input."""
        return _mix(np.broadcast_to(self.input_pixels, (*self.heat_map.shape, 3)), self.heat_map)

    def on_photograph(self, photograph: Image.Image, transform: EvalTransform) -> Image.Image:
        """Draw the photograph, and beside it the same with the heat map where the network saw it.

        The part that the network did not see is faded. Neither is larger than MAX_DRAWN_SIDE.
        """
        photo = photograph.convert("RGB")
        photo.thumbnail((MAX_DRAWN_SIDE, MAX_DRAWN_SIDE))
        left, top, right, bottom = seen_box(photo.size, transform)
        explained = Image.blend(photo, Image.new("RGB", photo.size, "white"), FADING)
        size = right - left, bottom - top
        heat = Image.fromarray(self.heat_map).resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(photo.crop((left, top, right, bottom)))
        explained.paste(_mix(pixels, np.asarray(heat)), (left, top))
        both = Image.new("RGB", (2 * photo.width, photo.height))
        both.paste(photo, (0, 0))
        both.paste(explained, (photo.width, 0))
        return both


def _mix(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> Image.Image:
    """Draw a heat map (H, W) over pixels (H, W, 3)."""
    mixed = PHOTO_WEIGHT * pixels / 255 + (1 - PHOTO_WEIGHT) * apply_colormap(heat) / 255
    return Image.fromarray((255 * mixed / max(float(mixed.max()), _EPSILON)).astype(np.uint8))


def seen_box(size: tuple[int, int], transform: EvalTransform) -> tuple[int, int, int, int]:
    """Return the part of an image that the network sees: left, top, right and bottom in pixels.

    `size` is the width and height of the image.
    """
    width, height = size
    match transform.crop_mode:
        case "whole":
            return 0, 0, width, height
        case "square":
            side = min(size)
        case "crop":
            side = max(1, round(min(size) * transform.size / transform.shorter_side))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


@dataclass(frozen=True)
class SpatialLayer:
    """Layer with a spatial feature map.

    `channels_last` is True if its features are (N, H, W, C), as those of a Swin transformer.
    """

    name: str
    module: nn.Module
    channels_last: bool = False


@dataclass
class Explainer:
    """Explainer of one model's predictions.

    It searches the layer for Grad-CAM once per image size.
    """

    model: Classifier
    layer_by_shape: dict[torch.Size, SpatialLayer] = field(default_factory=dict)

    def explain(
        self, inputs: Sequence[NDArray[np.uint8]], labels: Sequence[str]
    ) -> Iterator[Explanation]:
        """Explain one class of each image; an empty label stands for the predicted class.

        `inputs` has the network's input (H, W, C) of each image, as `apply_eval_transform` returns
        it. Yields the explanations in order, one batch after another. Raises InputError for a class
        that the model lacks, and for a network without a convolutional stage.
        """
        labels = [match_label(label, self.model.classes) for label in labels]
        for start in range(0, len(inputs), GRADIENT_BATCH_SIZE):
            batch = range(start, min(start + GRADIENT_BATCH_SIZE, len(inputs)))
            by_shape = defaultdict(list)  # whole photographs differ in shape
            for index in batch:
                by_shape[inputs[index].shape].append(index)
            explanations: dict[int, Explanation] = {}
            for indices in by_shape.values():
                pixels = np.stack([inputs[index] for index in indices])
                names = [labels[index] for index in indices]
                explained = self._explain_batch(pixels, names)
                explanations |= zip(indices, explained, strict=True)
            yield from (explanations[index] for index in batch)

    def _explain_batch(
        self, inputs: NDArray[np.uint8], labels: Sequence[str]
    ) -> Iterator[Explanation]:
        """Explain a batch of inputs of equal shape (N, H, W, C)."""
        images, classes = self.model.preprocess(inputs), self.model.classes
        if images.shape[1:] not in self.layer_by_shape:
            self.layer_by_shape[images.shape[1:]] = last_spatial_layer(
                self.model.module, images[:1], self.model.file.name
            )
        layer = self.layer_by_shape[images.shape[1:]]
        features, logits = forward_with_features(self.model.module, layer.module, images)
        check_outputs(logits, self.model.file.name)
        probabilities = logits.detach().double().softmax(1).cpu().numpy()
        if self.model.confidence is not None:  # as `predict` prints them
            probabilities = self.model.confidence.calibrate(probabilities)
        class_indices = [
            classes.index(label) if label else int(row.argmax())
            for label, row in zip(labels, probabilities, strict=True)
        ]
        size = images.shape[2], images.shape[3]
        heat = grad_cam(features, logits, class_indices, size, channels_last=layer.channels_last)
        for position, index in enumerate(class_indices):
            probability = float(probabilities[position, index])
            pixels, map_ = inputs[position], heat[position]
            yield Explanation(classes[index], probability, layer.name, pixels, map_)


def explain(model: Classifier, image: Image.Image, label: str = "") -> Explanation:
    """Explain the class `label` of a decoded photograph, by default the predicted class.

    Raises the same errors as `Explainer.explain`.
    """
    return next(
        Explainer(model).explain([apply_eval_transform(image, model.file.eval_transform)], [label])
    )


def grad_cam(
    features: Tensor,
    logits: Tensor,
    classes: Sequence[int],
    size: tuple[int, int],
    *,
    channels_last: bool = False,
) -> NDArray[np.float32]:
    """Compute Grad-CAM heat maps (N, H, W), 0 to 1, for one class per image (Selvaraju et al. 2017,
    eq. 1 and 2).

    The weight of each feature map is the mean gradient of the logit over its positions. Negative
    evidence is set to 0.

    Args:
        features: Feature maps (N, C, h, w) from which the logits were computed; (N, h, w, C) with
            `channels_last`.
        logits: Logits (N, K).
        classes: Class index of each image.
        size: Height and width of the heat maps.
        channels_last: True if the channels are the last axis of the features.
    """
    selected = logits[torch.arange(len(logits)), torch.tensor(classes)]
    (gradient,) = torch.autograd.grad(selected.sum(), features)
    with torch.no_grad():
        if channels_last:
            gradient, features = gradient.permute(0, 3, 1, 2), features.permute(0, 3, 1, 2)
        weights = gradient.mean((2, 3), keepdim=True)
        heat = F.relu((weights * features).sum(1, keepdim=True)).float()
        heat = _scale_to_unit(heat)
        heat = F.interpolate(heat, size=size, mode="bilinear", align_corners=False)
        heat = _scale_to_unit(heat)  # interpolation can leave the smallest value above 0
    result: NDArray[np.float32] = heat[:, 0].cpu().numpy()
    return result


def _scale_to_unit(heat: Tensor) -> Tensor:
    """Scale each map (B, 1, H, W) so that its values go from 0 to 1."""
    heat = heat - heat.amin((2, 3), keepdim=True)
    return heat / (_EPSILON + heat.amax((2, 3), keepdim=True))


def apply_colormap(heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Map heat (H, W), 0 to 1, to colors (H, W, 3), 0 to 255."""
    table = np.array(
        [[int(color[k : k + 2], 16) for k in (0, 2, 4)] for color in TURBO_COLORS.split()],
        np.float64,
    )
    positions = np.linspace(0, 1, len(table))
    return np.stack([np.interp(heat, positions, table[:, k]) for k in range(3)], 2)


def last_spatial_layer(module: nn.Module, images: Tensor, where: str) -> SpatialLayer:
    """Return the last executed module whose output is a feature map with more than one position.

    Raises InputError if there is none: the network is not convolutional, its images are too small,
    or its features are a sequence of tokens, as in a vision transformer, whose only map is that of
    the first layer.
    """
    spatial_layers: list[SpatialLayer] = []
    tokens_after = 0  # token outputs since the last map

    def add_hook(name: str, part: nn.Module) -> Any:
        def record(_: nn.Module, __: Any, output: Any) -> None:
            nonlocal tokens_after
            if not isinstance(output, Tensor):
                return
            if output.ndim == 3 and output.shape[1] > 1:
                tokens_after += 1
            if output.ndim == 4:
                last = is_channels_last(output.shape, images.shape)
                positions = output.shape[1:3] if last else output.shape[2:4]
                if positions.numel() > 1:
                    spatial_layers.append(SpatialLayer(name, part, last))
                    tokens_after = 0

        return part.register_forward_hook(record)

    hooks = [add_hook(name, part) for name, part in module.named_modules() if part is not module]
    try:
        with torch.inference_mode():
            module(images)
    finally:
        for hook in hooks:
            hook.remove()
    if tokens_after > len(spatial_layers):
        raise input_error(
            where,
            "its features are a sequence of tokens, not a map, which Grad-CAM needs",
            "choose a network with a convolutional stage, or a Swin transformer",
        )
    if not spatial_layers:
        raise input_error(
            where,
            "no convolutional stage with more than one position, which Grad-CAM needs",
            "give a larger image",
        )
    return spatial_layers[-1]


def is_channels_last(shape: torch.Size, image_shape: torch.Size) -> bool:
    """Return True if a feature map (N, A, B, C) has its channels last.

    The two axes of positions have the proportions of the image (N, C, H, W). If both readings do,
    channels come first, as in torch.
    """

    def fits(height: int, width: int) -> bool:
        full_height, full_width = image_shape[2:]
        near = abs(height - width * full_height / full_width) <= 1
        return near and height <= full_height and width <= full_width

    return fits(shape[1], shape[2]) and not fits(shape[2], shape[3])


def forward_with_features(
    module: nn.Module, layer: nn.Module, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the output of `layer` for the images, and the logits that are computed from it."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        # The weights have requires_grad=False, so the images must have True.
        with torch.enable_grad():
            logits = module(images.clone().requires_grad_(True))
    finally:
        hook.remove()
    return outputs[-1], logits
