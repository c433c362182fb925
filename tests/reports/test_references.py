"""Published results get a badge and an interval, or the report says why there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.synthetic import TRUTH, Truth, build_report_from_record, study_record
from resnetlab import reports
from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.errors import InputError
from resnetlab.reports import figures
from resnetlab.reports.document import Cell, Report
from resnetlab.reports.figures import values
from resnetlab.reports.plot_data import ForestPlot
from resnetlab.reports.render import latex
from resnetlab.reports.study.reference_plots import reference_effects
from resnetlab.schema import decode
from resnetlab.stats.intervals import t_quantile
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.published.references import (
    MatchedReference,
    Protocol,
    ProtocolDifference,
    ReferenceSource,
    ReferenceValue,
)
from resnetlab.studies.study import Override

RESIDUAL = "residual 56 (A)"  # 97.5, 96.1, 98.1, 96.9, 97.2
PROTOCOL = Protocol(summary="as it was", data="digits", epochs=10, fields={"recipe.batch_size": 64})


def report(
    value: ReferenceValue,
    *,
    protocol: Protocol = PROTOCOL,
    condition: str = RESIDUAL,
    truth: Truth = TRUTH,
    **changes: Any,
) -> Report:
    changed_study = replace(
        load_study("digits"),
        references=(
            MatchedReference(
                condition=condition, source="A source", protocol=protocol, value=value
            ),
        ),
        **changes,
    )
    return build_report_from_record(study_record(truth, study=changed_study))


def row(report: Report) -> dict[str, Cell]:
    return dict(
        zip(
            [column.name for column in report.references.columns],
            report.references.rows[0],
            strict=True,
        )
    )


def error(value: float = 2.84, **fields: Any) -> ReferenceValue:
    return ReferenceValue(
        label="its name", model="cifar-resnet56", quantity="error", value=value, **fields
    )


def test_a_compatible_number_is_shown_with_its_interval_and_as_a_diamond() -> None:
    document = report(error())
    cells = row(document)
    half = t_quantile(0.975, 4) * 0.7402702209328702 * (1 / 5 + 1) ** 0.5 + 0.005
    assert cells["Published"].text == "97.16 %"
    assert "error 2.84 in the source" in cells["Published"].note
    assert (cells["Measured"].text, cells["Measured"].note) == ("97.2 %", "n = 5")
    assert cells["95 % prediction interval"].text == f"[{97.16 - half:.1f}, {97.16 + half:.1f}]"
    assert cells["Badge"].badge == "compatible"
    assert cells["Differences"].text == "none that the source describes"
    marks = {row.label: row.reference_marks for row in document.dot_plot.rows}
    assert [mark.value_pct for mark in marks[RESIDUAL]] == [pytest.approx(97.16)]
    assert marks[RESIDUAL][0].low_pct == pytest.approx(97.16 - half)
    assert not marks["plain 56"]
    assert "Diamond: a published number" in document.dot_plot.caption
    assert ">published<" in figures.draw_plot(document.dot_plot).wide


def test_errata_of_a_source_are_listed_once_in_the_report(tmp_path: Path) -> None:
    pairs = tuple(
        MatchedReference(
            condition=label,
            source="A source",
            errata=("56 layers: the text says 34.",),
            protocol=PROTOCOL,
            value=error(),
        )
        for label in (RESIDUAL, "plain 56")
    )
    changed_study = replace(load_study("digits"), references=pairs)
    page = reports.write_report(collect_study_data(study_record(study=changed_study)), tmp_path)
    for path in (page, tmp_path / "report.md"):
        assert path.read_text(encoding="utf-8").count("56 layers: the text says 34.") == 1
    assert load_study_data(tmp_path).study.references == pairs


def test_a_distant_number_is_incompatible_and_inside_the_axis() -> None:
    document = report(error(12.0, num_runs=5, sd=0.3))
    assert row(document)["Badge"].badge == "incompatible"
    assert "mean of 5; sd 0.30" in row(document)["Published"].note
    assert document.dot_plot.low_pct < 88
    assert document.verdicts[0].badge == "reproduced"  # a badge is no verdict


@pytest.mark.parametrize(
    ("value", "protocol", "why"),
    [
        (
            error(),
            replace(PROTOCOL, epochs=200),
            "reduced protocol: fewer epochs than the published one",
        ),
        (error(), replace(PROTOCOL, epochs=None, steps=64000), "reduced protocol: fewer steps"),
        (error(), replace(PROTOCOL, train_images=45000), "reduced protocol: fewer train images"),
        (error(), replace(PROTOCOL, data="cifar10"), "measured on cifar10, here on digits"),
        (
            error(epoch=5.0),
            PROTOCOL,
            "measured on the test images at epoch 5, which are not recorded here",
        ),
        (
            error(split="train", epoch=5.5),
            PROTOCOL,
            "measured on the train images at epoch 5.5, which are not",
        ),
        (replace(error(), value=None, status="not trained"), PROTOCOL, "not trained"),
        (
            replace(error(), quantity="top-5 error"),
            PROTOCOL,
            "top-5 error, which is not measured here",
        ),
    ],
)
def test_a_number_that_is_not_comparable_gets_no_badge_but_a_reason(
    value: ReferenceValue, protocol: Protocol, why: str
) -> None:
    cells = row(report(value, protocol=protocol))["Badge"]
    assert (cells.text, cells.badge) == ("None", "")
    assert cells.note.startswith(why)


def test_a_source_links_to_its_work_only_if_its_address_is_valid(tmp_path: Path) -> None:
    changed_study = replace(
        load_study("digits"),
        references=(
            MatchedReference(
                condition=RESIDUAL,
                source="Mine, table 1",
                url="https://example.org/mine",
                protocol=PROTOCOL,
                value=error(),
            ),
            MatchedReference(
                condition=RESIDUAL,
                source="Theirs, table 2",
                protocol=PROTOCOL,
                value=error(),
            ),
        ),
    )
    page = reports.write_report(
        collect_study_data(study_record(study=changed_study)), tmp_path
    ).read_text(encoding="utf-8")
    assert '<a href="https://example.org/mine" rel="noopener">Mine, table 1</a>' in page
    assert "Theirs, table 2<" in page
    document = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "[Mine, table 1](https://example.org/mine)" in document
    assert (
        "[He et al. 2016, sec. 4.2, on CIFAR-10](https://arxiv.org/abs/1512.03385)" in document
    )  # the claim's
    for bad in ("javascript:alert(1)", "http://example.org", 'https://example.org/"x'):
        with pytest.raises(InputError):
            decode(
                ReferenceSource,
                {
                    "name": "mine",
                    "source": "Mine, table 1",
                    "url": bad,
                    "value": [],
                    "protocol": {"summary": ""},
                },
                "mine.toml",
            )


def test_a_published_top_5_error_is_shown_beside_the_measured_one() -> None:
    record = study_record(
        study=replace(
            load_study("digits"),
            references=(
                MatchedReference(
                    condition=RESIDUAL,
                    source="A source",
                    protocol=PROTOCOL,
                    value=replace(error(4.49), quantity="top-5 error"),
                ),
            ),
        )
    )
    study_data = collect_study_data(record)
    seen = iter((4.0, 4.4, 4.2, 4.6, 4.3))
    rows = [
        replace(row, test_top5_error_pct=next(seen)) if row.condition == RESIDUAL else row
        for row in study_data.rows
    ]
    cells = row(reports.build_report(replace(study_data, rows=tuple(rows))))
    half = t_quantile(0.975, 4) * 0.2236067977499790 * (1 / 5 + 1) ** 0.5 + 0.005
    assert cells["Published"].text == "4.49 % top-5 error"
    assert cells["Measured"].text == "4.3 % top-5 error"
    assert cells["95 % prediction interval"].text == f"[{4.3 - half:.1f}, {4.3 + half:.1f}]"
    assert cells["Badge"].badge == "compatible"


def test_changed_settings_remove_the_badge_but_more_seeds_do_not() -> None:
    seeds, data = Override("seeds", "[0, 1, 2, 3, 4]"), Override("data", "mine.npz")
    assert row(report(error(), overrides=(seeds,)))["Badge"].badge == "compatible"
    elsewhere = row(report(error(), overrides=(data,)))  # named as the source's
    assert elsewhere["Badge"].badge == "compatible"
    changed = Override("recipe.optimizer.lr", "0.1", "0.001")
    cells = row(report(error(), overrides=(changed,)))["Badge"]
    assert (
        cells.note
        == "reduced protocol: changed by the command: recipe.optimizer.lr = 0.1 (was 0.001)"
    )


def test_a_reduced_dataset_removes_the_badge() -> None:
    study = load_study("digits")
    reduced = tuple(replace(c, data=replace(c.data, train_images=500)) for c in study.conditions)
    assert "trained on only 500 images" in row(report(error(), conditions=reduced))["Badge"].note


def test_differences_of_the_protocol_are_listed_beside_a_badge() -> None:
    fields = {
        "recipe.batch_size": 128,
        "recipe.optimizer.name": "sgd",
        "recipe.optimizer.momentum": 0.9,
    }
    cells = row(
        report(error(selected_on="test"), protocol=replace(PROTOCOL, epochs=5, fields=fields))
    )
    assert cells["Badge"].badge == "compatible"
    assert cells["Differences"].text == (
        "10 epochs (published 5); batch_size 64 (published 128); optimizer.name adam (published "
        "sgd); the epoch: the last (published by the test images)"
    )


def test_failed_runs_are_listed_beside_a_published_number() -> None:
    cells = row(report(error(70.0), condition="plain 56"))
    assert cells["Measured"].note == "n = 3"
    assert "trained runs only" in cells["Differences"].text


@pytest.mark.parametrize("epoch", [None, 9.0])
def test_a_published_train_accuracy_is_compared_with_ours_at_its_epoch(epoch: float | None) -> None:
    """Its interval allows for the part of the train images on which it is measured here, and no
    diamond is drawn.
    """
    document = report(
        ReferenceValue(
            label="train",
            model="cifar-resnet56",
            quantity="accuracy",
            value=97.0,
            split="train",
            epoch=epoch,
        )
    )
    cells, study_data = row(document), collect_study_data(study_record())
    rows = [100 - line.train_error_pct for line in study_data.rows if line.condition == RESIDUAL]
    read = {
        line.seed: 100 - line.top1_error_pct
        for line in study_data.curve_points
        if (line.condition, line.split, line.epoch) == (RESIDUAL, "train", 9.0)
    }
    values = list(read.values()) if epoch else rows
    assert len(values) == 5
    middle = sum(values) / 5
    details = next(details for details in study_data.data if RESIDUAL in details.conditions)
    part = details.train_subset_images / details.train_images
    slack = 1.959964 * (middle * (100 - middle) / details.train_subset_images * (1 - part)) ** 0.5
    sd = (sum((value - middle) ** 2 for value in values) / 4) ** 0.5
    half = t_quantile(0.975, 4) * sd * (1 / 5 + 1) ** 0.5 + 0.005 + slack
    assert cells["Measured"].text == f"{middle:.1f} %"
    assert cells["Measured"].note == "n = 5; train images" + ("; after epoch 9" if epoch else "")
    assert cells["95 % prediction interval"].text == (
        f"[{middle - half:.1f}, {min(100.0, middle + half):.1f}]"
    )
    assert cells["Badge"].badge == ("compatible" if abs(middle - 97.0) < half else "incompatible")
    assert (
        f"measured on {details.train_subset_images:,} fixed train images"
        in cells["Differences"].text
    )
    assert not any(row.reference_marks for row in document.dot_plot.rows)


def test_a_rebuilt_copy_of_the_data_is_reported_and_still_compared() -> None:
    record = study_record()
    value = MatchedReference(
        condition=RESIDUAL, source="A source", protocol=PROTOCOL, value=error()
    )
    study_data = collect_study_data(study_record(study=replace(record.study, references=(value,))))
    study_data = replace(
        study_data,
        data=tuple(replace(details, name="digits-rebuilt") for details in study_data.data),
    )
    cells = row(reports.build_report(study_data))
    assert cells["Badge"].badge == "compatible"
    assert cells["Differences"].text == "data digits-rebuilt (published digits)"


def test_protocol_differences_without_a_field_are_described_in_every_file(tmp_path: Path) -> None:
    differs = (
        ProtocolDifference(reference="weights shared", here="weights of each seed"),
        ProtocolDifference(
            reference="plain by batch", here="plain by running", unless={"model.shortcut": "A"}
        ),
        ProtocolDifference(reference="ten epochs", here="never", unless={"recipe.epochs": 10}),
    )
    protocol = replace(PROTOCOL, differences=differs)
    pairs = tuple(
        MatchedReference(condition=label, source="a source", protocol=protocol, value=error())
        for label in (RESIDUAL, "plain 56")
    )
    study_data = collect_study_data(
        study_record(study=replace(load_study("digits"), references=pairs))
    )
    document = reports.build_report(study_data)
    assert [(detail.term, detail.text) for detail in document.protocols] == [
        ("A source, the protocol", "as it was"),
        ("Difference", "published: weights shared; here: weights of each seed"),
        ("Difference", "published: plain by batch; here: plain by running (plain 56)"),
    ]
    page = reports.write_report(study_data, tmp_path).read_text(encoding="utf-8")
    for text in (
        page,
        (tmp_path / "report.md").read_text(encoding="utf-8"),
        latex.render(document),
    ):
        assert "published: plain by batch; here: plain by running (plain 56)" in text


def test_losses_are_compared_with_losses() -> None:
    loss = ReferenceValue(
        label="loss", model="cifar-resnet56", quantity="loss", value=0.134, decimals=3
    )
    cells = row(report(loss))
    assert (cells["Published"].text, cells["Badge"].badge) == ("0.134 nats", "compatible")
    assert cells["Measured"].text.endswith("nats")


def test_a_partial_study_and_a_single_run_get_no_badge() -> None:
    one = TRUTH | {RESIDUAL: [("trained", 97.0), *[("at chance", 10.0)] * 4]}
    assert row(report(error(), truth=one))["Badge"].note == "1 trained run: no interval"
    waiting = TRUTH | {"plain 8": [("waiting", None)] * 5}
    assert row(report(error(), truth=waiting))["Badge"].note == "waiting for the last run"


def test_dependent_runs_get_a_badge_for_their_mean() -> None:
    value = error(2.0, num_runs=2, run_values=(1.9, 2.1), independent=False)
    cells = row(report(value))
    assert cells["Badge"].badge == "compatible"
    assert "runs not independent" in cells["Published"].note


def test_published_numbers_without_a_measurement_are_listed_as_published_only(
    tmp_path: Path,
) -> None:
    other = ReferenceValue(label="FPNet-20", quantity="error", value=7.9, num_runs=3, sd=0.2)
    changed_study = replace(
        load_study("digits"),
        references=(
            MatchedReference(
                condition=RESIDUAL, source="A source", protocol=PROTOCOL, value=error()
            ),
        ),
        unmatched_references=tuple(
            MatchedReference(condition="", source="A source", protocol=PROTOCOL, value=value)
            for value in (other, error(3.0))
        ),
    )
    page = reports.write_report(
        collect_study_data(study_record(study=changed_study)), tmp_path
    ).read_text(encoding="utf-8")
    table = reports.build_report(
        collect_study_data(study_record(study=changed_study))
    ).unmatched_references
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["FPNet-20", "A source", "92.10 %", "Published only"],
        ["its name", "A source", "97.00 %", "Published only"],
    ]
    assert [row[-1].note for row in table.rows] == [
        "resnetlab does not run it",
        "not a condition of this report",
    ]
    assert "Without a measurement: 2 more published numbers" in page
    assert "### Published results without a measurement" in (tmp_path / "report.md").read_text(
        encoding="utf-8"
    )
    assert "Published only" in latex.render(
        reports.build_report(collect_study_data(study_record(study=changed_study)))
    )
    assert build_report_from_record(study_record()).unmatched_references is None


def test_the_reference_table_is_in_every_file_and_in_a_rebuilt_report(tmp_path: Path) -> None:
    changed_study = replace(
        load_study("digits"),
        references=(
            MatchedReference(
                condition=RESIDUAL, source="A source", protocol=PROTOCOL, value=error()
            ),
        ),
    )
    page = reports.write_report(collect_study_data(study_record(study=changed_study)), tmp_path)
    before = page.read_bytes()
    assert b"Comparison with published results" in before
    assert "## Comparison with published results" in (tmp_path / "report.md").read_text(
        encoding="utf-8"
    )
    assert reports.rebuild(tmp_path).read_bytes() == before
    assert build_report_from_record(study_record()).references is None
    text = (tmp_path / "figures" / "accuracy.csv").read_text(encoding="utf-8").splitlines()
    assert text[0].startswith("condition,mean_pct")
    assert [line.split(",")[0] for line in text[1:]] == [RESIDUAL]


def test_published_numbers_of_other_images_than_the_claims_are_labeled() -> None:
    """The depth report's tables are of train images at epoch 9; claims compare test images."""
    accuracy = ReferenceValue(
        label="plain",
        model="cifar-resnet56",
        quantity="accuracy",
        value=30.0,
        split="train",
        epoch=9,
    )
    document = report(accuracy)
    assert "train images, after epoch 9" in row(document)["Published"].note
    named = "The numbers of A source are of other images (train images, after epoch 9) than these"
    assert f"{named} claims (test images, at the end)." in document.claims.note
    assert "of other images" not in report(error()).claims.note


def test_an_effect_of_selected_or_approximate_numbers_is_labeled() -> None:
    def effect(**fields: Any) -> tuple[str, ...]:
        pairs = tuple(
            MatchedReference(
                condition=label,
                source="A source",
                protocol=PROTOCOL,
                value=ReferenceValue(
                    label=label, model="x", quantity="accuracy", value=value, **fields
                ),
            )
            for label, value in ((RESIDUAL, 97.0), ("plain 56", 30.0))
        )
        study = replace(load_study("digits"), references=pairs)
        analysis = analyze(collect_study_data(study_record(study=study)))
        (published,) = reference_effects(analysis, study.claims[0])
        return published.sources

    assert effect() == ("A source",)
    assert effect(selected_on="test") == ("A source, best epoch by its test images",)
    assert effect(half_width=0.5) == ("A source, approximate",)


PLAIN = MatchedReference(
    condition="plain 56",
    source="Another",
    protocol=PROTOCOL,
    value=ReferenceValue(label="plain", model="cifar-plain56", quantity="accuracy", value=30.0),
)


def known_effect(**changes: Any) -> ForestPlot | None:
    """Residual 56 above plain 56: one source has an error of 2.84 and another 30 %."""
    study = load_study("digits")
    claim = study.claims[0]
    back = replace(claim, statement="Back.", left=claim.right, right=claim.left)
    residual = MatchedReference(
        condition=RESIDUAL, source="A source", protocol=PROTOCOL, value=error()
    )
    pair = tuple(replace(values, **changes.get(values.source, {})) for values in (residual, PLAIN))
    values = replace(study, claims=(changes.get("claim", claim), back), references=pair)
    return build_report_from_record(study_record(study=values)).forest


def test_the_effect_in_published_numbers_is_shown_in_the_forest_plot() -> None:
    contents = known_effect()
    assert [
        known.effect for row in contents.rows for known in row.reference_effects
    ] == pytest.approx([67.16, -67.16])
    assert contents.rows[0].reference_effects[0].sources == ("A source", "Another")
    assert contents.caption.endswith(
        "Diamond: the effect in published numbers (A source and Another)."
    )
    assert "published +67.16 (A source and Another)" in contents.alt
    line = values.plot_csv(contents).splitlines()[1]
    assert line.endswith(",A source; Another")
    assert float(line.split(",")[-2]) == pytest.approx(67.16)
    before, after = (
        figures.draw_plot(known_effect(Another={"condition": "plain 8"})),
        figures.draw_plot(contents),
    )
    assert len(after.wide) > len(before.wide)  # a mark more in each row


@pytest.mark.parametrize(
    "changes",
    [
        {"Another": {"condition": "plain 8"}},
        {"Another": {"protocol": replace(PROTOCOL, epochs=20)}},
        {"Another": {"value": replace(PLAIN.value, quantity="loss", value=1.2)}},
        {"Another": {"value": replace(PLAIN.value, split="train")}},
        {"Another": {"value": replace(PLAIN.value, value=None, status="not trained")}},
        {"Another": {"value": replace(PLAIN.value, num_runs=5, statistic="best")}},
        {
            "Another": {"protocol": replace(PROTOCOL, data="cifar10")},
            "A source": {"protocol": replace(PROTOCOL, data="cifar10")},
        },
        {"claim": replace(load_study("digits").claims[0], metric="loss")},
        {"claim": replace(load_study("digits").claims[0], split="train")},
    ],
)
def test_numbers_with_different_protocols_give_no_published_effect(changes: dict[str, Any]) -> None:
    assert not known_effect(**changes).rows[0].reference_effects


def test_an_effect_is_computed_within_one_source_if_it_has_both_numbers() -> None:
    study = load_study("digits")
    custom = replace(PLAIN, source="A source", value=replace(PLAIN.value, value=40.0))
    residual = MatchedReference(
        condition=RESIDUAL, source="A source", protocol=PROTOCOL, value=error()
    )
    changed_study = replace(
        study, claims=(study.claims[0],) * 2, references=(PLAIN, custom, residual)
    )
    (known,) = (
        build_report_from_record(study_record(study=changed_study)).forest.rows[0].reference_effects
    )
    assert (known.sources, known.effect) == (("A source",), pytest.approx(57.16))


def test_the_effects_of_a_forest_plot_are_written_to_a_csv_file_beside_it(tmp_path: Path) -> None:
    study = load_study("digits")
    claim = study.claims[0]
    back = replace(claim, statement="Back.", left=claim.right, right=claim.left)
    reports.write_report(
        collect_study_data(study_record(study=replace(study, claims=(claim, back)))),
        tmp_path,
    )
    lines = (tmp_path / "figures" / "claims.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",")[:3] == ["claim", "unit", "region_low"]
    assert lines[1].startswith("Residual 56 is more accurate than plain 56.,points,0.0,inf,68.2")
    assert lines[2].startswith("Back.,points,0.0,inf,-68.2")
