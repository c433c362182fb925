"""Where a network looked: Grad-CAM (Selvaraju et al. 2017) by the library of that name, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from resnetlab.data.view import show
from resnetlab.deploy.extras import need
from resnetlab.deploy.predict import Classifier
from resnetlab.errors import mistake, nearest

PHOTO_SHARE = 0.55
"""Of the photograph in the picture; the rest is heat."""


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
        drawing, cv2 = need("pytorch_grad_cam.utils.image", "explain"), need("cv2", "explain")
        seen = np.broadcast_to(self.shown, (*self.heat.shape, 3)).astype(np.float32) / 255
        painted = drawing.show_cam_on_image(seen, self.heat, True, cv2.COLORMAP_TURBO, PHOTO_SHARE)
        return Image.fromarray(painted)

    def picture(self) -> Image.Image:
        """What the network saw, and the heat on it, side by side."""
        height, width = self.heat.shape
        both = Image.new("RGB", (2 * width, height))
        both.paste(Image.fromarray(self.shown.squeeze()), (0, 0))
        both.paste(self.overlay(), (width, 0))
        return both


def explain(model: Classifier, image: Image.Image, label: str = "") -> Explanation:
    """Why the model calls a decoded photograph `label`, by default what it calls it.

    Raises InputError for a class that the model lacks, and for a network without a convolutional stage.
    """
    cam, target = need("pytorch_grad_cam", "explain"), need("pytorch_grad_cam.utils.model_targets", "explain")
    if label and label not in model.classes:
        fix = nearest(label, model.classes) or "give a class of model.json"
        raise mistake("--class", f"none of the model's {len(model.classes):,} classes", fix, got=label)
    shown = show(image, model.file.view)
    probabilities = model.probabilities(shown[np.newaxis, np.newaxis])[0]
    index = model.classes.index(label) if label else int(probabilities.argmax())
    images = model.images(shown[np.newaxis])
    name, layer = last_stage(model.module, images, model.file.name)
    images.requires_grad_(True)  # the weights need no gradient, and without any there is none to look at
    with cam.GradCAM(model=model.module, target_layers=[layer]) as method:
        heat: Any = method(input_tensor=images, targets=[target.ClassifierOutputTarget(index)])[0]
    return Explanation(model.classes[index], float(probabilities[index]), name, shown, np.asarray(heat, np.float32))


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
