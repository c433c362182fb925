"""Rungs of a ladder add to the one before, side rungs have the same parent, and invalid ladders are
refused.
"""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import pytest

from helpers.study_files import parse
from resnetlab.errors import InputError
from resnetlab.recipes.train import SGD, Adam, Cosine, Exponential
from resnetlab.schema import decode, encode
from resnetlab.studies.claims import Better, Equivalent
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.study import Condition, Study

RIGHT = """
name = "steps"
question = "Which step helps?"
data = "digits"
model = "cifar-resnet8"
recipe = { epochs = 2, optimizer = { name = "sgd", lr = 0.1, momentum = 0.0 }, normalize = "none" }
seeds = [0, 1]
[[rung]]
name = "baseline"
why = "Where it begins."
[[rung]]
name = "+ normalization"
adds = { "recipe.normalize" = "train" }
why = "One rate suits all directions."
source = "a paper, sec. 1"
[[rung]]
name = "halves"
instead_of = "+ normalization"
adds = { "recipe.normalize" = "half" }
expect = "none"
why = "Without statistics."
[[rung]]
name = "+ momentum"
adds = { recipe.optimizer.momentum = 0.9, recipe.schedule = { name = "exponential" } }
why = "A mean of past gradients."
[[rung]]
name = "Adam"
instead_of = "+ momentum"
adds = { "recipe.optimizer" = { name = "adam" }, "recipe.schedule" = { name = "cosine" } }
expect = "equal"
margin = 1.0
why = "A rate a weight."
[[rung]]
name = "+ dropout"
adds = { "model.dropout" = 0.1, "recipe.augment.flip" = true }
expect = "less"
why = "Units that are silent."
"""


def tables(**changes: Any) -> dict[str, Any]:
    return tomllib.loads(RIGHT) | changes


def changed(index: int, **changes: Any) -> dict[str, Any]:
    """Return the right file with changes of one rung."""
    table = copy.deepcopy(tables())
    table["rung"][index] |= changes
    return table


def error_text(raw: dict[str, Any], **overrides: Any) -> str:
    with pytest.raises(InputError) as caught:
        parse(raw, **overrides)
    return str(caught.value)


def by_name(study: Study) -> dict[str, Condition]:
    return {condition.label: condition for condition in study.conditions}


def test_a_rung_changes_the_previous_rung_and_a_side_rung_the_same_parent() -> None:
    conditions = by_name(parse(tables()))
    assert list(conditions) == [
        "baseline",
        "+ normalization",
        "halves",
        "+ momentum",
        "Adam",
        "+ dropout",
    ]
    recipes = {name: condition.recipe for name, condition in conditions.items()}
    assert [recipes[name].normalize for name in conditions] == [
        "none",
        "train",
        "half",
        "train",
        "train",
        "train",
    ]
    assert recipes["halves"].optimizer == recipes["baseline"].optimizer == SGD(lr=0.1, momentum=0.0)
    assert (
        recipes["+ momentum"].optimizer
        == recipes["+ dropout"].optimizer
        == SGD(lr=0.1, momentum=0.9)
    )
    assert recipes["+ momentum"].schedule == recipes["+ dropout"].schedule == Exponential()
    assert (recipes["Adam"].optimizer, recipes["Adam"].schedule) == (Adam(), Cosine())
    assert [condition.model.dropout for condition in conditions.values()] == [0.0] * 5 + [0.1]  # type: ignore[union-attr]
    assert [recipe.augment.flip for recipe in recipes.values()] == [False] * 5 + [True]
    assert {condition.recipe.epochs for condition in conditions.values()} == {2}
    assert [condition.values for condition in conditions.values()] == [
        {"rung": name} for name in conditions
    ]


def test_every_rung_has_its_parent_and_its_changes() -> None:
    rungs = {rung.condition: rung for rung in parse(tables()).ladder}
    assert {name: rung.parent for name, rung in rungs.items()} == {
        "baseline": "",
        "+ normalization": "baseline",
        "halves": "baseline",
        "+ momentum": "+ normalization",
        "Adam": "+ normalization",
        "+ dropout": "+ momentum",
    }
    assert rungs["halves"].instead_of == "+ normalization"
    assert rungs["+ momentum"].adds == (
        "recipe.optimizer.momentum = 0.9",
        "recipe.schedule.name = exponential",
    )
    assert rungs["+ dropout"].adds == ("model.dropout = 0.1", "recipe.augment.flip = true")


def test_the_expected_effect_of_a_rung_becomes_a_claim() -> None:
    first, second, third, fourth = parse(tables()).claims
    assert (first, second) == (
        Better(
            statement="“+ normalization” is more accurate than “baseline”.",
            source="a paper, sec. 1",
            left="+ normalization",
            right="baseline",
        ),
        Better(
            statement="“+ momentum” is more accurate than “+ normalization”.",
            left="+ momentum",
            right="+ normalization",
        ),
    )
    assert third == Equivalent(
        statement="“Adam” and “+ normalization” are within 1 point.",
        left="Adam",
        right="+ normalization",
        margin=1.0,
    )
    assert isinstance(fourth, Better)
    assert (fourth.left, fourth.right) == ("+ momentum", "+ dropout"), (
        "less is the parent above the rung"
    )


def test_claims_of_a_file_select_rungs_by_name_and_follow_the_claims_of_the_rungs() -> None:
    custom = {"statement": "Adam wins.", "left": {"rung": "Adam"}, "right": {"rung": "baseline"}}
    study = parse(tables(claim=[custom]))
    assert (study.claims[-1].left, study.claims[-1].right) == ("Adam", "baseline")  # type: ignore[union-attr]
    assert len(study.claims) == 5


def test_a_command_changes_only_fields_that_no_rung_sets() -> None:
    study = parse(tables(), settings=("recipe.epochs=3", "data.train_images=500"), seeds=(0, 1, 2))
    assert {(c.recipe.epochs, c.data.train_images) for c in study.conditions} == {(3, 500)}
    assert study.seeds == (0, 1, 2)
    for key, rung in (
        ("recipe.normalize=half", "+ normalization"),
        ("recipe.schedule={name='cosine'}", "+ momentum"),
    ):
        assert f'is set by the rung "{rung}"' in error_text(tables(), settings=(key,))


def test_selected_rungs_include_their_parents_and_dropped_claims_are_listed() -> None:
    study = parse(tables(), settings=('grid.rung=["baseline", "+ normalization", "halves"]',))
    assert (
        list(by_name(study))
        == [rung.condition for rung in study.ladder]
        == ["baseline", "+ normalization", "halves"]
    )
    assert [claim.statement for claim in study.claims] == [
        "“+ normalization” is more accurate than “baseline”."
    ]
    assert len(study.left_out) == 3
    line = error_text(tables(), settings=('grid.rung=["baseline", "Adam"]',))
    assert '"Adam" needs its parent "+ normalization", which is left out' in line
    assert "not a value of the axis" in error_text(tables(), settings=('grid.rung=["basline"]',))
    part = load_study("ladder", Overrides(settings=('grid.rung=["baseline", "+ normalization"]',)))
    assert {pair.condition for pair in part.references} == {"baseline", "+ normalization"}


def test_a_ladder_is_decoded_as_it_was_encoded() -> None:
    study = parse(tables())
    assert decode(Study, encode(study), "plan.json") == study


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            changed(1, adds={"recipe.normalize": "none"}),
            "rung[1].adds: changes nothing of baseline",
        ),
        (
            changed(3, adds={"recipe.optimizer.momentum": 0.0}),
            "rung[3].adds: changes nothing of + normalization",
        ),
        (changed(1, adds={}), "rung[1].adds: changes nothing"),
        (
            changed(1, adds={"recipe.normalise": "train"}),
            "rung[1].adds.recipe.normalise: unknown field",
        ),
        (
            changed(1, adds={"recipe.normalize": "trian"}),
            "rung[1].adds.recipe.normalize: unknown value",
        ),
        (
            changed(1, adds={"recipes.normalize": "train"}),
            "rung[1].adds.recipes.normalize: not a field of model, data",
        ),
        (changed(3, name="baseline"), "rung[3].name: given twice"),
        (changed(2, instead_of="+ normalisation"), "rung[2].instead_of: no such earlier rung"),
        (changed(2, instead_of="baseline"), "rung[2].instead_of: no such earlier rung"),
        (changed(2, instead_of="+ dropout"), "rung[2].instead_of: no such earlier rung"),
        (changed(5, instead_of="Adam"), "rung[5].instead_of: no such earlier rung"),
        (
            changed(0, adds={"recipe.normalize": "half"}),
            "rung[0].adds: the first rung is the baseline",
        ),
        (changed(1, expect="better"), "rung[1].expect: unknown value"),
        (changed(1, expect="equal"), "rung[1].margin: requires expect"),
        (changed(1, margin=1.0), "rung[1].margin: requires expect"),
        (changed(1, whys="?"), "rung[1].whys: unknown field"),
        (tables(grid={"model.depth": [8, 14]}), "rung: not allowed together with [grid]"),
        (tables(rung={"name": "x"}), "rung: not tables"),
        (tables(recipe={"epochs": 2, "normalise": "none"}), "recipe.normalise: unknown field"),
        (tables(model=None), "model: missing"),
        (
            tables(claim=[{"statement": "?", "left": {"rung": "Adma"}, "right": {"rung": "Adam"}}]),
            "no condition with rung",
        ),
    ],
)
def test_a_mistake_in_a_ladder_is_reported_with_its_field_and_fix(
    raw: dict[str, Any], message: str
) -> None:
    raw = {key: value for key, value in raw.items() if value is not None}
    lines = error_text(raw).splitlines()
    matching = [line for line in lines if message in line]
    assert matching, lines
    assert "Fix: " in matching[0]


def test_a_mistake_in_a_parent_is_reported_once() -> None:
    assert len(error_text(tables(recipe={"epochs": 0})).splitlines()) == 1
    assert len(error_text(changed(1, adds={"recipe.normalize": "trian"})).splitlines()) == 1


def test_the_ladder_of_the_catalog_equals_the_practical() -> None:
    study = load_study("ladder")
    main = [rung.condition for rung in study.ladder if not rung.instead_of]
    assert main == [
        "baseline",
        "+ normalization",
        "+ crop 28 and flip",
        "+ momentum and decay",
        "+ dropout",
        "+ batch norm",
    ]
    conditions = by_name(study)
    last = conditions["+ batch norm"]
    assert (last.recipe.normalize, last.recipe.augment.crop, last.recipe.augment.flip) == (
        "train",
        28,
        True,
    )
    assert (last.recipe.optimizer, last.recipe.schedule) == (
        SGD(lr=0.1, momentum=0.9),
        Exponential(gamma=0.95),
    )
    assert (last.model.dropout, last.model.batch_norm, last.model.ceil_mode) == (0.5, True, True)  # type: ignore[union-attr]
    assert conditions["baseline"].recipe.optimizer == SGD(lr=0.1, momentum=0.0)
    references = {
        pair.condition: pair.value.value for pair in study.references if not pair.value.selected_on
    }
    assert set(main[:4]) < set(references)
    assert {pair.protocol.epochs for pair in study.references if pair.condition == "baseline"} == {
        40
    }
