"""What a person calls from Python with a trained network. Beside `api`, which answers without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from resnetlab.data.sources import images
from resnetlab.data.view import show
from resnetlab.deploy.asked import Tta
from resnetlab.deploy.explain import Explainer
from resnetlab.deploy.pictures import Labelled, Part, open_labelled
from resnetlab.deploy.predict import BATCH, Classifier
from resnetlab.deploy.record import Evaluated
from resnetlab.deploy.score import Answers, Pulse, answer
from resnetlab.deploy.score import evaluate as scored
from resnetlab.errors import InputError
from resnetlab.reports.gallery import Shots, data_uri, write

SHOWN_MISTAKES = 24
"""Pictures on the page of an evaluation."""

Say = Callable[[str], None]


def _quiet(_: str) -> None:
    """Say nothing."""


def evaluate(
    model: Classifier, data: str, *, split: Part = "test", manifest: Path | None = None, tta: Tta = "none",
    batch: int = BATCH, cache: str | Path = "cache", out: str | Path | None = None,
    say: Say = _quiet, pulse: Pulse = lambda *_: None,
) -> Evaluated:  # fmt: skip
    """Score a model on the pictures of `split` in `data`: `rl.evaluate(rl.load_model("pets"), "photos").top1`.

    `out` gets a local page with the surest mistakes, and the tables behind it. Raises InputError.
    """
    labelled = open_labelled(data, split, Path(cache), say, by=manifest)
    return evaluate_on(model, labelled, tta=tta, batch=batch, out=out, say=say, pulse=pulse)


def evaluate_on(
    model: Classifier, labelled: Labelled, *, tta: Tta = "none", batch: int = BATCH, out: str | Path | None = None,
    say: Say = _quiet, pulse: Pulse = lambda *_: None,
) -> Evaluated:  # fmt: skip
    """As `evaluate`, on pictures that are listed already."""
    answers = answer(model, labelled, tta=tta, batch=batch, pulse=pulse)
    found = scored(model, labelled, answers, tta)
    if out is not None:
        write(found, _shots(model, found, answers, say, pulse), Path(out))
    return found


def _shots(model: Classifier, found: Evaluated, answers: Answers, say: Say, pulse: Pulse) -> dict[str, Shots]:
    """The surest mistakes as pictures, with the heat of what was said where the network has places."""
    by_name = {one.name: one for one in answers.pictures}
    chosen = found.mistakes[:SHOWN_MISTAKES]
    if chosen:
        say(f"drawing the {len(chosen)} surest mistakes with Grad-CAM")
    with images.quiet():
        shown = [show(by_name[one.name].load(), model.file.view) for one in chosen]
    heat = [""] * len(chosen)
    try:
        for place, one in enumerate(Explainer(model).explain(shown, [one.said for one in chosen])):
            heat[place] = data_uri(one.overlay())
            pulse("mistakes drawn", place + 1, len(chosen))
    except InputError as error:  # the network has no places
        say(f"without heat maps: {error}")
    seen = [data_uri(Image.fromarray(pixels.squeeze())) for pixels in shown]
    return {one.name: Shots(seen[place], heat[place]) for place, one in enumerate(chosen)}
