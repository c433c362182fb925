"""Study files are parsed into conditions and claims, and all mistakes are reported at once."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.study_files import parse
from resnetlab.errors import InputError
from resnetlab.models.configs import CifarConfig, cifar_config
from resnetlab.recipes.finetune import finetune_recipe_names
from resnetlab.recipes.train import SGD, Adam, Cosine, MultiStep, Recipe
from resnetlab.schema import decode, encode
from resnetlab.studies.claims import condition_labels as compared
from resnetlab.studies.parsing.conditions import MAX_CONDITIONS, load_recipe
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.parsing.toml_tables import catalog_names
from resnetlab.studies.study import Override, Study

RECIPES = [*catalog_names("recipes"), *finetune_recipe_names()]

RIGHT = """
name = "depth"
question = "Does depth hurt?"
data = "digits"
recipe = "digits"
seeds = [0, 1]
[grid]
model.depth = [8, 14]
model.shortcut = ["none", "A"]
[[claim]]
statement = "Residual 14 is better than plain 14."
source = "a paper"
left = { model.depth = 14, model.shortcut = "A" }
right = { model.depth = 14, model.shortcut = "none" }
"""


def tables(**changes: Any) -> dict[str, Any]:
    """Return the right study with changes; None takes a field away."""
    table = tomllib.loads(RIGHT) | changes
    return {key: value for key, value in table.items() if value is not None}


def single(**changes: Any) -> dict[str, Any]:
    """Return a study without a grid."""
    return tables(**{"grid": None, "claim": None, "model": "cifar-resnet8"} | changes)


def error_lines(raw: dict[str, Any], **overrides: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(raw, **overrides)
    assert len(str(caught.value).splitlines()) == len(caught.value.problems)
    return str(caught.value).splitlines()


def labels(study: Study) -> list[str]:
    return [condition.label for condition in study.conditions]


# Content of a file
# --------------------------------------------------------------------------------------------------


def test_a_study_has_the_product_of_its_axes_and_its_claims_by_label() -> None:
    study = parse(tables())
    assert labels(study) == ["plain 8", "residual 8 (A)", "plain 14", "residual 14 (A)"]
    assert [c.model for c in study.conditions] == [
        cifar_config(d, s) for d in (8, 14) for s in ("none", "A")
    ]  # type: ignore[arg-type]
    assert study.conditions[0].values == {"model.depth": 8, "model.shortcut": "none"}
    assert {c.data.source for c in study.conditions} == {"digits"}
    assert {c.recipe for c in study.conditions} == {load_recipe("digits")}
    (claim,) = study.claims
    assert (claim.left, claim.right, claim.kind, claim.source) == (
        "residual 14 (A)",
        "plain 14",
        "greater",
        "a paper",
    )
    assert study.condition("plain 14").model == cifar_config(14, "none")
    assert (study.seeds, study.overrides) == ((0, 1), ())


@pytest.mark.parametrize(
    "grid",
    [
        'grid = { "model.depth" = [8, 14], "model.shortcut" = ["none", "A"] }',
        "[grid]\nmodel.depth = [8, 14]\nmodel.shortcut = ['none', 'A']",
        "[grid.model]\ndepth = [8, 14]\nshortcut = ['none', 'A']",
    ],
)
def test_axes_may_be_dotted_or_nested(grid: str) -> None:
    head = 'name = "x"\nquestion = "?"\ndata = "digits"\nrecipe = "digits"\nseeds = [0]\n'
    assert labels(parse(tomllib.loads(head + grid))) == labels(parse(tables()))


def test_a_study_without_a_grid_has_one_condition() -> None:
    assert labels(parse(single())) == ["residual 8 (A)"]


def test_models_data_and_recipes_may_be_axes_given_by_name() -> None:
    grid = {
        "model": ["cifar-plain8", "cifar-resnet8"],
        "data": ["digits", "mnist"],
        "recipe": ["digits", "adam"],
    }
    study = parse(tables(grid=grid, claim=None, data=None, recipe=None))
    assert len(study.conditions) == len(set(labels(study))) == 8
    assert {c.data.source for c in study.conditions} == {"digits", "mnist"}
    assert {c.recipe.batch_size for c in study.conditions} == {64, 128}
    assert {c.model for c in study.conditions} == {cifar_config(8, "none"), cifar_config(8)}


def test_a_field_below_an_axis_is_set_after_the_axis_in_any_order() -> None:
    grid = {"model.dropout": [0.0, 0.5], "model": ["cifar-plain8", "cifar-resnet8"]}
    study = parse(tables(grid=grid, claim=None))
    assert [(c.model.shortcut, c.model.dropout) for c in study.conditions] == [
        ("none", 0.0),
        ("A", 0.0),
        ("none", 0.5),
        ("A", 0.5),
    ]


@pytest.mark.parametrize(
    "grid",
    [
        {"recipe.optimizer.lr": [0.1, 0.2]},
        {"model.widths": [[4, 8, 16], [8, 16, 32]], "recipe.batch_size": [8, 16]},
        {"model.depth": [8, 14], "data.validation": [0.0, 0.1]},
        {
            "recipe.optimizer.lr": [0.1, 0.2],
            "recipe.schedule": [{"name": "cosine"}, {"name": "constant"}],
        },
        {"data.split_seed": [0, 1], "data.validation": [0, 0.5]},
        {
            "model.dropout": [0.0, 0.1],
            "model.init": ["he", "pytorch"],
            "model.shortcut": ["none", "B", "C"],
        },
    ],
)
def test_all_conditions_have_different_labels(grid: dict[str, Any]) -> None:
    study = parse(single(grid=grid, recipe={"epochs": 1, "optimizer": {"name": "sgd"}}))
    assert len(set(labels(study))) == len(study.conditions)


def test_a_recipe_may_be_a_name_a_table_or_a_table_with_a_base() -> None:
    base = load_recipe("cifar")
    changed = load_recipe(
        {"base": "cifar", "epochs": 2, "optimizer": {"lr": 0.5}, "schedule": {"name": "cosine"}}
    )
    assert changed.optimizer == SGD(lr=0.5, nesterov=True, weight_decay=5e-4)
    assert (changed.epochs, changed.schedule, changed.augment) == (2, Cosine(), base.augment)
    assert load_recipe({"epochs": 3}) == Recipe(epochs=3)


def test_a_different_optimizer_inherits_no_field_of_the_base() -> None:
    changed = load_recipe({"base": "he2016", "optimizer": {"name": "adam"}})
    assert changed.optimizer == Adam()
    assert changed.schedule == MultiStep()


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 3\n")
    (tmp_path / "study.toml").write_text(
        RIGHT.replace('recipe = "digits"', f'recipe = "{tmp_path}/mine.toml"')
    )
    study = load_study(tmp_path / "study.toml")
    assert study == load_study(str(tmp_path / "study.toml"))
    assert study.conditions[0].recipe == Recipe(epochs=3)


# The catalog
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog_names("studies"))
def test_every_study_of_the_catalog_loads_and_has_a_source_and_limits(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.question.endswith("?")
    assert study.about
    assert study.limits
    assert study.conditions
    assert study.seeds
    assert len(set(labels(study))) == len(study.conditions)
    for claim in study.claims:
        assert set(compared(claim)) <= set(labels(study))
        assert claim.source


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_catalog_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.total_steps(50_000) > 0


def test_the_study_digits_has_the_conditions_described_in_the_readme() -> None:
    study = load_study("digits")
    assert {(c.model.depth, c.model.shortcut) for c in study.conditions} == {
        (8, "none"),
        (8, "A"),
        (56, "none"),
        (56, "A"),
    }
    assert study.seeds == (0, 1, 2, 3, 4)
    recipe = study.conditions[0].recipe
    assert (recipe.optimizer, recipe.batch_size, recipe.epochs) == (Adam(lr=1e-3), 64, 10)
    assert [(claim.left, claim.right) for claim in study.claims] == [
        ("residual 56 (A)", "plain 56")
    ]


def test_the_recipe_of_the_paper_has_its_published_values() -> None:
    recipe = load_recipe("he2016")
    assert recipe.optimizer == SGD(lr=0.1, momentum=0.9, weight_decay=1e-4)
    assert (recipe.batch_size, recipe.steps, recipe.schedule) == (
        128,
        64_000,
        MultiStep(milestones=(0.5, 0.75), gamma=0.1),
    )
    assert (recipe.augment.crop_padding, recipe.augment.flip, recipe.decay_norm_and_bias) == (
        4,
        True,
        True,
    )


@pytest.mark.parametrize(
    "diagnostics",
    [
        {"gradient_norms": [0]},
        {"train_mode": True},
        {"loss_landscape": {"planes": 1, "points": 5, "images": 8, "batch_norm": "batch"}},
    ],
)
def test_measurements_with_batch_statistics_are_refused_if_processes_share_the_statistics(
    diagnostics: dict[str, Any],
) -> None:
    shared = {"numerics": {"batch_norm": "synchronized"}}
    (line,) = error_lines(tables(diagnostics=diagnostics, **shared))
    assert "diagnostics: not available with statistics that several processes share" in line
    assert 'Fix: numerics.batch_norm = "local"' in line
    parse(tables(diagnostics=diagnostics))
    parse(tables(diagnostics={"ablate_blocks": True}, **shared))


# Overrides
# --------------------------------------------------------------------------------------------------


def test_a_command_changes_data_seeds_and_fields_and_records_old_values() -> None:
    study = parse(
        tables(),
        data="cifar10",
        seeds=(0, 1, 2),
        settings=("recipe.epochs=2", "model.batch_norm = false"),
    )
    assert {c.data.source for c in study.conditions} == {"cifar10"}
    assert {
        (c.recipe.epochs, c.recipe.batch_size, c.model.batch_norm) for c in study.conditions
    } == {(2, 64, False)}
    assert study.seeds == (0, 1, 2)
    assert tuple(map(str, study.overrides)) == (
        "data = cifar10",
        "seeds = [0, 1, 2]",
        "recipe.epochs = 2 (was 10)",
        "model.batch_norm = false",
    )


def test_an_override_of_data_preserves_the_split_and_records_no_path() -> None:
    raw = tables(data={"source": "digits", "validation": 0.0})
    study = parse(raw, data="/home/me/pets.npz")
    assert study.conditions[0].data.source == "/home/me/pets.npz"
    assert study.conditions[0].data.validation == 0.0
    assert study.overrides == (Override("data", "pets.npz"),)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("recipe.optimizer.lr=0.5", lambda c: c.recipe.optimizer == Adam(lr=0.5)),
        ("recipe.optimizer.name=sgd", lambda c: c.recipe.optimizer == SGD()),
        (
            'recipe.optimizer={ name = "sgd", lr = 0.3 }',
            lambda c: c.recipe.optimizer == SGD(lr=0.3),
        ),
        ("recipe.schedule.name=cosine", lambda c: c.recipe.schedule == Cosine()),
        ("recipe.augment.flip=true", lambda c: c.recipe.augment.flip),
        ("recipe.normalize=half", lambda c: c.recipe.normalize == "half"),
        ("data.validation=0.2", lambda c: c.data.validation == 0.2),
        ("model.widths=[4, 8, 16]", lambda c: c.model.widths == (4, 8, 16)),
        ("model.shortcut=B", lambda c: c.model.shortcut == "B"),
        ("model.name=cifar-plain14", lambda c: c.model == cifar_config(14, "none")),
        ("model.depth=14", lambda c: c.model == cifar_config(14)),
    ],
)
def test_any_field_can_be_set_by_its_dotted_name(setting: str, expected: Any) -> None:
    study = parse(single(), settings=(setting,))
    assert all(expected(condition) for condition in study.conditions)
    assert study.overrides[0].key == setting.split("=")[0]


def test_numerics_can_be_set() -> None:
    assert (
        parse(single(), settings=("numerics.precision=fp32", "numerics.threads=2")).numerics.threads
        == 2
    )


def test_a_field_set_below_an_axis_applies_to_each_value() -> None:
    grid = {"model": ["cifar-plain8", "cifar-resnet8"], "recipe": ["digits", "cifar"]}
    study = parse(
        tables(grid=grid, claim=None),
        settings=("recipe.epochs=2", "model.dropout=0.1", "recipe.optimizer.name=sgd"),
    )
    assert {
        (c.recipe.epochs, c.model.dropout, c.recipe.optimizer.name) for c in study.conditions
    } == {(2, 0.1, "sgd")}
    assert {c.recipe.batch_size for c in study.conditions} == {64, 128}
    assert Override("recipe.epochs", "2") in study.overrides


def test_a_part_of_the_grid_has_the_same_labels_and_the_claims_about_its_conditions() -> None:
    full = parse(tables())
    part = parse(tables(), settings=("grid.model.depth=[14]", "recipe.epochs=2"))
    assert labels(part) == ["plain 14", "residual 14 (A)"]
    assert str(part.overrides[0]) == "grid.model.depth = [14] (was 2 values)"
    assert (part.claims, part.left_out) == (full.claims, ())
    other = parse(tables(), settings=("grid.model.depth=[8]",))
    assert (other.claims, other.left_out) == ((), ("Residual 14 is better than plain 14.",))
    raw = tables(
        claim=[
            {
                "statement": "Deeper is better.",
                "kind": "monotone",
                "along": "model.depth",
                "where": {"model.shortcut": "A"},
            }
        ]
    )
    assert parse(raw, settings=("grid.model.depth=[14]",)).left_out == ("Deeper is better.",)
    assert parse(raw, settings=('grid.model.shortcut=["A"]',)).left_out == ()


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (Override("data", "pets.npz"), "data = pets.npz"),
        (Override("recipe.epochs", "2", "10"), "recipe.epochs = 2 (was 10)"),
        (Override("data.split", "a = b"), "data.split = a = b"),
        (Override("model.weights", "x", ""), "model.weights = x (was )"),
        (Override("looks", "3, 5"), "seeds added at looks of 3, 5"),
    ],
)
def test_files_have_a_change_as_text(override: Override, text: str) -> None:
    study = replace(parse(single()), overrides=(override,))
    assert encode(study)["overrides"] == [text]
    assert decode(Study, encode(study), "plan.json") == study


def test_a_text_that_is_no_change_is_refused() -> None:
    tables = encode(parse(single())) | {"overrides": ["two epochs"]}
    with pytest.raises(InputError, match="not a change"):
        decode(Study, tables, "plan.json")


def test_overrides_do_not_change_the_tables_of_the_caller() -> None:
    raw = tables()
    before = copy.deepcopy(raw)
    parse(raw, data="mnist", settings=("recipe.epochs=1", "model.dropout=0.1"), seeds=(5,))
    assert raw == before


@pytest.mark.parametrize(
    ("settings_", "line"),
    [
        ("recipe.epochs", "--set: not FIELD=VALUE (got recipe.epochs; "),
        ("epochs=2", "--set: not FIELD=VALUE (got epochs=2; "),
        ("recipes.epochs=2", 'Fix: did you mean "recipe"?'),
        ("=", "--set: not FIELD=VALUE"),
        (
            "model.depth=20",
            "--set: model.depth is an axis of the study's grid. Fix: --set 'grid.model.depth=[",
        ),
        (
            "grid.model.dept=[8]",
            "--set: grid.model.dept: not an axis of the study's grid (allowed: model.depth, ",
        ),
        (
            "grid.model.depth=8",
            "--set: grid.model.depth: not a list of values (got 8; allowed: 8, 14). Fix: ",
        ),
        (
            "grid.model.depth=[8, 9]",
            "--set: grid.model.depth: not a value of the axis (got 9; allowed: 8, 14). ",
        ),
        ("grid.model.depth=[]", "--set: grid.model.depth: not a list of values"),
        ("recipe.epoch=2", "study.toml: recipe.epoch: unknown field "),
        ("recipe.epochs=two", 'study.toml: recipe.epochs: not allowed (got "two"; '),
        ("recipe.epochs=" + "9" * 5000, "study.toml: recipe.epochs: not allowed"),
        ("recipe.epochs=" + "[" * 5000, "study.toml: recipe.epochs: not allowed"),
        ("recipe." + "a." * 5000 + "b=1", "--set: not FIELD=VALUE"),
        ("recipe.epochs.x=2", "study.toml: recipe.epochs: not a table"),
    ],
    ids=range(15),
)
def test_an_invalid_override_is_refused(settings_: str, line: str) -> None:
    assert any(line in problem for problem in error_lines(tables(), settings=(settings_,)))


def test_two_invalid_overrides_are_reported_in_two_lines() -> None:
    assert len(error_lines(tables(), settings=("epochs=2", "model.depth=20"))) == 2


@pytest.mark.parametrize(
    "grid", [{"data": ["digits", "mnist"]}, {"data.source": ["digits", "mnist"]}]
)
def test_data_that_are_an_axis_cannot_be_overridden_silently(grid: dict[str, Any]) -> None:
    assert error_lines(single(grid=grid), data="cifar10")[0].startswith(
        "--data: data is an axis of the study's grid"
    )


# Mistakes
# --------------------------------------------------------------------------------------------------


def test_mistakes_of_all_parts_are_reported_at_once() -> None:
    """Name, data, recipe, grid and claims: a person corrects the file once."""
    raw = tables(
        name="my study",
        data="digit",
        recipe="digit",
        grid={"model.depth": [21], "model.shortcut": ["D"]},
        claim=[
            {
                "statement": "x",
                "left": {"model.depth": 57, "model.shortcut": "D"},
                "right": {"model.dept": 21},
            }
        ],
    )
    places = [line.split(": ")[1] for line in error_lines(raw)]
    assert sorted(places) == [
        "claim[0].left",
        "claim[0].right",
        "data",
        "model.depth",
        "model.shortcut",
        "name",
        "recipe",
    ]


def test_two_mistakes_of_one_kind_on_an_axis_are_reported_in_two_lines() -> None:
    lines = error_lines(single(grid={"recipe.epochs": ["ten", "six"]}))
    assert [line.split("got ")[1][:5] for line in lines] == ['"ten"', '"six"']


def test_a_catalog_study_loads_although_its_data_folder_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_study("fixres").conditions[0].data.source == "stanford-dogs"
    with pytest.raises(InputError, match="no such name, file or folder"):
        load_study("fixres", Overrides(data="nowhere"))
    (tmp_path / "nowhere").mkdir()
    load_study("fixres", Overrides(data="nowhere"))


def test_a_study_with_three_mistakes_reports_three() -> None:
    known = (
        "about, budget, claim, data, diagnostics, distance, ensemble, evidence, grid, limits, "
        "model, name, numerics, question, recipe, references, rung, seeds"
    )
    raw = tables(
        seed=3,
        recipe={"base": "digits", "epochs": "ten"},
        grid={"model.depth": [21], "model.shortcut": ["A"]},
        claim=[],
    )
    assert error_lines(raw) == [
        f'study.toml: seed: unknown field (allowed: {known}). Fix: did you mean "seeds"?',
        "study.toml: model.depth: 21 is not 6n + 2. Fix: 20 or 26",
        (
            'study.toml: recipe.epochs: not allowed (got "ten"; allowed: a whole number, '
            "at least 1). Fix: epochs = 1"
        ),
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"seeds": None}, ["seeds: missing. Fix: seeds = [0, 1, 2]"]),
        ({"seeds": []}, ["seeds: empty. Fix: seeds = [0, 1, 2]"]),
        ({"seeds": [1, 1]}, ["seeds: contains a seed twice. Fix: give each seed once"]),
        ({"name": None}, ['name: missing. Fix: add name = "..."']),
        ({"data": None}, ['data: missing. Fix: data = "digits"']),
        ({"recipe": None}, ['recipe: missing. Fix: recipe = "adam"']),
        ({"grid": None, "claim": None}, ['model: missing. Fix: model = "cifar-resnet20"']),
        (
            {"grid": 3},
            [
                "grid: not a table (got 3). Fix: write it as [grid] with its fields below",
                'model: missing. Fix: model = "cifar-resnet20"',
            ],
        ),
        ({"model": 5}, ['model: neither a name nor a table. Fix: model = "cifar-resnet20"']),
        ({"data": []}, ['data: neither a name nor a table. Fix: data = "digits"']),
        (
            {"recipe": "digit"},
            [
                (
                    f"recipe: unknown recipe (got digit; allowed: {', '.join(RECIPES)}). "
                    'Fix: did you mean "digits"?'
                )
            ],
        ),
        ({"recipe": {"base": "x/\0.toml"}}, None),
        (
            {"grid": {"model.depth": 8}},
            ["grid.model.depth: not a list of values. Fix: model.depth = [1, 2]"],
        ),
        (
            {"grid": {"model.depth": []}},
            ["grid.model.depth: not a list of values. Fix: model.depth = [1, 2]"],
        ),
        (
            {"grid": {"model.depth": [8, 8]}},
            ["grid.model.depth: contains a value twice. Fix: give each value once"],
        ),
        (
            {"grid": {"modle.depth": [8]}, "model": "cifar-resnet8"},
            [
                (
                    "grid.modle.depth: not a field of model, data, recipe, numerics. Fix: did you "
                    'mean "model"?'
                )
            ],
        ),
        (
            {"grid": {"model.depth": list(range(8, 9000, 6))}},
            ["grid: 1,499 conditions. Fix: at most 1,000"],
        ),
        (
            {"numerics": {"device": "gpu"}},
            [
                (
                    'numerics.device: unknown value (got "gpu"; allowed: auto, cpu, cuda, mps). '
                    'Fix: did you mean "cpu"?'
                )
            ],
        ),
    ],
    ids=range(18),
)
def test_a_mistake_is_reported_with_its_fix(
    changes: dict[str, Any], lines: list[str] | None
) -> None:
    problems = error_lines(tables(**changes))
    if lines is not None:
        assert problems == [f"study.toml: {line}" for line in lines]


def test_a_study_has_at_most_a_thousand_conditions() -> None:
    raw = single(grid={"recipe.batch_size": list(range(2, 2 + MAX_CONDITIONS))})
    assert len(parse(raw).conditions) == MAX_CONDITIONS


def claim(left: Any, right: Any, **more: Any) -> dict[str, Any]:
    return {"claim": [{"statement": "better", "left": left, "right": right} | more]}


RESIDUAL, PLAIN = (
    {"model.depth": 14, "model.shortcut": "A"},
    {"model.depth": 14, "model.shortcut": "none"},
)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            claim({"model": {"depth": 15, "shortcut": "A"}}, PLAIN),
            (
                "claim[0].left: no condition with model.depth = 15, model.shortcut = A "
                "(allowed: model.depth, model.shortcut). Fix: use values of the grid"
            ),
        ),
        (
            claim(RESIDUAL, {"model.depth": 14}),
            (
                "claim[0].right: 2 conditions with model.depth = 14 (allowed: model.depth, "
                "model.shortcut). Fix: name one condition by its axes"
            ),
        ),
        (
            claim(RESIDUAL, {"model.dept": 14}),
            (
                "claim[0].right: model.dept is not an axis of the grid (allowed: model.depth, "
                "model.shortcut). "
                'Fix: did you mean "model.depth"?'
            ),
        ),
        (
            claim(RESIDUAL, {}),
            (
                "claim[0].right: 4 conditions with nothing (allowed: model.depth, model.shortcut). "
                "Fix: name one condition by its axes"
            ),
        ),
        (
            claim(RESIDUAL, RESIDUAL),
            "claim[0]: left and right are the same condition. Fix: compare two",
        ),
        (
            claim(RESIDUAL, PLAIN, kind="grater"),
            (
                'claim[0].kind: unknown (got "grater"; allowed: greater, about, equal, '
                "fails-and-trains, average, every, relative, "
                'monotone, best, faster). Fix: did you mean "greater"?'
            ),
        ),
        (
            claim(3, PLAIN),
            "claim[0].left: not a table (got 3). Fix: write it as [left] with its fields below",
        ),
    ],
)
def test_a_claim_about_an_unknown_condition_is_reported(changes: dict[str, Any], line: str) -> None:
    assert error_lines(tables(**changes)) == [f"study.toml: {line}"]


def test_two_invalid_claims_are_reported_together() -> None:
    raw = tables(
        claim=[
            {"statement": "a", "left": {"x": 1}, "right": PLAIN},
            {"statement": "b", "left": RESIDUAL, "right": {}},
        ]
    )
    assert [line.split(":")[1] for line in error_lines(raw)] == [
        " claim[0].left",
        " claim[1].right",
    ]


def test_a_claim_in_a_study_without_a_grid_is_refused() -> None:
    (line, _) = error_lines(single(**claim({"model.depth": 8}, {"model.depth": 14})))
    assert line.endswith("Fix: add a [grid]")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "digit",
            (
                f"unknown study (got digit; allowed: {', '.join(catalog_names('studies'))}). "
                'Fix: did you mean "digits"?'
            ),
        ),
        ("absent.toml", "absent.toml: cannot be read: no such file or directory. Fix: "),
        ("./", "cannot be read: is a directory"),
        ("a\0/b", "cannot be read: embedded null byte"),
    ],
)
def test_a_missing_study_is_reported(
    source: str, line: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_study(source)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# Random tables
# --------------------------------------------------------------------------------------------------

words = st.sampled_from(
    [
        "cifar-resnet8",
        "cifar-plain20",
        "digits",
        "adam",
        "he2016",
        "sgd",
        "cosine",
        "A",
        "none",
        "greater",
        "x.toml",
    ]
)
keys = st.sampled_from(
    [
        "model",
        "data",
        "recipe",
        "depth",
        "shortcut",
        "blocks",
        "widths",
        "name",
        "base",
        "optimizer",
        "lr",
        "epochs",
        "source",
        "validation",
        "left",
        "right",
        "statement",
        "model.depth",
        "recipe.epochs",
        "schedule",
        "",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 60)
    | st.integers()
    | st.floats()
    | words
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)
fields = st.sampled_from([*tomllib.loads(RIGHT), "model", "numerics", "about", "limits"])
changes = st.dictionaries(fields | st.text(max_size=4), values, min_size=1, max_size=4)
commands = st.builds(
    Overrides,
    data=st.none() | words | st.text(max_size=4),
    seeds=st.none() | st.lists(st.integers(-1, 3), max_size=3).map(tuple),
    settings=st.lists(
        st.builds(
            "{}={}".format, st.lists(keys, max_size=3).map(".".join), st.text(max_size=6) | words
        )
        | st.text(max_size=6),
        max_size=2,
    ).map(tuple),
)


def parses_or_raises_input_error(changed: dict[str, Any], overrides: Overrides) -> None:
    refused: InputError | None = None
    try:
        study = parse_study(tomllib.loads(RIGHT) | changed, "study.toml", overrides)
        assert len(set(labels(study))) == len(study.conditions) > 0
        assert all(isinstance(condition.model, CifarConfig) for condition in study.conditions)
    except InputError as error:
        refused = error
    if refused:
        lines = str(refused).splitlines()
        assert len(lines) == len(refused.problems) > 0
        assert all(line.replace("\xa0", " ").isprintable() and len(line) < 2000 for line in lines)


@given(changes, commands)
def test_any_table_is_parsed_as_a_study_or_refused(
    changed: dict[str, Any], overrides: Overrides
) -> None:
    parses_or_raises_input_error(changed, overrides)


@pytest.mark.slow
@settings(max_examples=2000)
@given(changes, commands)
def test_any_table_is_parsed_as_a_study_or_refused_in_many_examples(
    changed: dict[str, Any], overrides: Overrides
) -> None:
    parses_or_raises_input_error(changed, overrides)


def test_a_label_contains_the_name_of_a_file_and_never_its_folder(tmp_path: Path) -> None:
    raw = {
        "name": "x",
        "question": "",
        "recipe": "adam",
        "seeds": [0],
        "model": "cifar-resnet8",
        "grid": {
            "data": [
                str(tmp_path / "a.npz"),
                str(tmp_path / "b.npz"),
                str(tmp_path / "c" / "b.npz"),
            ]
        },
    }
    labels = [condition.label for condition in parse_study(raw, "x.toml", Overrides()).conditions]
    assert labels == ["data a.npz, 1", "data b.npz, 2", "data b.npz, 3"]


def test_the_path_of_a_recipe_is_relative_to_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.toml").write_text("epochs = 7\n")
    path = tmp_path / "studies" / "x.toml"
    path.write_text(
        'name = "x"\nquestion = ""\nrecipe = "mine.toml"\nseeds = [0]\nmodel = '
        '"cifar-resnet8"\ndata = "digits"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert load_study(path).conditions[0].recipe.epochs == 7


def test_an_axis_of_networks_accepts_every_kind_of_network(tmp_path: Path) -> None:
    """Claims about networks that are not there any more are left out and named."""
    file = tmp_path / "mine.toml"
    file.write_text('source = "torchvision.models:resnet18"\nweights = "mine.safetensors"\n')
    setting = f'grid.model=["{file}", "torchvision/resnet50", "torchvision/resnet18"]'
    study = load_study("backbones", Overrides(settings=(setting,)))
    networks = [c.values["model"] for c in study.conditions]
    assert networks == ["torchvision/resnet18", "torchvision/resnet50", str(file)]
    assert str(tmp_path) not in " ".join(c.label for c in study.conditions)
    assert len(study.claims) == 1
    assert str(tmp_path) not in str(study.overrides)
    alone = load_study("backbones", Overrides(settings=(f'grid.model=["{file}"]',)))
    assert len(alone.conditions) == 1
    assert not alone.claims
    assert len(alone.left_out) == 1
    with pytest.raises(InputError, match="torchvison"):
        load_study("backbones", Overrides(settings=('grid.model=["torchvison/resnet18"]',)))
