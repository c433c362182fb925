"""Every study of the catalog loads, plans and runs: a shrunken copy of its two cheapest networks, to its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import resnetlab as rl
from resnetlab import reports
from resnetlab.data.spec import Augment
from resnetlab.data.splits import load
from resnetlab.runs.execute import execute
from resnetlab.studies.backends.local import LocalBackend
from resnetlab.studies.overrides import Overrides
from resnetlab.studies.plan import Plan
from resnetlab.studies.run import plan_study, read_record
from resnetlab.studies.spec import Condition, Study, load_study, study_names
from resnetlab.training.recipe import Recipe

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEXT = Path(rl.__file__).parent / "catalog" / "studies"


FORMS = {"cifar10": (CIFAR10, 32, 3), "mnist": (tuple("0123456789"), 28, 1)}


def pictures(folder: Path, images: int, name: str) -> Path:
    """CIFAR-10 or MNIST in form, noise around a colour of its own a class in content."""
    draw, path = np.random.default_rng(0), folder / f"{name}.npz"
    classes, side, channels = FORMS[name]
    parts: dict[str, np.ndarray] = {"classes": np.array(classes)}
    for split, count in (("train", images), ("test", 100)):
        labels = np.arange(count) % 10
        colours = np.random.default_rng(1).integers(40, 215, (10, 1, 1, channels))
        pixels = colours[labels] + draw.integers(-40, 40, (count, side, side, channels))
        parts |= {f"x_{split}": pixels.astype(np.uint8), f"y_{split}": labels.astype(np.int64)}
    np.savez(path, **parts)
    return path


def briefly(recipe: Recipe) -> Recipe:
    """One epoch; three where a study compares 30 with 10."""
    return replace(recipe, steps=None, epochs=3 if recipe.epochs == 30 else 1)


def shrunken(name: str, folder: Path, images: int) -> Study:
    """The study with two seeds and short recipes, of its two cheapest conditions; the claims go with the others."""
    full = load_study(name)
    sources = {condition.data.source for condition in full.conditions}
    source = sources.pop() if len(sources) == 1 else ""
    data = str(pictures(folder, images, source)) if source in FORMS else None
    study = load_study(name, Overrides(data=data))
    _, side, channels = FORMS.get(source, FORMS["cifar10"])

    def macs(condition: Condition) -> int:
        return condition.model.cost(channels, 10, condition.recipe.augment.crop or side)[1]

    assert all(claim.says for claim in full.claims)
    return replace(
        study, seeds=(0, 1), claims=(), published=(), ladder=(),
        conditions=tuple(replace(c, recipe=briefly(c.recipe)) for c in sorted(study.conditions, key=macs)[:2]),
    )  # fmt: skip


def ran(plan: Plan, root: Path) -> None:
    for run in plan.runs:
        dataset = load(run.file.data, root / "cache")
        assert execute(run.id, run.file, dataset, root, rl.Placement(), lambda: False, lambda *_: None) is not None


@pytest.mark.parametrize("images", [128, pytest.param(512, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", study_names())
def test_a_shrunken_copy_runs_to_its_report(name: str, images: int, tmp_path: Path) -> None:
    study = shrunken(name, tmp_path, images)
    plan = plan_study(study, tmp_path, LocalBackend(tmp_path, rl.Placement()), lambda _: None)
    assert len(plan.runs) == len({run.id for run in plan.runs}) == 4
    ran(plan, tmp_path)
    report = reports.build(read_record(plan, tmp_path))
    assert not report.banner
    assert {row[2].text for row in report.ledger.rows} <= {"converged", "dead"}  # an epoch may be too few to learn
    assert len(report.ledger.rows) == 4


@pytest.mark.parametrize("name", study_names())
def test_a_study_opens_with_its_source_command_duration_and_result(name: str) -> None:
    lines = (TEXT / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    said = dict(line.removeprefix("# ").split(":", 1) for line in lines[:4])
    assert set(said) == {"Source", "Command", "Duration", "Result"}
    assert said["Command"].strip().startswith(f"resnetlab study run {name}")


@pytest.mark.parametrize("name", [name for name in study_names() if name.startswith(("depth", "shortcuts"))])
def test_a_study_of_a_source_pins_its_precision_and_reports_the_last_epoch_of_all_train_images(name: str) -> None:
    study = load_study(name)
    assert study.numerics.precision == "fp32"
    for condition in study.conditions:
        assert condition.data.validation == 0
        assert condition.recipe.choose == "last"
        assert condition.recipe.normalise == "half"
        assert condition.recipe.augment == Augment()


def test_each_number_of_the_two_reports_stands_beside_its_condition() -> None:
    described = {(item.condition, item.value.label) for item in load_study("depth").published}
    assert len(described) == 10
    assert ("residual 18 (depth report)", "residual 18") in described
    as_run = {item.condition for item in load_study("depth-as-run").published}
    assert as_run == {
        f"{kind} (depth {depth}, {run})"
        for kind in ("plain", "residual")
        for depth in (8, 14, 18, 34, 50)
        for run in ("as described", "as run")
    }
    assert len(load_study("shortcuts").published) == 24  # accuracy and loss
    assert len(load_study("shortcuts-torchvision").published) == 7
    assert not any(item.value.independent for item in load_study("shortcuts").published)
