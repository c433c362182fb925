"""Public Python API for the evaluation of a trained model. Imports torch, unlike `api`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.evaluate import ItemCallback, PredictionSet, predict_all
from resnetlab.deploy.evaluate import evaluate as scored
from resnetlab.deploy.explain import Explainer
from resnetlab.deploy.inputs import LabeledImages, SplitName, open_labeled_images
from resnetlab.deploy.predict import PREDICT_BATCH_SIZE, Classifier
from resnetlab.deploy.request import Tta
from resnetlab.deploy.results import EvaluationResult
from resnetlab.errors import InputError
from resnetlab.reports.evaluation import MistakeImages, data_uri, write

MAX_REPORTED_MISTAKES = 24
"""Number of misclassified images on the page of an evaluation."""

Notify = Callable[[str], None]


def _silent(_: str) -> None:
    """Ignore a progress message."""


def evaluate(
    model: Classifier,
    data: str,
    *,
    split: SplitName = "test",
    manifest: Path | None = None,
    tta: Tta = "none",
    batch_size: int = PREDICT_BATCH_SIZE,
    cache: str | Path = "cache",
    out: str | Path | None = None,
    notify: Notify = _silent,
    on_item: ItemCallback = lambda *_: None,
) -> EvaluationResult:
    """Evaluate a model on the images of `split` in `data`: `rl.evaluate(rl.load_model("pets"),
    "photos").top1`.

    With `out`, write a page with the most confident mistakes and the tables behind it to that
    folder. Raises InputError.
    """
    labeled = open_labeled_images(data, split, Path(cache), notify, manifest_path=manifest)
    return evaluate_on(
        model, labeled, tta=tta, batch_size=batch_size, out=out, notify=notify, on_item=on_item
    )


def evaluate_on(
    model: Classifier,
    labeled: LabeledImages,
    *,
    tta: Tta = "none",
    batch_size: int = PREDICT_BATCH_SIZE,
    out: str | Path | None = None,
    notify: Notify = _silent,
    on_item: ItemCallback = lambda *_: None,
) -> EvaluationResult:
    """Evaluate a model on labeled images that are already listed; see `evaluate`."""
    answers = predict_all(model, labeled, tta=tta, batch_size=batch_size, on_item=on_item)
    result = scored(model, labeled, answers, tta)
    if out is not None:
        write(result, _mistake_images(model, result, answers, notify, on_item), Path(out))
    return result


def _mistake_images(
    model: Classifier,
    result: EvaluationResult,
    predictions: PredictionSet,
    notify: Notify,
    on_item: ItemCallback,
) -> dict[str, MistakeImages]:
    """Draw the most confident mistakes, with Grad-CAM heat maps of the predicted classes.

    A network without spatial feature maps gets no heat maps.
    """
    by_name = {image.name: image for image in predictions.images}
    mistakes = result.mistakes[:MAX_REPORTED_MISTAKES]
    if mistakes:
        notify(f"drawing the {len(mistakes)} surest mistakes with Grad-CAM")
    with image_decoder.suppress_pillow_warnings():
        images = [
            apply_eval_transform(by_name[mistake.name].load(), model.file.eval_transform)
            for mistake in mistakes
        ]
    heat_maps = [""] * len(mistakes)
    try:
        explanations = Explainer(model).explain(images, [mistake.predicted for mistake in mistakes])
        for index, explanation in enumerate(explanations):
            heat_maps[index] = data_uri(explanation.overlay())
            on_item("mistakes drawn", index + 1, len(mistakes))
    except InputError as error:  # the network has no spatial feature maps
        notify(f"without heat maps: {error}")
    urls = [data_uri(Image.fromarray(pixels.squeeze())) for pixels in images]
    return {
        mistake.name: MistakeImages(urls[index], heat_maps[index])
        for index, mistake in enumerate(mistakes)
    }
