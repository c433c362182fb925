"""Reduced variants of studies are declared, named and affordable, and the verdicts mention them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resnetlab.api.studies import load_study as load
from resnetlab.errors import InputError
from resnetlab.models.model_cost import model_cost
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.parsing.toml_tables import catalog_names, read_named
from resnetlab.studies.plan import Plan, folder_name, make_plan
from resnetlab.studies.trainers import properties_without_data

WITH_BUDGET = [n for n in catalog_names("studies") if "budget" in read_named("studies", n, "")[0]]

RESNET20_MACS, IMAGES_PER_SECOND = 40.8e6, 380
"""Multiply-adds of ResNet-20 for an image of CIFAR-10, and the train images a second of a slow pair
of cores."""


def plan_of(name: str, **overrides: Any) -> Plan:
    study = load_study(name, Overrides(variant="budget", **overrides))
    properties = {c.data_key: properties_without_data(c.data) for c in study.conditions}
    return make_plan(study, properties, lambda numerics: numerics, model_cost)


@pytest.mark.parametrize("name", WITH_BUDGET)
def test_a_budget_variant_needs_less_than_an_hour_on_two_cores_and_has_a_claim(name: str) -> None:
    plan = plan_of(name)
    macs = sum(run.train_macs + run.evaluation_images * run.file.macs / 3 for run in plan.runs)
    assert macs / (RESNET20_MACS * IMAGES_PER_SECOND) < 3600
    full = load_study(name)
    assert plan.study.claims or not full.claims
    assert len(plan.runs) <= len(full.conditions) * len(full.seeds)


def test_a_budget_variant_has_its_own_name_and_folder_and_may_be_changed() -> None:
    plan = plan_of("shortcuts")
    assert (plan.study.name, folder_name(plan)) == ("shortcuts-budget", "shortcuts-budget")
    assert "recipe.epochs = 2" in " ".join(map(str, plan.study.overrides))
    assert plan.study.seeds == (0, 1, 2, 3, 4)
    changed = plan_of("shortcuts", settings=("recipe.epochs=1",))
    assert folder_name(changed).startswith("shortcuts-budget-")
    assert changed.study.conditions[0].recipe.epochs == 1


def test_the_runs_of_a_budget_variant_contain_the_training_of_their_file() -> None:
    for condition in plan_of("shortcuts").study.conditions:
        assert condition.file_protocol.recipe.epochs == 10
        assert condition.file_protocol.data.train_images is None


def test_a_missing_budget_variant_is_reported_and_an_invalid_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the study has no such variant"):
        load_study("digits", Overrides(variant="budget"))
    text = """
name = "x"
question = "?"
data = "digits"
recipe = "adam"
model = "cifar-resnet20"
seeds = [0]
[budget]
set = ["recipe.epoch=2"]
seeds = 1
"""
    file = tmp_path / "x.toml"
    file.write_text(text)
    assert load_study(file).conditions[0].recipe.epochs != 2
    with pytest.raises(InputError, match="epoch"):
        load_study(file, Overrides(variant="budget"))
    file.write_text(text.replace("seeds = 1", "seed = 1"))
    with pytest.raises(InputError, match=r"budget\.seed"):
        load_study(file)


def test_the_evidence_variant_has_the_same_epochs_and_explains_its_size() -> None:
    study = load_study("shortcuts", Overrides(variant="evidence"))
    assert study.name == "shortcuts-evidence"
    assert {condition.recipe.epochs for condition in study.conditions} == {10}
    assert {condition.data.train_images for condition in study.conditions} == {10_000}
    assert len(study.seeds) == 5
    assert study.about.endswith("nor about the accuracy that 50,000 images give.")
    plan = make_plan(
        study,
        {c.data_key: properties_without_data(c.data) for c in study.conditions},
        lambda numerics: numerics,
        model_cost,
    )
    assert folder_name(plan) == "shortcuts-evidence"
    command = load("shortcuts", variant="evidence").command
    assert command == "resnetlab study run shortcuts --evidence"


def test_the_command_of_a_budget_variant_repeats_the_variant() -> None:
    assert load("shortcuts", variant="budget").command == "resnetlab study run shortcuts --budget"


def test_a_claim_about_every_step_or_rival_is_left_out_with_fewer_conditions() -> None:
    """Its statement names all steps, or all rivals: with fewer it would be another claim."""
    depths = Overrides(settings=("grid.model.depth=[20, 56]",))
    steps = "Residual networks become more accurate with every step from 20 to 110 layers."
    study = load_study("he2016", depths)
    assert steps in study.left_out
    assert steps not in [claim.statement for claim in study.claims]
    sizes = Overrides(settings=("grid.recipe.test_size=[224]",))
    best = "Train 320 and test 224 is the best pair of all."
    study = load_study("fixres", sizes)
    assert best in study.left_out
    assert best not in [claim.statement for claim in study.claims]
    assert study.claims
