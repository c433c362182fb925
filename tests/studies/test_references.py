"""The files of published numbers load and have the values of their source, and invalid files are
refused.
"""

from __future__ import annotations

import csv
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from resnetlab.cli.main import app
from resnetlab.errors import InputError
from resnetlab.models.model_cost import model_cost
from resnetlab.reports.published.costs import cost_rows, source_details, source_lines
from resnetlab.reports.published.depths import depth_sentences, depth_series
from resnetlab.reports.published.distances import distance_sentences
from resnetlab.schema import decode, encode, without_defaults
from resnetlab.stats.intervals import mean, variance
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.references import load_reference_source
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.parsing.toml_tables import catalog_names, read_named
from resnetlab.studies.published.references import ReferenceValue
from resnetlab.studies.study import Study

HE = (
    'name = "x"\nsource = "X, table 1"\n[protocol]\nsummary = "as it was"\n'
    '[[value]]\nlabel = "a"\nmodel = "cifar-resnet20"\nquantity = "error"\n'
)


def value(source: str, label: str) -> ReferenceValue:
    return next(values for values in load_reference_source(source).value if values.label == label)


@pytest.mark.parametrize("name", catalog_names("references"))
def test_each_file_loads_under_its_own_name(name: str) -> None:
    source = load_reference_source(name)
    assert source.name == name
    for values in source.value:
        if values.run_values and values.sd:
            assert math.sqrt(variance(values.run_values)) == pytest.approx(values.sd, abs=0.006)


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
        ("he2015-imagenet", "VGG (ILSVRC'14), top-5", 8.43),
        ("he2015-imagenet", "GoogLeNet (ILSVRC'14), top-5", 7.89),
        ("fixres-dogs", "train 320, test 224, validation", 94.24),
        ("fixres-dogs", "baseline InceptionResNetV2", 91.0),
        ("fixres-figure1", "FixEfficientNet-L2", 88.5),
        ("fixres-figure1", "ResNeXt-101 32x48d", 85.4),
        ("practical-mnist", "LeNet-5", 98.62),
        ("amartyn-cifar10", "plain 56, epoch 10", 62.3),
    ],
)
def test_values_equal_the_source(source: str, label: str, number: float) -> None:
    assert value(source, label).value == number


def test_a_value_contains_the_statements_of_its_source() -> None:
    best, custom = (
        value("he2016-cifar10", "ResNet-110, best of 5").as_reported_result(),
        value("shortcut-report", "plain 20"),
    )
    assert (best.value, best.runs, best.is_best, best.half_width) == (
        pytest.approx(93.57),
        5,
        True,
        0.005,
    )
    assert not custom.independent
    assert mean(custom.run_values) == pytest.approx(custom.value, abs=0.005)
    assert value("fixres-dogs", "train 320, test 380").status == "out of memory"
    assert value("he2016-figure6", "plain 20").rounding_half_width == 0.5
    assert value("depth-report", "plain 8").split == "train"


def test_errata_agree_with_the_values() -> None:
    """28 and 43 % are ratios of means over three depths; 22.6 and 33.6 % are means over four."""
    accuracy = {
        (kind, depth): mean(value("shortcut-report", f"{kind.format(depth)}").run_values)
        for kind in ("ResNet {} A", "plain {}")
        for depth in (20, 32, 44, 56)
    }
    loss = {
        (kind, depth): mean(value("shortcut-report", f"{kind.format(depth)}, loss").run_values)
        for kind in ("ResNet {} A", "ResNet {} B", "plain {}")
        for depth in (20, 32, 44, 56)
    }

    def of_means(table: Mapping[tuple[str, int], float], depths: Iterable[int]) -> float:
        left, right = (
            mean([table[kind, depth] for depth in depths]) for kind in ("ResNet {} A", "plain {}")
        )
        return 100 * abs(left / right - 1)

    def mean_gain(table: Mapping[tuple[str, int], float], depths: Iterable[int]) -> float:
        pairs = [(table["ResNet {} A", depth], table["plain {}", depth]) for depth in depths]
        return mean([100 * abs(left / right - 1) for left, right in pairs])

    assert of_means(accuracy, (32, 44, 56)) == pytest.approx(28.2, abs=0.05)
    assert of_means(loss, (32, 44, 56)) == pytest.approx(43.7, abs=0.05)
    assert mean_gain(accuracy, (20, 32, 44, 56)) == pytest.approx(22.6, abs=0.05)
    assert mean_gain(loss, (20, 32, 44, 56)) == pytest.approx(33.6, abs=0.05)
    assert all(loss["ResNet {} B", d] < loss["ResNet {} A", d] for d in (20, 32, 44, 56))
    errata = " ".join(load_reference_source("shortcut-report").errata)
    for text in (
        "Padding of 4",
        "1202 layers against 152",
        "34 to 56",
        "1.28 million train images",
    ):
        assert text in errata
    assert "28 % and 43 % are over depths 32, 44, 56" in errata
    assert "22.6 % and 33.6 %" in errata
    assert "five runs are not independent" in errata


def test_sources_state_their_errata() -> None:
    """Errata go with each number, so that a report needs no catalog, and agree with the values."""
    changed_study = load_study("imagenet-tables")
    for pair in (*changed_study.references, *changed_study.unmatched_references):
        assert pair.errata == load_reference_source("he2015-imagenet").errata
    same = {
        value("he2015-imagenet", label).value
        for label in ("PReLU-net, top-5", "ResNet-34 B, top-5")
    }
    assert same == {5.71}
    assert any("ties with PReLU-net" in text for text in pair.errata)
    assert value("he2015-imagenet", "ensemble of six, top-5").split == "test"
    assert any("on the test images" in text for text in pair.errata)
    depth = load_reference_source("depth-report")
    epochs = {
        changed_study.epoch for changed_study in depth.value if changed_study.value is not None
    }
    assert epochs == {9.0}
    for text in ("train images at epoch 9", "flipped kernel", "BN-Inception"):
        assert any(text in erratum for erratum in depth.errata), text


@pytest.mark.parametrize(
    ("name", "rows", "lines"),
    [
        (
            "shortcuts",
            [("plain 20", "78.77 % accuracy", "test", "of 10"), (None, "76.11 % accuracy")],
            [
                "Erratum: Padding of 4",
                "Difference: published: evaluated in training mode",
                "Every run after every epoch: shortcut-report-runs.csv, beside",
            ],
        ),
        (
            "depth",
            [("plain 8 (depth report)", "49.4 % accuracy", "train", "9 of 10")],
            ["Protocol: 10 epochs, one run per network", "recipe.batch_size = 128"],
        ),
        (
            "imagenet-tables",
            [(None, "8.43 % top-5 error", "test"), (None, "7.89 % top-5 error", "validation")],
            ["1.28 million train images"],
        ),
        (
            "ladder",
            [("baseline", "72.7 % accuracy", "test", "best on test images, of 40")],
            [".247, .243, .262"],
        ),
    ],
)
def test_every_number_and_note_of_a_source_in_the_catalog_is_printed(
    name: str, rows: list[tuple[str | None, ...]], lines: list[str]
) -> None:
    changed_study = load_study(name)
    table = cost_rows(changed_study, model_cost)
    assert len(table) >= len(changed_study.references) + len(changed_study.unmatched_references)
    keys = ("condition", "reference", "split", "epoch")
    rows_printed = [tuple(row[key] for key in keys) for row in table]
    for row in rows:
        assert any(other[: len(row)] == row for other in rows_printed), row
    text = "\n".join(source_lines(changed_study))
    for line in lines:
        assert line in text
    details = source_details(changed_study)
    assert [item["source"] for item in details] == list(
        dict.fromkeys(
            p.title for p in (*changed_study.references, *changed_study.unmatched_references)
        )
    )


def test_distances_of_published_curves_equal_the_published_runs() -> None:
    """By the csv module and fsum: sums of squared differences of the means over five runs."""
    path = resources.files("resnetlab.catalog") / "references" / "shortcut-report-runs.csv"
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))

    def mean_at(model: str, epoch: int, column: str) -> float:
        runs = [row for row in rows if row["model"] == model and int(row["epoch"]) == epoch]
        assert len(runs) == 5
        return math.fsum(float(row[column]) for row in runs) / 5

    accuracy, loss = distance_sentences(load_study("shortcuts"))
    for depth in (20, 32, 44, 56):
        for sentence, column, end in (
            (accuracy, "test_accuracy_pct", "{:.1f} points²"),
            (loss, "test_loss_nats", "{:.4f} nats²"),
        ):
            names = [f"ResNet{depth}{option}" for option in "AB"]
            pairs = [[mean_at(name, n, column) for name in names] for n in range(1, 11)]
            total = end.format(math.fsum((a - b) ** 2 for a, b in pairs))
            assert f"residual {depth} (A) and residual {depth} (B) {total}" in sentence
    assert distance_sentences(load_study("depth")) == []


def test_fine_tuned_networks_are_counted_with_their_new_classifier() -> None:
    rows = cost_rows(load_study("fixres"), model_cost)
    assert {(row["classes"], row["parameters"]) for row in rows if row["condition"]} == {
        (120, 826_608_056)
    }


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_mistakes_are_reported_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_reference_source(str(path))
    assert all("\n" not in str(problem) for problem in caught.value.problems)


def study(published: object, **changes: Any) -> Study:
    raw, where = read_named("studies", "degradation", "study")
    return parse_study(raw | {"references": published} | changes, where, Overrides())


def test_a_number_is_assigned_to_the_condition_of_its_network() -> None:
    changed_study = study("he2016-cifar10").references
    values = [(item.condition, item.value.value) for item in changed_study]
    assert values == [("residual 20 (A)", 8.75), ("residual 56 (A)", 6.97)]
    assert len(study(["he2016-cifar10", "he2016-figure6"]).references) == 4
    assert load_study("digits").references == load_study("digits").unmatched_references == ()
    assert not {"references", "unmatched_references"} & set(without_defaults(load_study("digits")))


def test_numbers_without_a_matching_condition_are_listed_separately() -> None:
    changed_study = study(["he2016-cifar10", "he2016-figure6"])
    values = {pair.value.label for pair in changed_study.unmatched_references}
    assert {"ResNet-32", "ResNet-110, mean of 5", "plain 44"} <= values
    assert not values & {pair.value.label for pair in changed_study.references}
    assert {pair.condition for pair in changed_study.unmatched_references} == {""}
    assert decode(Study, encode(changed_study), "report.json") == changed_study


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ("he2016-cifar11", 'did you mean "he2016-cifar10"'),
        ("fixres-dogs", "no number of fixres-dogs is of a condition"),
        (3, "neither a name nor a list of names"),
        (["he2016-cifar10", "he2016-cifar10"], "a source is given twice"),
    ],
)
def test_a_reference_without_a_matching_number_is_refused(published: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        study(published)


def test_the_field_at_selects_one_of_several_numbers_of_a_network(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HE + 'value = 8.75\nat = { "recipe.epochs" = 10 }\n', encoding="utf-8")
    assert [item.condition for item in study(str(path)).references] == ["residual 20 (A)"]
    path.write_text(HE + 'value = 8.75\nat = { "recipe.epochs" = 11 }\n', encoding="utf-8")
    with pytest.raises(InputError, match="no number of"):
        study(str(path))


def test_a_number_for_several_variants_of_a_network_is_assigned_to_each(tmp_path: Path) -> None:
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


def test_the_mean_losses_of_the_shortcut_report_equal_its_runs() -> None:
    values = [
        value("shortcut-report", f"ResNet {depth} B, loss").value for depth in (20, 32, 44, 56)
    ]
    assert values == [0.583, 0.567, 0.564, 0.555]


def test_numbers_by_depth_equal_the_source_and_a_deeper_network_may_be_worse() -> None:
    (series,) = depth_series(load_study("he2016-1202"))
    assert series.points == (
        (20, 8.75),
        (32, 7.51),
        (44, 7.17),
        (56, 6.97),
        (110, 6.61),  # the mean of five, not the best of five
        (1202, 7.93),
    )
    sentence, _ = depth_sentences((series,))
    ends = "8.75 % with 20 layers, 7.93 % with 1,202"
    assert f"{ends}; the best number is 6.61 % with 110" in sentence
    labels = {
        (one.label.split(",")[0], one.quantity) for one in depth_series(load_study("shortcuts"))
    }
    assert {("cifar plain", "loss, nats"), ("cifar residual (A)", "accuracy, %")} <= labels
    assert ("imagenet residual (B)", "accuracy, %") in labels  # torchvision's, not mixed with B
    assert depth_series(load_study("blocks-110")) == ()


def test_numbers_by_depth_are_plotted_and_refused_for_a_single_depth(tmp_path: Path) -> None:
    path = tmp_path / "depth.svg"
    done = CliRunner().invoke(app, ["study", "references", "he2016-1202", "--draw", str(path)])
    assert done.exit_code == 0, done.output
    words = "".join(ET.parse(path).getroot().itertext())
    assert all(text in words for text in ("1202", "110", "error, %", "weighted layers"))
    refused = CliRunner().invoke(app, ["study", "references", "blocks-110", "--draw", str(path)])
    assert "no published numbers of networks of different depth" in str(refused.exception)
    losses = [
        value("shortcut-report", f"ResNet {depth} B, loss").value for depth in (20, 32, 44, 56)
    ]
    assert losses == [0.583, 0.567, 0.564, 0.555]


def test_the_runs_of_the_shortcut_report_are_available_by_epoch() -> None:
    """63 runs of 10 epochs; the last epoch is the value, and a source may have one run only."""
    source = load_reference_source("shortcut-report")
    accuracies = [reported for reported in source.value if reported.quantity == "accuracy"]
    assert sum(len(reported.run_curves) for reported in accuracies) == 63
    assert {len(curve) for reported in source.value for curve in reported.run_curves} == {10}
    for reported in source.value:
        assert reported.run_curves
        assert reported.mean_curve[-1] == pytest.approx(
            reported.value, abs=reported.rounding_half_width * 1.01
        )
    assert value("shortcut-report", "plain 20").run_curves[0][:3] == (49.72, 60.46, 67.02)


RUNS = "model,run,epoch,test_accuracy_pct,test_loss_nats\n"
WITH_RUNS = HE.replace("[protocol]", 'runs_file = "runs.csv"\n[protocol]').replace(
    'quantity = "error"', 'quantity = "accuracy"\nvalue = 60.0\nruns_of = "net"'
)


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        (WITH_RUNS, "net,1,1,50,1\nnet,1,3,60,1\n", "epochs are not in order"),
        (WITH_RUNS, "net,1,1,50,none\n", "not five values"),
        (WITH_RUNS, "nets,1,1,50,1\n", 'no network "net"'),
        (WITH_RUNS, "net,1,1,50,1\nnet,2,1,50,1\n", "1 for 2 runs"),
        (WITH_RUNS, "net,1,1,50,1\nnet,1,2,55,1\nnet,2,1,50,1\n", "different numbers of epochs"),
        (WITH_RUNS + "run_values = [60.0]\n", "net,1,1,61,1\n", "the last epoch in the file"),
        (WITH_RUNS.replace("runs.csv", "no.csv"), "net,1,1,60,1\n", "no such file of runs"),
        (WITH_RUNS.replace('"accuracy"', '"error"'), "net,1,1,40,1\n", "accuracies and losses"),
        (WITH_RUNS.replace('runs_file = "runs.csv"\n', ""), "", "without a file of runs"),
    ],
)
def test_an_invalid_file_of_runs_is_refused(
    tmp_path: Path, text: str, rows: str, message: str
) -> None:
    (tmp_path / "runs.csv").write_text(RUNS + rows)
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_reference_source(str(tmp_path / "x.toml"))


def test_a_file_of_runs_beside_the_numbers_is_read(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS + "net,1,1,50,2\nnet,1,2,60,1\n")
    (tmp_path / "x.toml").write_text(WITH_RUNS)
    reported = load_reference_source(str(tmp_path / "x.toml")).value[0]
    assert reported.run_curves == ((50.0, 60.0),)


def test_the_order_of_published_numbers_is_not_called_an_effect_of_depth() -> None:
    lines = depth_sentences(depth_series(load_study("shortcuts")))
    (option_b,) = [line for line in lines if "accuracy of cifar residual (B)" in line]
    assert option_b.endswith("with 56; the best number is 81.88 % with 32.")
    assert not [line for line in lines if "helped" in line]
    assert lines[-1] == "An order of published numbers is no test: their runs vary too."
