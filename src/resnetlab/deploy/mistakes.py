"""Images of misclassified photographs, with Grad-CAM heat maps of the predicted classes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from PIL import Image

from resnetlab.data.photo_loader import load_batches
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.evaluate import PredictionsWithImages
from resnetlab.deploy.explain.explainer import GRADIENT_BATCH_SIZE, Explainer
from resnetlab.deploy.predict import Classifier
from resnetlab.deploy.results import Misclassification
from resnetlab.errors import InputError
from resnetlab.messages import ItemCallback, Notify


@dataclass(frozen=True)
class MistakeDrawing:
    """Network's input image, and the heat map on it (None if the network supports no Grad-CAM)."""

    image: Image.Image
    heat_map: Image.Image | None = None


def draw_mistakes(
    model: Classifier,
    mistakes: tuple[Misclassification, ...],
    predictions: PredictionsWithImages,
    notify: Notify,
    on_item: ItemCallback,
    max_seconds: float = math.inf,
) -> dict[str, MistakeDrawing]:
    """Draw misclassified images, by name. A network without spatial feature maps gets no heat
    maps, and neither do the images that follow after `max_seconds`, or any if it is negative.
    """
    if not mistakes:
        return {}
    if max_seconds < 0:
        notify(f"heat maps: 0 of {len(mistakes)}, for want of time")
    else:
        notify(f"drawing the {len(mistakes)} most confident mistakes with Grad-CAM")
    by_name = {image.name: image for image in predictions.images}
    batches = load_batches(
        [by_name[mistake.name] for mistake in mistakes],
        lambda image: apply_eval_transform(image, model.file.eval_transform),
    )
    pixels = [loaded.pixels for batch in batches for loaded in batch if loaded.pixels is not None]
    heat_maps: list[Image.Image | None] = [None] * len(mistakes)
    start = time.monotonic()
    explained = [item.predicted for item in mistakes] if max_seconds >= 0 else []
    try:
        explanations = Explainer(model).explain(pixels[: len(explained)], explained)
        for index, explanation in enumerate(explanations):
            heat_maps[index] = explanation.overlay()
            on_item("mistakes drawn", index + 1, len(mistakes))
            # The explanations of a batch come together, so that the batch is drawn whole.
            ends_batch = (index + 1) % GRADIENT_BATCH_SIZE == 0
            if ends_batch and index + 1 < len(mistakes) and time.monotonic() - start > max_seconds:
                notify(f"heat maps: {index + 1} of {len(mistakes)}, for want of time")
                break
    except InputError as error:  # the network has no spatial feature maps
        notify(f"without heat maps: {error}")
    return {
        mistake.name: MistakeDrawing(Image.fromarray(array.squeeze()), heat_map)
        for mistake, array, heat_map in zip(mistakes, pixels, heat_maps, strict=True)
    }
