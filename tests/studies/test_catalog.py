"""Every study of the catalog loads, names its source, can be planned, and runs as a smaller copy to
a report.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.data.config import Augment, DataConfig
from resnetlab.errors import InputError
from resnetlab.models.configs import ExternalConfig, ModelConfig
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.models.configs.cifar import CifarConfig
from resnetlab.models.configs.imagenet import ImageNetConfig
from resnetlab.models.weights import write_weights
from resnetlab.recipes.finetune import FinetuneRecipe
from resnetlab.recipes.train import Recipe
from resnetlab.studies.claims import condition_labels
from resnetlab.studies.execution import read_record
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.parsing.toml_tables import catalog_names
from resnetlab.studies.plan import Plan
from resnetlab.studies.study import Condition, Study

IMAGES = 256
Train = Callable[[Plan, Path], None]
WORDS = {"reproduced", "partly reproduced", "contradicted", "inconclusive", "untestable"}


def opening(name: str) -> str:
    return (resources.files("resnetlab.catalog") / "studies" / f"{name}.toml").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("name", catalog_names("studies"))
def test_every_study_of_the_catalog_loads_and_starts_with_source_command_duration_and_result(
    name: str,
) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.question.endswith("?")
    assert study.about
    assert study.limits
    lines = [line for line in opening(name).splitlines() if line.startswith("#")]
    parts = dict(re.findall(r"^# (Source|Command|Duration|Result): +(.+)$", "\n".join(lines), re.M))
    assert list(parts) == ["Source", "Command", "Duration", "Result"]
    assert re.match(rf"resnetlab study (run|references) {name}\b", parts["Command"])
    assert "not measured on two cores" not in parts["Duration"]
    assert "two cores: not measured" not in parts["Duration"]
    assert re.search(r"results/[\w-]+|not run", parts["Result"])


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small images under the names of the catalog's data, with as many classes; a stripe a class,
    and noise.
    """
    folder = tmp_path_factory.mktemp("catalog")
    forms = {
        "cifar10": (10, 32, 3),
        "mnist": (10, 28, 1),
        "digits": (10, 8, 1),
        "imagenet": (1000, 8, 3),
    }
    contents = {}
    for name, (classes, side, channels) in forms.items():
        generator = np.random.default_rng(0)
        arrays: dict[str, NDArray[Any]] = {}
        for split, count in (("train", max(IMAGES, classes)), ("test", max(100, classes))):
            labels = np.arange(count) % classes
            pixels = generator.integers(0, 100, (count, side, side, channels))
            pixels[np.arange(count), labels % side] += 120
            arrays |= {f"x_{split}": pixels.astype(np.uint8), f"y_{split}": labels}
        contents[name] = folder / f"{name}.npz"
        np.savez(contents[name], **arrays)
    return contents


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], ExternalConfig]:
    """Folders of small photographs, by the name that a study gives, and a tiny network with
    weights.
    """
    from helpers.user_network import tiny

    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for name, classes in (("photos", 3), ("stanford-dogs", 120)):
        for number in range(classes):
            target = root / name / f"kind{number:03}"
            target.mkdir(parents=True)
            for image in range(8):
                pixels = generator.integers(0, 100, (60, 64, 3))
                pixels[:, number % 60] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(target / f"{image}.png")
    torch.manual_seed(0)
    write_weights(root / "tiny.safetensors", tiny(num_classes=5).state_dict(), {})
    weights = str(root / "tiny.safetensors")
    config = ExternalConfig(
        source="helpers.user_network:tiny", weights=weights, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return {name: root / name for name in ("photos", "stanford-dogs")}, config


def small(model: ModelConfig) -> ModelConfig:
    """Return an equal network with fewer blocks, and narrower where it may be."""
    if isinstance(model, CifarConfig):
        return replace(
            model,
            blocks=tuple(min(2, (b + 8) // 9) for b in model.blocks),
            widths=tuple(w // 4 for w in model.widths),
        )
    if isinstance(model, BagOfWordsConfig):
        return replace(model, words=16, stride=4)
    return replace(model, blocks=(1, 1, 1, 1)) if isinstance(model, ImageNetConfig) else model


def shrunken(
    name: str, images: dict[str, Path], photographs: tuple[dict[str, Path], ExternalConfig]
) -> Study:
    """One epoch, two seeds, 256 images; of a study of fine-tuning a tiny network at an eighth of
    the sizes.
    """
    study = load_study(name)
    folders, tiny = photographs
    networks = list(dict.fromkeys(condition.model for condition in study.conditions))

    def fitted(condition: Condition, tuning: FinetuneRecipe) -> Condition:
        stages = tuple(
            replace(
                stage,
                lrs=stage.lrs[:2],
                recipe=replace(stage.recipe, steps=stage.recipe.steps and 20),
            )
            for stage in tuning.stages
        )
        sizes = {"train_size": tuning.train_size // 8, "test_size": tuning.test_size // 8}
        data = DataConfig(source=str(folders[condition.data.source]))
        model = replace(tiny, class_names=(f"network {networks.index(condition.model)}",))
        return replace(
            condition,
            model=model,
            data=data,
            recipe=replace(tuning, epochs=1, stages=stages, **sizes),
        )

    def cut(condition: Condition) -> Condition:
        if isinstance(condition.recipe, FinetuneRecipe):
            return fitted(condition, condition.recipe)
        recipe: Recipe = replace(condition.recipe, epochs=1, steps=None)
        source = str(images[condition.data.source])
        smaller = isinstance(condition.model, CifarConfig | ImageNetConfig)
        few = None if smaller else 32  # the others cannot be made smaller
        data = replace(condition.data, source=source, image_size=None, train_images=few)
        return replace(condition, model=small(condition.model), recipe=recipe, data=data)

    return replace(study, conditions=tuple(map(cut, study.conditions)), seeds=(0, 1))


@pytest.mark.parametrize("name", catalog_names("studies"))
def test_a_reduced_copy_of_every_study_runs_and_writes_its_report(
    name: str,
    images: dict[str, Path],
    photographs: tuple[dict[str, Path], ExternalConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train_here: Train,
) -> None:
    if name == "precision":  # refused where bf16 would be emulated; a copy this small may be
        monkeypatch.setattr("resnetlab.training.resolve.processor_has_bf16", lambda: True)
    reduced = shrunken(name, images, photographs)
    assert len(LoadedStudy(reduced).plan(tmp_path).runs) == 2 * len(reduced.conditions)
    claim = min(reduced.claims, key=lambda values: len(condition_labels(values)), default=None)
    labels = (
        condition_labels(claim)
        if claim
        else [condition.label for condition in reduced.conditions[:2]]
    )
    part = replace(
        reduced,
        conditions=tuple(map(reduced.condition, labels)),
        claims=(claim,) if claim else (),
        ladder=(),
        references=tuple(pair for pair in reduced.references if pair.condition in labels),
    )
    loaded = LoadedStudy(part)
    plan = loaded.plan(tmp_path)
    train_here(plan, tmp_path)
    outcome = loaded.report(plan, tmp_path)
    assert outcome.is_finished
    assert outcome.report.exists()
    assert [
        verdict.label in WORDS for verdict in analyze(collect_study_data(outcome.record)).verdicts
    ] == [True] * len(part.claims)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in catalog_names("studies") if load_study(name).ladder]
)
def test_every_rung_of_a_ladder_trains_and_has_its_row(
    name: str,
    images: dict[str, Path],
    photographs: tuple[dict[str, Path], ExternalConfig],
    tmp_path: Path,
    train_here: Train,
) -> None:
    loaded = LoadedStudy(shrunken(name, images, photographs))
    plan = loaded.plan(tmp_path)
    train_here(plan, tmp_path)
    assert loaded.report(plan, tmp_path).is_finished
    with (tmp_path / "studies" / name / "figures" / "ladder.csv").open(
        newline="", encoding="utf-8"
    ) as file:
        assert [row["rung"] for row in csv.DictReader(file)] == [
            rung.condition for rung in loaded.study.ladder
        ]


def test_a_reversed_claim_is_contradicted(tmp_path: Path, train_here: Train) -> None:
    """Planted: a network that has learned its digits, and one that has begun."""
    contents = {
        "name": "reversed",
        "question": "Does training help?",
        "seeds": [0, 1, 2],
        "data": {"source": "digits", "validation": 0.0},
        "model": "cifar-resnet8",
        "recipe": {"batch_size": 64, "optimizer": {"name": "adam"}},
        "grid": {"recipe.steps": [15, 80]},
        "claim": [
            {
                "statement": "Training helps.",
                "left": {"recipe.steps": 80},
                "right": {"recipe.steps": 15},
            },
            {
                "statement": "Training hurts.",
                "left": {"recipe.steps": 15},
                "right": {"recipe.steps": 80},
            },
        ],
    }
    loaded = LoadedStudy(parse_study(contents, "reversed.toml", Overrides()))
    plan = loaded.plan(tmp_path)
    train_here(plan, tmp_path)
    words = [
        verdict.label
        for verdict in analyze(collect_study_data(read_record(plan, tmp_path))).verdicts
    ]
    assert words == ["reproduced", "contradicted"]


def test_data_with_other_classes_than_the_published_table_are_refused(
    small_npz: Path, tmp_path: Path
) -> None:
    loaded = LoadedStudy(load_study("he2016", Overrides(data=str(small_npz))))
    with pytest.raises(
        InputError,
        match=r"He et al\. 2016, table 6 is of 10 classes, and bands has 3\. Fix: give cifar10",
    ):
        loaded.plan(tmp_path)


def test_a_claim_about_an_unknown_condition_is_refused_with_its_axes() -> None:
    claim = {
        "statement": "?",
        "left": {"model.depth": 57},
        "right": {"model.depth": 56, "model.shortcut": "A"},
    }
    table = {
        "name": "x",
        "question": "?",
        "data": "digits",
        "recipe": "digits",
        "seeds": [0, 1],
        "grid": {"model.depth": [8, 56], "model.shortcut": ["none", "A"]},
        "claim": [claim],
    }
    with pytest.raises(
        InputError,
        match=r"claim\[0\]\.left: no condition with model\.depth = 57 .*use values of the grid",
    ):
        parse_study(table, "x.toml", Overrides())


def test_a_condition_may_be_selected_by_a_table_that_is_a_value_of_the_grid() -> None:
    (first, second, third) = load_study("imagenet-tables").claims
    assert (first.left, first.right) == ("plain 18 (ImageNet)", "plain 34 (ImageNet)")
    assert (second.left, second.right) == ("ResNet-34 (A)", "plain 34 (ImageNet)")
    assert (third.left, third.right) == ("ResNet-34 (A)", "ResNet-18 (A)")


@pytest.mark.parametrize(
    "name", [name for name in catalog_names("studies") if name.startswith(("depth", "shortcuts"))]
)
def test_a_study_of_a_source_sets_its_precision_and_reports_the_last_epoch(
    name: str,
) -> None:
    study = load_study(name)
    assert study.numerics.precision == "fp32"
    for condition in study.conditions:
        assert condition.data.validation == 0
        assert condition.recipe.select == "last"
        assert condition.recipe.normalize == "half"
        assert condition.recipe.augment == Augment()


def test_each_published_number_of_the_depth_report_is_assigned_to_its_condition() -> None:
    described = {(item.condition, item.value.label) for item in load_study("depth").references}
    assert len(described) == 10
    assert ("residual 18 (depth report)", "residual 18") in described
    as_run = {item.condition for item in load_study("depth-as-run").references}
    assert as_run == {
        f"{kind} (depth {depth}, {run})"
        for kind in ("plain", "residual")
        for depth in (8, 14, 18, 34, 50)
        for run in ("as described", "as run")
    }
    assert len(load_study("shortcuts").references) == 24  # accuracy and loss
    assert len(load_study("shortcuts-torchvision").references) == 7
    assert not any(item.value.independent for item in load_study("shortcuts").references)


def test_depth_dropout_has_the_networks_of_depth_and_shares_their_runs() -> None:
    study, depth = load_study("depth-dropout"), load_study("depth")
    assert len(study.conditions) == 20
    shared = [c for c in study.conditions if "no dropout" not in c.label]
    assert [(c.label, c.model, c.recipe, c.data) for c in shared] == [
        (c.label, c.model, c.recipe, c.data) for c in depth.conditions
    ]
    assert all(c.model.dropout == 0 for c in study.conditions if "no dropout" in c.label)
    assert study.condition("plain 18 (depth report, no dropout)")
