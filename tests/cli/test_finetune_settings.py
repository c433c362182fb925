"""The options `--batch-size`, `--lr`, `--workers` and `--set` of `finetune` change what they name,
and report mistakes in one line.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.texture_photographs import folder
from resnetlab.cli.finetune.settings import change_recipe
from resnetlab.cli.main import main
from resnetlab.data import photo_loader
from resnetlab.errors import InputError
from resnetlab.recipes.finetune import FinetuneRecipe, load_finetune_recipe
from resnetlab.recipes.numerics import Numerics


def changed(recipe: str, *settings: str, **options: Any) -> FinetuneRecipe:
    given = {"batch_size": None, "lr": None} | options
    result, _ = change_recipe(recipe, settings=settings, **given)
    assert isinstance(result, FinetuneRecipe)
    return result


def test_the_recipe_without_options_is_unchanged() -> None:
    assert change_recipe("full", None, None, ()) == ("full", Numerics())


def test_batch_size_and_learning_rate_change_only_the_stages_on_augmented_photographs() -> None:
    base, recipe = load_finetune_recipe("full"), changed("full", batch_size=8, lr=3e-4)
    assert recipe.stages[0] == base.stages[0]  # the probe and its ten rates
    stage = recipe.stages[1]
    assert (stage.recipe.batch_size, stage.recipe.optimizer.lr, stage.lrs) == (8, 3e-4, ())
    expected = replace(
        base.stages[1].recipe,
        batch_size=8,
        optimizer=replace(base.stages[1].recipe.optimizer, lr=3e-4),
    )
    assert stage.recipe == expected


def test_every_stage_of_a_recipe_of_constant_features_is_changed() -> None:
    (stage,) = changed("probe", batch_size=64, lr=0.01).stages
    assert (stage.recipe.batch_size, stage.recipe.optimizer.lr, stage.lrs) == (64, 0.01, ())


def test_a_setting_changes_any_field_and_has_priority_over_the_short_options() -> None:
    recipe = changed(
        "full",
        "recipe.class_weights=balanced",
        "recipe.stages.1.layer_decay=0.7",
        "recipe.stages.0.lrs=[0.01, 0.02]",
        "recipe.stages.1.recipe.optimizer.name=sgd",
        "recipe.stages.1.recipe.batch_size=4",
        batch_size=8,
    )
    assert recipe.class_weights == "balanced"
    assert recipe.stages[0].lrs == (0.01, 0.02)
    assert recipe.stages[1].layer_decay == 0.7
    assert recipe.stages[1].recipe.batch_size == 4
    assert recipe.stages[1].recipe.optimizer.name == "sgd"


def test_numerics_that_fine_tuning_uses_can_be_set() -> None:
    settings = ("numerics.precision=fp32", "numerics.threads=1")
    _, numerics = change_recipe("probe", None, None, settings)
    assert numerics == Numerics(precision="fp32", threads=1)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("recipe.clas_weights=balanced", "recipe.clas_weights: unknown field"),
        ("recipe.stages.2.layer_decay=0.7", "recipe.stages.2: no such number, counted from 0"),
        ("recipe.stages.0=1", "recipe.stages.0: a number in a list has fields"),
        ("recipe.stages.1.patience=-1", "patience"),
        ("recipe.stages.1.recipe.batch_size=1", "batch normalization needs two images"),
        ("data.skip_bad=true", "--set: fine-tuning has options for its network"),
        ("model.depth=20", "--set: fine-tuning has options for its network"),
        ("numerics.batch_norm=synchronized", "numerics.batch_norm: not used in fine-tuning"),
        ("epochs", "--set: not FIELD=VALUE"),
    ],
)
def test_a_mistake_is_named_with_its_field_and_a_fix(setting: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        change_recipe("full", None, None, (setting,))
    assert line in str(caught.value)
    assert "Fix: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["recipe.ephocs=2", "epochs", "recipes.epochs=2"])
def test_a_wrong_setting_has_the_same_error_in_train_and_finetune(
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    lines = []
    for command in (["train", "lenet5", "--recipe", "digits"], ["finetune", "photos"]):
        monkeypatch.setattr("sys.argv", ["resnetlab", *command, "--set", setting])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        (line,) = [text for text in capsys.readouterr().err.splitlines() if "error:" in text]
        lines.append(line.partition("allowed:")[0])
    assert lines[0] == lines[1]


def test_the_option_sets_the_number_of_loader_threads_only_within_its_block() -> None:
    before = photo_loader.Prefetcher(lambda item: item).pool._max_workers
    with photo_loader.loader_threads(3):
        assert photo_loader.Prefetcher(lambda item: item).pool._max_workers == 3
    assert photo_loader.Prefetcher(lambda item: item).pool._max_workers == before


def test_the_options_reach_the_training_and_all_but_workers_change_its_id(
    tmp_path: Path,
) -> None:
    """Batch size and rate make another model; another number of workers the same bits."""
    from resnetlab.finetuning.finetune_photos import finetune
    from resnetlab.finetuning.request import FinetuneRequest

    photos = folder(tmp_path / "stripes", {"train": 4, "val": 2, "test": 2})
    recipe = changed("stage-one", batch_size=4, lr=0.01)
    first = FinetuneRequest(
        folder=photos,
        model="helpers.user_network:tiny",
        recipe=recipe,
        train_size=16,
        epochs=1,
        output=tmp_path / "out",
        trust_code=True,
        workers=1,
    )
    done = finetune(first)
    assert done.result.stages[0].lr == 0.01
    weights = (done.model_folder / "model.safetensors").read_bytes()
    again = finetune(replace(first, workers=3, output=tmp_path / "again"))
    assert (again.model_folder / "model.safetensors").read_bytes() == weights
    finetune(replace(first, workers=3))  # the same fine-tuning, which may replace its model
    for other in (
        replace(first, recipe=changed("stage-one", batch_size=6, lr=0.01)),
        replace(first, recipe=changed("stage-one", batch_size=4, lr=0.02)),
        replace(first, numerics=Numerics(threads=1)),
    ):
        with pytest.raises(InputError, match="another fine-tuning"):
            finetune(other)
