"""Public Python API for the evaluation of a trained model. Imports torch, unlike `api`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import show
from resnetlab.deploy.evaluate import Answers, Pulse, answer
from resnetlab.deploy.evaluate import evaluate as scored
from resnetlab.deploy.explain import Explainer
from resnetlab.deploy.inputs import Labelled, Part, open_labelled
from resnetlab.deploy.predict import BATCH, Classifier
from resnetlab.deploy.request import Tta
from resnetlab.deploy.results import Evaluated
from resnetlab.errors import InputError
from resnetlab.reports.evaluation import Shots, data_uri, write

SHOWN_MISTAKES = 24
"""Number of misclassified images on the page of an evaluation."""

Say = Callable[[str], None]


def _quiet(_: str) -> None:
    """Ignore a progress message."""


def evaluate(
    model: Classifier,
    data: str,
    *,
    split: Part = "test",
    manifest: Path | None = None,
    tta: Tta = "none",
    batch: int = BATCH,
    cache: str | Path = "cache",
    out: str | Path | None = None,
    say: Say = _quiet,
    pulse: Pulse = lambda *_: None,
) -> Evaluated:
    """Evaluate a model on the images of `split` in `data`: `rl.evaluate(rl.load_model("pets"),
    "photos").top1`.

    With `out`, write a page with the most confident mistakes and the tables behind it to that
    folder. Raises InputError.
    """
    labelled = open_labelled(data, split, Path(cache), say, by=manifest)
    return evaluate_on(model, labelled, tta=tta, batch=batch, out=out, say=say, pulse=pulse)


def evaluate_on(
    model: Classifier,
    labelled: Labelled,
    *,
    tta: Tta = "none",
    batch: int = BATCH,
    out: str | Path | None = None,
    say: Say = _quiet,
    pulse: Pulse = lambda *_: None,
) -> Evaluated:
    """Evaluate a model on labeled images that are already listed; see `evaluate`."""
    answers = answer(model, labelled, tta=tta, batch=batch, pulse=pulse)
    result = scored(model, labelled, answers, tta)
    if out is not None:
        write(result, _shots(model, result, answers, say, pulse), Path(out))
    return result


def _shots(
    model: Classifier, result: Evaluated, answers: Answers, say: Say, pulse: Pulse
) -> dict[str, Shots]:
    """Draw the most confident mistakes, with Grad-CAM heat maps of the predicted classes.

    A network without spatial feature maps gets no heat maps.
    """
    by_name = {image.name: image for image in answers.pictures}
    mistakes = result.mistakes[:SHOWN_MISTAKES]
    if mistakes:
        say(f"drawing the {len(mistakes)} surest mistakes with Grad-CAM")
    with image_decoder.quiet():
        images = [show(by_name[mistake.name].load(), model.file.view) for mistake in mistakes]
    heat_maps = [""] * len(mistakes)
    try:
        explanations = Explainer(model).explain(images, [mistake.said for mistake in mistakes])
        for index, explanation in enumerate(explanations):
            heat_maps[index] = data_uri(explanation.overlay())
            pulse("mistakes drawn", index + 1, len(mistakes))
    except InputError as error:  # the network has no spatial feature maps
        say(f"without heat maps: {error}")
    urls = [data_uri(Image.fromarray(pixels.squeeze())) for pixels in images]
    return {
        mistake.name: Shots(urls[index], heat_maps[index]) for index, mistake in enumerate(mistakes)
    }
