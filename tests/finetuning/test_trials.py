"""Several networks are compared by their features, with methods for unequal class sizes. The
validation split selects, the test split does not, and the record has every trial.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight

from helpers.processes import environment
from helpers.texture_photographs import KINDS, folder, texture
from helpers.user_network import tiny
from resnetlab.cli.finetune.output import trial_lines
from resnetlab.data.transforms.photo_train import draw_photo_epoch
from resnetlab.errors import InputError
from resnetlab.finetuning import trials as module
from resnetlab.finetuning.evaluation import balanced_differences, count_by_class
from resnetlab.finetuning.finetune_photos import FinetunedModel, finetune
from resnetlab.finetuning.job import balanced_class_weights
from resnetlab.finetuning.network.backbones import DEFAULT_WEIGHTS_FILES
from resnetlab.finetuning.network.candidates import select_candidates
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.finetuning.results import BackboneTrial
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.photo_predictions import SplitPredictions
from resnetlab.models.weights import write_weights
from resnetlab.reports.finetuning_trials import backbone_section, balance_section
from resnetlab.training.rng import make_generator

PROBE = """
[[stages]]
name = "probe"
augment = "none"
size = "test"
lrs = [0.01, 0.1]
recipe = { batch_size = 16, steps = 60, optimizer = { name = "adamw" } }
"""


def write_network(workspace: Path, name: str, seed: int, scale: float = 1.0) -> Path:
    """Return a network with weights of its own; with a `scale` of 0 its features tell nothing."""
    torch.manual_seed(seed)
    tensors = tiny(num_classes=5).state_dict()
    tensors["stem.weight"] *= scale
    write_weights(workspace / f"{name}.safetensors", tensors, {})
    file = workspace / f"{name}.toml"
    file.write_text(
        f'source = "helpers.user_network:tiny"\nweights = "{name}.safetensors"\n'
        'license = "Apache-2.0"\n'
        "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
    )
    return file


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, a recipe, two networks that can be used and one that sees nothing."""
    root = tmp_path_factory.mktemp("trials")
    folder(root / "stripes", {"train": 8, "val": 6, "test": 5})
    (root / "probe.toml").write_text(PROBE)
    write_network(root, "first", 0)
    write_network(root, "second", 1)
    write_network(root, "blind", 2, scale=0.0)
    return root


@pytest.fixture(autouse=True, scope="module")
def _tiny_batches() -> Iterator[None]:
    """Let the time of a prediction be measured on few images."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("resnetlab.finetuning.time_limit.time_limit.TIMED_IMAGES", 2)
        yield


def request(workspace: Path, *names: str, **more: Any) -> FinetuneRequest:
    settings: dict[str, Any] = {
        "folder": workspace / "stripes",
        "tries": tuple(str(workspace / f"{name}.toml") for name in names),
        "recipe": str(workspace / "probe.toml"),
        "train_size": 16,
        "trust_code": True,
    }
    return FinetuneRequest(**(settings | more))


@pytest.fixture(scope="module")
def done(workspace: Path) -> FinetunedModel:
    return finetune(request(workspace, "blind", "first", "second", output=workspace / "out"))


def test_the_network_with_the_highest_validation_accuracy_is_used(
    workspace: Path, done: FinetunedModel
) -> None:
    """Each trial has the accuracy that the network has when it is fine-tuned alone."""
    trials = done.result.backbone_trials
    assert len(trials) == 3
    alone, weights = [], []
    for name in ("blind", "first", "second"):
        single = finetune(
            request(
                workspace, model=str(workspace / f"{name}.toml"), output=workspace / f"alone-{name}"
            )
        )
        alone.append(single.result.validation)
        weights.append((single.model_folder / "model.safetensors").read_bytes())
    for trial, expected in zip(trials, alone, strict=True):
        assert trial.validation == expected
    keys = [(item.accuracy_pct, -item.loss_nats) for item in alone]
    (selected,) = [index for index, trial in enumerate(trials) if trial.selected]
    assert selected == keys.index(max(keys))
    assert selected != 0
    assert done.result.validation == alone[selected]
    assert (done.model_folder / "model.safetensors").read_bytes() == weights[selected]
    caveats = load_model_folder(done.model_folder).file.caveats
    (caveat,) = caveats
    assert caveat == (
        "validation selected this network among 3: its validation accuracy is optimistic"
    )


def test_each_trial_has_its_size_license_and_paired_comparison(done: FinetunedModel) -> None:
    expected = sum(parameter.numel() for parameter in tiny(num_classes=len(KINDS)).parameters())
    best = next(trial for trial in done.result.backbone_trials if trial.selected)
    assert best.validation is not None
    assert best.paired is None
    for trial in done.result.backbone_trials:
        assert (trial.parameters, trial.license) == (expected, "Apache-2.0")
        assert trial.lr in (0.01, 0.1)
        if not trial.selected:
            assert trial.paired is not None
            assert trial.validation is not None
            difference = trial.validation.correct - best.validation.correct
            assert trial.paired.only_this - trial.paired.only_baseline == difference
            assert trial.paired.baseline_accuracy_pct == best.validation.accuracy_pct
    saved = json.loads((done.report_folder / "finetune.json").read_text())["backbone_trials"]
    assert [row["model"] for row in saved] == [t.model for t in done.result.backbone_trials]
    lines = trial_lines(done.result)
    assert len(lines) == 3
    assert sum(line.endswith(", selected") for line in lines) == 1


def test_test_images_with_other_labels_select_the_same_network(
    workspace: Path, done: FinetunedModel, tmp_path: Path
) -> None:
    photos = tmp_path / "stripes"
    shutil.copytree(workspace / "stripes", photos)
    for path in sorted((photos / "test" / KINDS[0]).iterdir()):
        path.rename(photos / "test" / KINDS[1] / f"moved-{path.name}")
    texture(KINDS[0], 1).save(photos / "test" / KINDS[0] / "one.png")
    other = request(workspace, "blind", "first", "second", folder=photos, output=tmp_path / "out")
    again = finetune(other)
    for ours, theirs in zip(again.result.backbone_trials, done.result.backbone_trials, strict=True):
        assert replace(ours, seconds=0) == replace(theirs, seconds=0)
    weights = [item.model_folder / "model.safetensors" for item in (again, done)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert again.result.test.correct != done.result.test.correct


def test_the_probe_of_a_trial_is_not_trained_again(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    train_stage = module.run_stages.__globals__["train_stage"]

    def counted(model: Any, stage: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(stage.name)
        return train_stage(model, stage, *arguments, **options)

    monkeypatch.setitem(module.run_stages.__globals__, "train_stage", counted)
    finetune(request(workspace, "first", "second", output=tmp_path))
    assert calls == ["probe", "probe"]


def test_a_damaged_network_is_left_out_of_the_trials_with_its_reason(
    workspace: Path, tmp_path: Path
) -> None:
    write_network(tmp_path, "broken", 3)
    path = tmp_path / "broken.safetensors"
    messages: list[str] = []
    bad = request(workspace, "first", "second", output=tmp_path / "out")
    bad = replace(bad, tries=(str(tmp_path / "broken.toml"), *bad.tries))
    path.write_bytes(path.read_bytes()[:-40])
    result = finetune(bad, notify=messages.append).result
    (left_out,) = [trial for trial in result.backbone_trials if trial.validation is None]
    assert "broken.safetensors" in left_out.left_out
    name = "helpers.user_network:tiny+ (broken.safetensors)"
    assert f"{name}: left out: {left_out.left_out}" in messages
    assert f"tried {name}: left out, {left_out.left_out}" in trial_lines(result)
    alone = replace(bad, tries=(str(tmp_path / "broken.toml"),), output=tmp_path / "alone")
    with pytest.raises(InputError, match=r"broken\.safetensors"):
        finetune(alone)


def test_unknown_names_are_refused_together_before_training(workspace: Path) -> None:
    with pytest.raises(InputError) as caught:
        select_candidates(
            "", None, (str(workspace / "no.toml"), str(workspace / "absent.toml")), False
        )
    assert len(caught.value.problems) == 2
    named = select_candidates(
        str(workspace / "first.toml"), None, (str(workspace / "first.toml"),), False
    )
    assert len(named.backbones) == 1  # the same network twice is one


def test_a_non_commercial_license_is_refused_for_a_named_network_and_left_out_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_network(tmp_path, "free", 0)
    restricted = write_network(tmp_path, "restricted", 1)
    restricted.write_text(restricted.read_text().replace("Apache-2.0", "CC-BY-NC-4.0"))
    with pytest.raises(InputError, match="forbids commercial use"):
        select_candidates("", None, (str(restricted),), False)
    monkeypatch.setenv("RESNETLAB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    candidates = select_candidates("", None, ("local",), False)
    assert [backbone.origin for backbone in candidates.backbones] == [
        "RESNETLAB_WEIGHTS: free.toml"
    ]
    ((left_out),) = candidates.left_out
    assert "forbids commercial use" in left_out.reason
    assert len(select_candidates("", None, ("local",), True).backbones) == 2


def test_the_files_of_downloaded_weights_equal_the_defaults_of_torchvision() -> None:
    from torchvision.models import get_model_weights

    urls = {name: get_model_weights(name).DEFAULT.url for name in DEFAULT_WEIGHTS_FILES}
    assert {name: url.rpartition("/")[2] for name, url in urls.items()} == DEFAULT_WEIGHTS_FILES


def test_the_local_networks_are_files_and_downloads_without_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_network(tmp_path, "mine", 0)  # its weights are not a network of their own
    shutil.copy(tmp_path / "mine.safetensors", tmp_path / "resnet18.safetensors")
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet34-b627a593.pth").write_bytes(b"x")
    (checkpoints / "resnet50-0676ba61.pth").write_bytes(b"x")  # an older version
    placed = tmp_path / "cache" / "weights" / "torchvision"
    placed.mkdir(parents=True)
    shutil.copy(tmp_path / "mine.safetensors", placed / "resnet34.safetensors")
    snapshot = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"x")
    monkeypatch.setenv("RESNETLAB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("RESNETLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    backbones = select_candidates("", None, ("local",), False).backbones
    assert [backbone.config.slug.rstrip("+") for backbone in backbones] == [
        "helpers.user_network:tiny",
        "timm/resnet18",
        "torchvision/resnet34",
        "timm/resnet10t.c3_in1k",
    ]
    for name in ("RESNETLAB_WEIGHTS", "RESNETLAB_CACHE", "TORCH_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    with pytest.raises(InputError, match="no pre-trained network is on this machine"):
        select_candidates("", None, ("local",), False)


def test_a_network_without_remaining_time_is_left_out_but_at_least_one_is_tried(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of 1,000 s, trials may take 400 s: two networks of 150 s fit, a third does not.
    One second for each of 42 images is too long for every network, so the first alone is tried.
    """
    seconds = iter((150.0, 150.0, 500.0))
    monkeypatch.setattr(module, "time_prediction", lambda *_: next(seconds) / 42)
    names = ("first", "second", "blind")
    result = finetune(
        request(workspace, *names, output=tmp_path / "some"), time_limit_seconds=1000
    ).result
    last = result.backbone_trials[-1]
    assert [trial.validation is None for trial in result.backbone_trials] == [False, False, True]
    assert "would take about 8 min here, and trials may take 40 %" in last.left_out
    assert "--time-limit 21m" in last.left_out or "--time-limit 25m" in last.left_out
    times = {"a": iter((900.0, 600.0, 700.0))}
    monkeypatch.setattr(module, "time_prediction", lambda *_: next(times["a"]) / 42)
    result = finetune(
        request(workspace, *names, output=tmp_path / "one"), time_limit_seconds=1000
    ).result
    (tried,) = [trial for trial in result.backbone_trials if trial.validation is not None]
    assert tried.selected
    assert [trial.validation is None for trial in result.backbone_trials] == [False, True, True]
    assert tried.model == "helpers.user_network:tiny+ (second.safetensors)"


def test_the_page_names_the_networks_that_validation_cannot_distinguish(
    done: FinetunedModel,
) -> None:
    """They are those with a p of McNemar's test of at least 0.05, of all that were tried."""
    section = backbone_section(done.result)
    assert section is not None
    for trial in done.result.backbone_trials:
        is_close = trial.paired is not None and trial.paired.p >= 0.05
        assert (trial.model in section.text.partition("better than")[2]) == is_close
    rows = [[cell.text for cell in row] for row in section.table.rows]
    assert [row[0] for row in rows] == [trial.model for trial in done.result.backbone_trials]
    assert sum("selected" in row for row in rows) == 1
    wrong = BackboneTrial(model="timm/gone", origin="file", left_out="no such file")
    trials = (*done.result.backbone_trials, wrong)
    more = backbone_section(replace(done.result, backbone_trials=trials))
    assert more is not None
    assert more.table.rows[-1][-1].note == "No such file"
    assert "of 3 networks" in more.text
    assert backbone_section(replace(done.result, backbone_trials=())) is None


def test_the_command_prints_the_trials_and_writes_them_to_the_page(
    workspace: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "resnetlab", "finetune", str(workspace / "stripes")]
    for name in ("first", "blind"):
        command += ["--try", str(workspace / f"{name}.toml")]
    command += ["--recipe", str(workspace / "probe.toml"), "--train-size", "16", "--trust-code"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert (
        sum(
            line.startswith("tried helpers.user_network:tiny+ (")
            for line in done.stdout.splitlines()
        )
        == 2
    )
    page = (tmp_path / done.stdout.splitlines()[-1].removeprefix("Page: ")).read_text()
    assert '<h2 id="networks">Networks tried</h2>' in page
    assert "has the highest accuracy of 2 networks on 18 validation photographs" in page


# Uneven classes
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven(workspace: Path) -> Path:
    """Return a folder in which one class has three train photographs, the others twenty."""
    root = workspace / "uneven"
    folder(root, {"train": 20, "val": 6, "test": 5})
    for path in sorted((root / "train" / "plain").iterdir())[3:]:
        path.unlink()
    return root


@pytest.fixture(scope="module")
def balanced(workspace: Path, uneven: Path) -> FinetunedModel:
    return finetune(
        request(
            workspace,
            model=str(workspace / "first.toml"),
            folder=uneven,
            output=workspace / "uneven-out",
        )
    )


def test_three_methods_are_tried_for_uneven_classes_and_balanced_accuracy_selects_one(
    balanced: FinetunedModel, workspace: Path, uneven: Path
) -> None:
    """Each trial is the fine-tuning with that method alone."""
    trials = balanced.result.balance_trials
    assert [trial.method for trial in trials] == ["none", "class weights", "balanced sampler"]
    best = max(trials, key=lambda trial: trial.balanced_pct)
    (selected,) = [trial for trial in trials if trial.selected]
    assert selected == best
    assert balanced.result.balance == selected.method
    section = balance_section(balanced.result)
    assert section is not None
    assert [row[0].text for row in section.table.rows] == [trial.method for trial in trials]
    assert sum(row[-1].text == "selected" for row in section.table.rows) == 1
    for name, trial in zip(("none", "weights", "sampler"), trials, strict=True):
        single = request(
            workspace,
            model=str(workspace / "first.toml"),
            folder=uneven,
            output=workspace / f"uneven-{name}",
            balance=name,
        )
        result = finetune(single).result
        assert result.balance_trials == ()
        assert (result.balance, result.validation) == (trial.method, trial.validation)
    caveats = load_model_folder(balanced.model_folder).file.caveats
    (caveat,) = caveats
    assert caveat == (
        "the classes are uneven (3 to 20 train images): validation selected the method "
        f'"{selected.method}" of 3 by balanced accuracy'
    )
    assert sum("uneven classes" in line for line in trial_lines(balanced.result)) == 3


def test_training_with_even_classes_does_not_change(done: FinetunedModel) -> None:
    assert done.result.balance_trials == ()
    assert done.result.balance == "none"


def test_an_unknown_method_is_refused(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"--balance: unknown \(got much; allowed: auto, none"):
        finetune(request(workspace, "first", balance="much"))


def test_the_class_weights_equal_sklearn() -> None:
    labels = np.repeat(np.arange(4), (3, 50, 7, 20))
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert balanced_class_weights(labels, 4).numpy() == pytest.approx(expected)


def test_the_balanced_accuracy_equals_sklearn() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.array([0, 1, 2]), (3, 50, 7))  # class 3 has no image
    probabilities = (
        np.pad(generator.dirichlet(np.ones(3), len(labels)), ((0, 0), (0, 1))) for _ in range(2)
    )
    ours, theirs = (SplitPredictions(each, labels) for each in probabilities)
    scores = [balanced_accuracy_score(labels, item.predicted) for item in (ours, theirs)]
    assert count_by_class(ours).balanced_accuracy == pytest.approx(scores[0])
    difference = balanced_differences(ours, theirs).sum() / 3
    assert difference == pytest.approx(scores[0] - scores[1])


def test_the_balanced_sampler_draws_classes_equally_often_and_crops_each_draw_independently() -> (
    None
):
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    weights = 1 / torch.bincount(labels)[labels]

    def generator(*names: str | int) -> torch.Generator:
        return make_generator(0, *names)

    draws = draw_photo_epoch(1000, generator, weights)
    counts = torch.bincount(labels[draws.order], minlength=3).tolist()
    assert sum(counts) == 1000
    assert all(abs(count - 1000 / 3) < 5 * (1000 * 2 / 9) ** 0.5 for count in counts)
    assert draws.rows.tolist() == list(range(1000))
    plain = draw_photo_epoch(1000, generator)
    assert torch.equal(plain.rows, plain.order)
    assert torch.equal(plain.crop, draws.crop)
    again = draw_photo_epoch(1000, generator, weights)
    assert torch.equal(again.order, draws.order)
