"""A repeat of a fine-tuning that is cut short does not replace the model of the longer one."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.finetuning import request
from resnetlab.finetuning.finetune_photos import FinetunedModel, finetune
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.recipes.finetune import FinetuneRecipe, Stage
from resnetlab.recipes.train import Adam, Recipe


def two_stages(photos: Path, backbone: Path) -> FinetuneRequest:
    """Return a request of a probe of three epochs, then all layers for two epochs."""

    def stage(name: str, epochs: int) -> Stage:
        recipe = Recipe(batch_size=8, epochs=epochs, optimizer=Adam(lr=0.01))
        return Stage(name=name, trainable="classifier" if name == "probe" else "all", recipe=recipe)

    recipe = FinetuneRecipe(name="two", train_size=24, stages=(stage("probe", 3), stage("all", 2)))
    return request(photos, backbone, recipe=recipe, balance="none", name="pets")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def clear_stages(requested: FinetuneRequest) -> None:
    """Remove the cached stages, with which a repeat has no stage to train."""
    for path in (requested.output / "cache" / "stages").glob("*.safetensors"):
        path.unlink()


def test_a_shorter_time_limit_does_not_replace_the_model_of_the_longer_one(
    photos: Path, backbone: Path
) -> None:
    requested = two_stages(photos, backbone)
    first = finetune(requested)
    model, report = files(first.model_folder), files(first.report_folder)
    clear_stages(requested)
    lines = list[str]()
    second = finetune(requested, time_limit_seconds=0.01, notify=lines.append)
    assert second.result.time_limit_cuts
    assert files(first.model_folder) == model
    assert files(first.report_folder) == report
    assert second.model_folder.name == second.report_folder.name == "pets-shorter"
    assert json.loads((second.model_folder / "model.json").read_text())["name"] == "pets-shorter"
    (note,) = [line for line in lines if "keeps its model from before" in line]
    assert note.startswith(str(first.model_folder))
    assert f"validation {first.result.validation.accuracy_pct:.1f} %" in note


def test_a_stop_in_a_repeat_does_not_replace_the_complete_model(
    photos: Path, backbone: Path
) -> None:
    requested = two_stages(photos, backbone)
    first = finetune(requested)
    model = files(first.model_folder)
    clear_stages(requested)
    lines = list[str]()

    def stop_after_the_first_stage() -> bool:
        return any(line.startswith("usable from now on") for line in lines)

    second = finetune(requested, should_stop=stop_after_the_first_stage, notify=lines.append)
    assert second.model_folder.name == "pets-shorter"
    assert files(first.model_folder) == model


def test_a_complete_repeat_replaces_the_model_at_its_end(photos: Path, backbone: Path) -> None:
    requested, lines = two_stages(photos, backbone), list[str]()
    short = finetune(requested, time_limit_seconds=0.01)
    during = list[dict[str, bytes]]()

    def notify(line: str) -> None:
        lines.append(line)
        during.append(files(short.model_folder))

    cut = files(short.model_folder)
    full: FinetunedModel = finetune(requested, notify=notify)
    assert full.model_folder == short.model_folder
    assert files(full.model_folder) != cut
    evaluating = next(k for k, line in enumerate(lines) if line.startswith("evaluating"))
    assert all(content == cut for content in during[: evaluating + 1])
    assert not full.model_folder.with_name("pets-shorter").exists()


def test_a_complete_repeat_removes_the_page_of_a_shorter_one(photos: Path, backbone: Path) -> None:
    requested = two_stages(photos, backbone)
    full = finetune(requested)
    short = finetune(requested, time_limit_seconds=0.01)
    assert short.report_folder.name == "pets-shorter"
    assert short.report_folder.exists()
    again = finetune(requested)
    assert again.model_folder == full.model_folder
    assert not short.model_folder.exists()
    assert not short.report_folder.exists()
