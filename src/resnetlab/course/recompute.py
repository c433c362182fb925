"""Checks of a run that compute something again: its logits, and the weights that it started from.

The logits show that the weights belong to the scores. The initial weights show that the weights
come from the student's seed: after a short training they still lie near the weights that the seed
draws, and weights from another seed do not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnetlab.course.findings import CheckFinding, failed, passed
from resnetlab.course.run_checks import RunFiles
from resnetlab.course.texts import localize
from resnetlab.data.config import DataConfig, Dataset
from resnetlab.data.device_images import DeviceImageCache, DeviceImages
from resnetlab.data.splits import load_dataset
from resnetlab.files import sha256
from resnetlab.messages import Notify, silent
from resnetlab.models.build import build_model
from resnetlab.models.weights import read_weights
from resnetlab.recipes.numerics import Numerics
from resnetlab.runs.evaluator import RunEvaluator
from resnetlab.runs.load import LoadedRun, load_run
from resnetlab.runs.paths import LOGITS, WEIGHTS
from resnetlab.runs.recorded_logits import read_logits
from resnetlab.runs.records import RunFile
from resnetlab.training.device import preserve_device_settings
from resnetlab.training.evaluate import evaluate
from resnetlab.training.resolve import resolve_numerics
from resnetlab.training.rng import make_generator

DRAWN_IMAGES = 500
"""Number of test images whose logits are computed again."""

LOGIT_TOLERANCE = 0.01
"""Largest accepted difference of two logits, as a share of their standard deviation.

Another processor rounds fp32 sums differently, by about a millionth.
"""

TRAIN_TOLERANCE_PCT = 0.5
"""Largest accepted difference of the train accuracy, in points, for the same reason."""

NEAR_START_SCORE = 10.0
"""Smallest accepted score of `initial_weights_score`. Weights from another seed have a score that
is normal with mean 0 and standard deviation 1.
"""


class DatasetCache:
    """Data sets that were opened, by their config; one copy for the runs of a class."""

    def __init__(self, folder: Path, notify: Notify = silent) -> None:
        """Open no data set yet. `folder` is the folder of caches."""
        self.folder, self.notify = folder, notify
        self._datasets: dict[DataConfig, Dataset] = {}

    def load(self, data: DataConfig) -> Dataset:
        """Return the data set of a config. Raises InputError if it is not here."""
        if data not in self._datasets:
            self._datasets[data] = load_dataset(data, self.folder, self.notify)
        return self._datasets[data]


def check_by_computation(run: RunFiles, dataset: Dataset) -> Iterator[CheckFinding]:
    """Yield the findings about the logits and the initial weights of a run.

    Raises InputError if the weights do not fit the network.
    """
    with preserve_device_settings():
        loaded = load_run(run.run_folder, _on_this_processor(run.file), dataset)
        yield from _computed_findings(run, loaded)


def _computed_findings(run: RunFiles, loaded: LoadedRun) -> Iterator[CheckFinding]:
    yield _check_logits(run, loaded)
    yield _check_initial_weights(run, loaded)


def _on_this_processor(file: RunFile) -> RunFile:
    """Return the config with the numerics of this processor: a run of a GPU is checked here too."""
    numerics = resolve_numerics(Numerics(device="cpu", precision="fp32"), single_run=True)
    return replace(file, run=replace(file.run, numerics=numerics))


def _check_logits(run: RunFiles, loaded: LoadedRun) -> CheckFinding:
    file = read_logits(run.run_folder.path)
    recorded, labels = file.logits, file.labels
    test = loaded.dataset.test
    if len(labels) != len(test) or not np.array_equal(labels, test.labels):
        return failed(
            "logits",
            "the recorded labels are not those of the test images",
            "les étiquettes enregistrées ne sont pas celles des images de test",
        )
    # Drawn by the file itself: whoever edits a logit cannot choose the images that are checked.
    seed = sha256(run.run_folder.path / LOGITS)
    indices = sorted(random.Random(seed).sample(range(len(test)), min(DRAWN_IMAGES, len(test))))
    drawn = DeviceImages(
        torch.from_numpy(test.pixels[indices]), torch.from_numpy(test.labels[indices])
    )
    result = evaluate(loaded.state.model, loaded.state.eval_forward_pixels, drawn)
    difference = np.abs(result.logits.numpy() - recorded[indices])
    spread = float(recorded.std()) or 1.0
    count = len(indices)
    if not float(difference.max()) <= LOGIT_TOLERANCE * spread:
        changed = int((difference.max(1) > LOGIT_TOLERANCE * spread).sum())
        return failed(
            "logits",
            f"the weights give other logits for {changed} of {count} drawn test images",
            f"les poids donnent d'autres logits pour {changed} des {count} images de test tirées",
        )
    if (train := _train_difference(run, loaded)) is not None and train > TRAIN_TOLERANCE_PCT:
        return failed(
            "logits",
            f"the weights give a train accuracy that differs by {train:.1f} points",
            f"les poids donnent une précision d'entraînement différente de "
            f"{localize(train, 'fr', 1)} points",
        )
    return passed(
        "logits",
        f"the weights give the recorded logits of {count} drawn test images",
        f"les poids donnent les logits enregistrés de {count} images de test tirées",
    )


def _train_difference(run: RunFiles, loaded: LoadedRun) -> float | None:
    """Return the difference of the recorded train error from that of the weights, in points."""
    scores = run.result.train
    if scores is None:
        return None
    evaluator = RunEvaluator(loaded.state, run.file, loaded.dataset, DeviceImageCache())
    images = evaluator.splits["train"]
    error = evaluate(loaded.state.model, loaded.state.eval_forward_pixels, images).top1_error_pct
    return abs(error - scores.top1_error_pct)


def _check_initial_weights(run: RunFiles, loaded: LoadedRun) -> CheckFinding:
    weights = read_weights(run.run_folder.path / WEIGHTS)[0]
    seed = run.file.run.seed
    model = build_model(
        run.file.run.model,
        loaded.dataset.channels,
        len(loaded.dataset.classes),
        lambda name: make_generator(seed, "init", name),
    )
    score = initial_weights_score(weights, dict(model.state_dict()))
    if score < NEAR_START_SCORE:
        return failed(
            "initial weights",
            f"the weights do not come from seed {seed}: score {score:.1f}, at least "
            f"{NEAR_START_SCORE:.0f} expected",
            f"les poids ne viennent pas de la graine {seed} : score {localize(score, 'fr', 1)}, "
            f"au moins {NEAR_START_SCORE:.0f} attendu",
        )
    return passed(
        "initial weights",
        f"the weights come from seed {seed} (score {score:.0f}; another seed gives 0 ± 1)",
        f"les poids viennent de la graine {seed} (score {score:.0f} ; une autre donne 0 ± 1)",
    )


def initial_weights_score(weights: dict[str, Tensor], initial: dict[str, Tensor]) -> float:
    """Return the extent to which trained weights point towards the initial weights of a seed.

    The score is sum(w x / sd) / sqrt(sum(w^2)) over all weights w of matrices and kernels, where x
    is the initial weight and sd the standard deviation of the initial weights of its layer. For
    initial weights that are independent of w, it has mean 0 and standard deviation 1.

    Args:
        weights: Trained weights by name.
        initial: Initial weights by name, of the same shapes.
    """
    product = squares = 0.0
    for name, start in initial.items():
        if start.ndim < 2 or not start.is_floating_point():
            continue
        trained, start = weights[name].double().flatten(), start.double().flatten()
        deviation = float(start.std())
        if deviation > 0:
            product += float(trained @ start) / deviation
            squares += float(trained @ trained)
    return product / math.sqrt(squares) if squares else 0.0
