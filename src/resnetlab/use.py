"""What a person calls from Python with a trained network. Beside `api`, which answers without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from resnetlab.data.sources import images
from resnetlab.data.view import show
from resnetlab.deploy.explain import explain
from resnetlab.deploy.pictures import Part, open_labelled
from resnetlab.deploy.predict import BATCH, Classifier, Tta
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
    answers = answer(model, labelled, tta=tta, batch=batch, pulse=pulse)
    found = scored(model, labelled, answers, tta)
    if out is not None:
        write(found, _shots(model, found, answers, say), Path(out))
    return found


def _shots(model: Classifier, found: Evaluated, answers: Answers, say: Say) -> dict[str, Shots]:
    """The surest mistakes as pictures, with the heat of what was said where Grad-CAM can be had."""
    by_name, heated = {one.name: one for one in answers.pictures}, True
    shots = {}
    with images.quiet():
        for one in found.mistakes[:SHOWN_MISTAKES]:
            photograph, heat = by_name[one.name].load(), ""
            if heated:
                try:
                    heat = data_uri(explain(model, photograph, one.said).overlay())
                except InputError as error:  # it is not installed, or the network has no places
                    say(f"without heat maps: {error}")
                    heated = False
            shots[one.name] = Shots(data_uri(Image.fromarray(show(photograph, model.file.view).squeeze())), heat)
    return shots
