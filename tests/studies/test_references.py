"""Published numbers: each file loads, has the values of its source, and refuses others."""

import math

import pytest

from resnetlab.errors import InputError
from resnetlab.schema import decode, encode, without_defaults
from resnetlab.stats.intervals import mean, variance
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.references import load_reference_source, reference_names
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.parsing.toml_tables import read_named
from resnetlab.studies.study import Study

HE = (
    'name = "x"\nsource = "X, table 1"\n[protocol]\nsummary = "as it was"\n'
    '[[value]]\nlabel = "a"\nmodel = "cifar-resnet20"\nquantity = "error"\n'
)


def value(source, label):
    return next(held for held in load_reference_source(source).value if held.label == label)


@pytest.mark.parametrize("name", reference_names())
def test_each_file_loads_and_is_named_as_its_file(name):
    source = load_reference_source(name)
    assert source.name == name
    for held in source.value:
        if held.run_values and held.sd:
            assert math.sqrt(variance(held.run_values)) == pytest.approx(held.sd, abs=0.006)


@pytest.mark.parametrize(
    ("source", "label", "number"),
    [
        ("he2016-cifar10", "ResNet-20", 8.75),
        ("he2016-cifar10", "ResNet-110, best of 5", 6.43),
        ("shortcut-report", "plain 56", 58.41),
        ("depth-report", "residual 18", 58.0),
        ("pytorch-repetition-cifar10", "ResNet-56", 6.61),
        ("he2016b-cifar10", "full preactivation", 6.37),
        ("fixres-dogs", "train 320, test 224", 94.73),
        ("he2015-imagenet", "ResNet-152, top-5", 4.49),
        ("practical-mnist", "LeNet-5", 98.62),
        ("amartyn-cifar10", "plain 56, epoch 10", 62.3),
    ],
)
def test_values_are_those_of_the_source(source, label, number):
    assert value(source, label).value == number


def test_a_value_keeps_what_its_source_says_of_it():
    best, own = (
        value("he2016-cifar10", "ResNet-110, best of 5").as_reported_result(),
        value("shortcut-report", "plain 20"),
    )
    assert (best.value, best.runs, best.is_best, best.half_width) == (
        pytest.approx(93.57),
        5,
        True,
        0.005,
    )
    assert not own.independent
    assert mean(own.run_values) == pytest.approx(own.value, abs=0.005)
    assert value("fixres-dogs", "train 320, test 380").status == "out of memory"
    assert value("he2016-figure6", "plain 20").rounding_half_width == 0.5
    assert value("depth-report", "plain 8").split == "train"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HE + "value = 8.75\nsplitt = 1\n", r"value\[0\].splitt: unknown field"),
        (HE, "neither or both of value and status"),
        (HE + 'value = 8.75\nstatus = "at chance"\n', "neither or both"),
        (HE + "value = 8.75\nrun_values = [8.7, 8.8]\n", r"num_runs: 1 for 2 runs"),
        (
            HE + "value = 8.75\nnum_runs = 2\nrun_values = [8.0, 8.1]\n",
            "the mean of the runs is 8.05",
        ),
        (HE.replace("resnet20", "resnet21") + "value = 8.75\n", r"value\[0\].model: 21 is not 6n"),
        (HE.replace('quantity = "error"', 'quantity = "eror"') + "value = 8.75\n", "error"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, text, said):
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        load_reference_source(str(path))
    assert all("\n" not in str(problem) for problem in caught.value.problems)


def study(published, **changes):
    raw, where = read_named("studies", "degradation", "study")
    return parse_study(raw | {"references": published} | changes, where, Overrides())


def test_a_number_stands_beside_the_condition_of_its_network():
    held = study("he2016-cifar10").references
    told = [(item.condition, item.value.value) for item in held]
    assert told == [("residual 20 (A)", 8.75), ("residual 56 (A)", 6.97)]
    assert len(study(["he2016-cifar10", "he2016-figure6"]).references) == 4
    assert load_study("digits").references == load_study("digits").unmatched_references == ()
    assert not {"references", "unmatched_references"} & set(without_defaults(load_study("digits")))


def test_numbers_that_no_condition_has_are_kept_apart():
    held = study(["he2016-cifar10", "he2016-figure6"])
    told = {pair.value.label for pair in held.unmatched_references}
    assert {"ResNet-32", "ResNet-110, mean of 5", "plain 44"} <= told
    assert not told & {pair.value.label for pair in held.references}
    assert {pair.condition for pair in held.unmatched_references} == {""}
    assert decode(Study, encode(held), "report.json") == held


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ("he2016-cifar11", 'did you mean "he2016-cifar10"'),
        ("fixres-dogs", "no number of fixres-dogs is of a condition"),
        (3, "neither a name nor a list of names"),
        (["he2016-cifar10", "he2016-cifar10"], "a source stands twice"),
    ],
)
def test_a_study_that_names_no_number_is_refused(published, said):
    with pytest.raises(InputError, match=said):
        study(published)


def test_at_tells_the_numbers_of_one_network_apart(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(HE + 'value = 8.75\nat = { "recipe.epochs" = 10 }\n', encoding="utf-8")
    assert [item.condition for item in study(str(path)).references] == ["residual 20 (A)"]
    path.write_text(HE + 'value = 8.75\nat = { "recipe.epochs" = 11 }\n', encoding="utf-8")
    with pytest.raises(InputError, match="no number of"):
        study(str(path))


def test_a_number_of_a_network_that_is_built_in_several_ways_stands_beside_each(tmp_path):
    path = tmp_path / "mine.toml"
    text = (
        HE.replace('"cifar-resnet20"', '["cifar-resnet20", { name = "cifar-plain20" }]')
        + "value = 8.75\n"
    )
    path.write_text(text, encoding="utf-8")
    assert [item.condition for item in study(str(path)).references] == [
        "plain 20",
        "residual 20 (A)",
    ]
    path.write_text(text.replace("plain20", "plain21"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"value\[0\].model: 21 is not 6n|value\[0\].model.name: 21 is not 6n"
    ):
        load_reference_source(str(path))


def test_the_runs_of_the_shortcut_report_average_to_its_losses():
    told = [value("shortcut-report", f"ResNet {depth} B, loss").value for depth in (20, 32, 44, 56)]
    assert told == [0.583, 0.567, 0.564, 0.555]
