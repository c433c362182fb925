"""Compare the heat maps of a model with maps that cannot know what it uses.

    PYTHONPATH=src python benchmarks/heat_maps.py MODEL PHOTOGRAPHS [--photos 100]

The check of `explain --check` is made for three kinds of maps of the same photographs and classes:
Grad-CAM of the model, Grad-CAM of the same network with the values of each weight tensor shuffled
(the sanity check of Adebayo et al. 2018, "Sanity checks for saliency maps"), and random maps of
Grad-CAM's coarseness. It writes `benchmarks/heat_maps.json`, and ends with 1 unless the first kind
is better than random maps and the last one is not.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from numpy.typing import NDArray
from PIL import Image

from resnetlab.deploy.explain.explainer import Explainer, Explanation
from resnetlab.deploy.explain.heat_map_check import (
    SEED,
    calibrated_probabilities,
    check_heat_maps,
    choose_photographs,
)
from resnetlab.deploy.explain.heat_map_scores import mean_interval, paired_drops, rate_heat_maps
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.predict import Classifier, load_model
from resnetlab.schema import encode

GRID = 7
"""Side of Grad-CAM's map of a network for 224 pixels, before it is enlarged."""


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--photos", type=int, default=100)
    options = parser.parse_args()
    start = time.process_time()
    model = load_model(options.model, accept_license=True)
    images = choose_photographs(find_images([options.photographs])[0], options.photos)
    check, checked = check_heat_maps(model, images, options.photographs.name)
    seconds = time.process_time() - start
    explanations = [photo.explanation for photo in checked]
    rows = {
        "model": {"verdict": check.rating, "over_random": encode(check.over_random)},
        "shuffled weights": measure(model, explanations, shuffled_maps(model, explanations)),
        "random maps": measure(model, explanations, random_maps(explanations)),
    }
    for name, row in rows.items():
        print(f"{name}: {row['verdict']}, {row['over_random']}")
    result = {
        **machine(),
        "photographs": check.photographs,
        "layer": check.layer,
        "cpu_seconds_per_photograph": seconds / check.photographs,
        "maps": rows,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    passed = rows["model"]["verdict"] == "better" and rows["random maps"]["verdict"] != "better"
    return 0 if passed else 1


def measure(
    model: Classifier, explanations: Sequence[Explanation], maps: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    """Return the verdict on maps of the photographs, and the difference of the drops in points."""
    drops = paired_drops(
        lambda pixels: calibrated_probabilities(model, pixels),
        [item.input_pixels for item in explanations],
        maps,
        [model.classes.index(item.label) for item in explanations],
        SEED,
    )
    points = 100 * np.stack(list(drops)).mean(2)
    over_random = mean_interval((points[:, 0] - points[:, 1]).tolist())
    return {"verdict": rate_heat_maps(over_random), "over_random": encode(over_random)}


def shuffled_maps(
    model: Classifier, explanations: Sequence[Explanation]
) -> list[NDArray[np.float32]]:
    """Return Grad-CAM of the network with shuffled weights, for the classes of the explanations."""
    shuffled = copy.copy(model)
    shuffled.module = copy.deepcopy(model.module)
    generator = torch.Generator().manual_seed(SEED)
    for parameter in shuffled.module.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.data = parameter.data.flatten()[order].reshape(parameter.shape)
    inputs, labels = zip(*((item.input_pixels, item.label) for item in explanations), strict=True)
    return [item.heat_map for item in Explainer(shuffled).explain(inputs, labels)]


def random_maps(explanations: Sequence[Explanation]) -> list[NDArray[np.float32]]:
    """Return a random map of each photograph: normal values without the negative ones, enlarged."""
    generator = np.random.default_rng(SEED)
    maps = []
    for item in explanations:
        coarse = np.maximum(generator.normal(size=(GRID, GRID)), 0).astype(np.float32)
        size = item.heat_map.shape[::-1]
        maps.append(np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)))
    return maps


if __name__ == "__main__":
    sys.exit(main())
