"""The reports of studies whose truth is known have the right numbers and verdicts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from helpers.synthetic import (
    EVENT,
    EVERY_STATUS,
    TRUTH,
    Truth,
    build_report_from_record,
    study_record,
)
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.models.model_cost import model_cost
from resnetlab.reports.document import Table
from resnetlab.reports.write import write_report
from resnetlab.runs.records import to_dict
from resnetlab.stats.chance import UNDECIDED
from resnetlab.stats.intervals import hurdle_interval, t_interval, wilson
from resnetlab.studies.claims import FailsAndTrains
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.study import Override

FINISHED = {
    label: [(o, x) if o not in ("running", "waiting") else ("at chance", 10.0) for o, x in runs]
    for label, runs in EVERY_STATUS.items()
}


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_the_status_of_a_run_has_the_reasons_of_failed_attempts_and_no_others() -> None:
    """The reason of a step that no CUDA graph captures, for example, explains no status."""
    eager = {"event": "eager steps", "reason": "a layer draws random numbers"}
    failed = {"event": "failed", "reason": "the worker was killed"}
    rows = collect_study_data(study_record(events=(EVENT, eager))).rows
    assert {row.reason for row in rows if row.status == "trained"} == {""}
    rows = collect_study_data(study_record(events=(EVENT, failed, eager))).rows
    assert {row.reason for row in rows if row.status == "trained"} == {"the worker was killed"}


def test_the_answer_contains_both_arms_with_intervals_and_rates_and_the_verdict() -> None:
    report = build_report_from_record(study_record())
    low, high = t_interval((35.8, 28.1, 22.8))
    assert report.answer.startswith(
        "Residual 56 (A) reached 97.2 % [96.2, 98.1] test accuracy (5 of 5 trained)"
    )
    assert f"28.9 % [{low:.1f}, {high:.1f}] for plain 56 (3 of 5)" in report.answer
    assert report.answer.endswith("reproduced, trained runs only.")
    assert [cell.badge for cell in report.verdicts] == ["reproduced"]


@pytest.mark.parametrize(
    ("metric", "split", "message"),
    [
        (
            "top1",
            "train",
            "Residual 56 (A) reached {:.1f} % [{:.1f}, {:.1f}] train accuracy (5 of 5 trained)",
        ),
        (
            "loss",
            "test",
            "Residual 56 (A) reached {:.3f} nats [{:.3f}, {:.3f}] test loss (5 of 5 trained)",
        ),
    ],
)
def test_the_answer_about_other_images_or_the_loss_contains_their_means(
    metric: str, split: str, message: str
) -> None:
    study = load_study("digits")
    study = replace(study, claims=(replace(study.claims[0], metric=metric, split=split),))
    errors = [100 - accuracy for _, accuracy in TRUTH["residual 56 (A)"]]
    values = [100 - 0.9 * e if metric == "top1" else 2.35 * (e / 100) ** 0.8 for e in errors]
    answer = build_report_from_record(study_record(study=study)).answer
    assert answer.startswith(message.format(sum(values) / 5, *t_interval(values)))
    assert (
        f" {split} {'loss' if metric == 'loss' else 'accuracy'} (5 of 5 trained), against "
        in answer
    )
    assert "] for plain 56 (3 of 5): " in answer
    failed = TRUTH | {"plain 56": [("at chance", 10.0)] * 5}
    assert build_report_from_record(study_record(failed, study=study)).answer.startswith(
        "Residual 56 is more accurate"
    )


def test_planted_verdicts_are_reported() -> None:
    same = TRUTH | {"plain 56": [("trained", x) for x in (97.4, 96.2, 98.0, 97.0, 97.1)]}
    report = build_report_from_record(study_record(same))
    assert report.verdicts[0].badge == "inconclusive"
    assert "seeds per condition" in report.claims.rows[0][-1].note
    swapped = TRUTH | {"plain 56": TRUTH["residual 56 (A)"], "residual 56 (A)": TRUTH["plain 56"]}
    assert build_report_from_record(study_record(swapped)).verdicts[0].badge == "contradicted"


def test_too_few_converged_runs_give_only_the_success_rates() -> None:
    dead = TRUTH | {"plain 56": [("trained", 35.8), *[("at chance", 10.0)] * 4]}
    report = build_report_from_record(study_record(dead))
    assert report.verdicts[0].badge == "inconclusive"
    assert "5 of 5 against 1 of 5 trained" in report.answer
    assert "35.8 % in its one trained run" in report.answer


def test_out_of_memory_makes_a_claim_untestable() -> None:
    lost = TRUTH | {"residual 56 (A)": [("out of memory", None)] * 5}
    report = build_report_from_record(study_record(lost))
    assert report.verdicts[0].badge == "untestable"
    assert "residual 56 (A) ran out of memory" in report.answer.lower().replace("(a)", "(A)")


@pytest.mark.parametrize("truth", [TRUTH, EVERY_STATUS, FINISHED])
def test_runs_of_every_status_are_counted_in_the_denominator(truth: Truth) -> None:
    report = build_report_from_record(study_record(truth))
    names = [column.name.lower() for column in report.outcomes.columns]
    for row, (label, runs) in zip(texts(report.outcomes), truth.items(), strict=False):
        contents = dict(zip(names, row, strict=True))
        assert contents["condition"] == label
        assert int(contents["planned"]) == len(runs) == sum(int(cell) for cell in row[2:])
        for outcome in {outcome for outcome, _ in runs}:
            assert int(contents[outcome]) == sum(o == outcome for o, _ in runs)
    assert texts(report.outcomes)[-1][:2] == ["all", "20"]
    assert len(report.run_table.rows) == 20
    assert [row[2] for row in texts(report.run_table)] == [
        o for runs in truth.values() for o, _ in runs
    ]
    assert [dot.outcome for row in report.dot_plot.rows for dot in row.dots] == [
        o for r in truth.values() for o, _ in r
    ]
    for row in texts(report.conditions):
        assert row[1].endswith(
            f"of {sum(o not in ('running', 'waiting') for o, _ in truth[row[0]])}"
        )


def test_conditions_have_the_specified_estimates() -> None:
    report = build_report_from_record(study_record())
    row = next(row for row in report.conditions.rows if row[0].text == "plain 56")
    values, every = (35.8, 28.1, 22.8), (35.8, 28.1, 22.8, 10.3, 14.7)
    low, high = wilson(3, 5)
    assert (row[1].text, row[1].note) == ("3 of 5", f"[{100 * low:.0f}, {100 * high:.0f}] %")
    hurdle = hurdle_interval(values, 5, 10.11)
    assert row[5].text == f"{sum(every) / 5:.1f} %"
    assert f"[{hurdle.low:.1f}, {hurdle.high:.1f}] with failed runs" in row[5].note
    assert "runs 10.3 to 35.8" in row[5].note
    assert (
        row[0].note
        == f"{model_cost(load_study('digits').condition('plain 56').model, 1, 10, 8)[0]:,} "
        "parameters"
    )


def test_a_diverged_run_is_counted_as_chance_with_a_note() -> None:
    report = build_report_from_record(study_record(FINISHED))
    row = next(row for row in report.run_table.rows if row[2].text == "diverged")
    assert (row[3].text, row[3].note) == ("10.1 %", "counted as a guess")


def test_a_partial_study_has_no_verdicts_and_reports_its_progress() -> None:
    report = build_report_from_record(study_record(EVERY_STATUS))
    assert (
        report.banner
        == "Partial report: 16 of 20 runs finished, 2 missing, 1 running and 1 waiting"
    )
    assert report.verdicts[0].badge == "waiting"
    assert texts(report.claims)[0][1:] == ["–"] * 5 + ["Waiting"]


def test_a_study_that_was_not_started_has_a_report(tmp_path: Path) -> None:
    waiting = {label: [("waiting", None)] * 5 for label in TRUTH}
    record = study_record(waiting, events=())
    assert reports.write_report(collect_study_data(record), tmp_path).exists()
    assert (
        build_report_from_record(record).answer
        == "0 of 20 runs are finished: claims are tested after the last run."
    )


def test_a_shortened_protocol_is_stated_and_its_command_repeats_it() -> None:
    study = load_study("digits", Overrides(settings=("recipe.epochs=2",), seeds=(0, 1)))
    report = build_report_from_record(
        study_record({label: runs[:2] for label, runs in TRUTH.items()}, study=study)
    )
    assert "recipe.epochs = 2 (was 10)" in report.limits
    assert report.command == "resnetlab study run digits --seeds 2 --set recipe.epochs=2"
    assert (
        build_report_from_record(study_record(), "resnetlab study run x.toml").command
        == "resnetlab study run x.toml"
    )


def test_bands_are_described_in_the_caption() -> None:
    report = build_report_from_record(study_record())
    loss = report.curves[0]
    assert "t-interval" in loss.caption
    assert "fewer than 5" in loss.caption
    plain = next(panel for panel in loss.panels if panel.label == "plain 56")
    learned = [line.y for line in plain.runs if line.outcome == "trained"]
    assert plain.band[0] == tuple(min(column) for column in zip(*learned, strict=True))
    assert loss.uniform_loss == pytest.approx(2.302585)


def test_the_test_curve_is_drawn_if_recorded_and_selects_no_weights() -> None:
    report = build_report_from_record(study_record(test_curve=True))
    assert [curve.key for curve in report.curves] == [
        "train-loss",
        "test-loss",
        "test-error",
        "test-error-pairs",
    ]
    assert report.test_split.startswith("No weights were selected on the test images: ")
    assert "was recorded because the study asks for it" in report.test_split
    assert [curve.key for curve in build_report_from_record(study_record()).curves] == [
        "train-loss",
        "validation-error",
        "validation-error-pairs",
    ]


def test_a_study_without_validation_images_states_that_test_images_decide() -> None:
    """Runs count as trained by their test accuracy then, and claims compare trained runs."""
    study_data = collect_study_data(study_record())
    decides = "test images also decide which runs count as trained"
    assert decides not in reports.build_report(study_data).test_split
    without = replace(study_data, data=(replace(study_data.data[0], validation_images=None),))
    assert decides in reports.build_report(without).test_split


def test_the_text_of_a_study_file_is_marked_if_the_training_was_shortened() -> None:
    """A sentence about ten epochs is false of two."""
    study = replace(load_study("digits"), about="It trains ten epochs.", limits="Ten epochs alone.")
    full = build_report_from_record(study_record(study=study))
    assert full.about == "It trains ten epochs."
    assert full.limits.startswith("Ten epochs alone.")
    shortened = replace(study, overrides=(Override("recipe.epochs", "2", "10"),))
    report = build_report_from_record(study_record(study=shortened))
    assert report.about == "By the study file, for its full training: It trains ten epochs."
    start = "By the study file, for its full training: Ten epochs alone. Not the protocol of the"
    assert report.limits.startswith(start)


def test_the_scope_of_a_verdict_and_a_forecast_is_stated() -> None:
    study = load_study("digits")
    claim = replace(study.claims[0], left="plain 8", right="residual 8 (A)")
    report = build_report_from_record(study_record(study=replace(study, claims=(claim,))))
    note = report.claims.note
    assert "not corrected for the number" not in note  # of one claim
    assert "it is on the claim of the source only where these are the source's" in note
    verdict = report.claims.rows[0][-1]
    assert verdict.text == "Inconclusive"
    assert verdict.note.startswith("80 % power: ")
    assert "would decide it" not in verdict.note
    assert "if the observed difference were the true one" in note


def test_all_machines_and_commits_are_listed() -> None:
    moved = EVENT | {
        "event": "resume",
        "commit": "fff9999",
        "dirty": True,
        "processor": "Another processor",
    }
    report = build_report_from_record(study_record(events=(EVENT, moved)))
    text = " ".join(detail.text for detail in report.details)
    for part in (
        "abc1234",
        "fff9999 with uncommitted changes",
        "A processor",
        "Another processor",
        "d" * 64,
        "1,294",
    ):
        assert part in text
    assert {row[7] for row in texts(report.run_table)} == {"2"}


def test_studies_with_several_claims_and_without_claims_have_an_answer() -> None:
    study = load_study("digits")
    claim = study.claims[0]
    back = replace(
        claim, statement="Plain 56 is more accurate.", left=claim.right, right=claim.left
    )
    report = build_report_from_record(study_record(study=replace(study, claims=(claim, back))))
    assert report.answer.startswith(
        "Of 2 claims, 1 is reproduced and 1 is contradicted; the first: "
    )
    without = build_report_from_record(study_record(study=replace(study, claims=())))
    assert without.claims is None
    assert "declares no claim" in without.answer
    lost = build_report_from_record(
        study_record(study=replace(study, claims=(), left_out=(claim.statement,)))
    )
    assert "its claims need conditions that were left out, so there is no verdict" in lost.answer


@pytest.mark.parametrize(
    "folder_prefix", ["/home/someone/secret/", "C:\\Users\\someone\\", "\\\\server\\someone\\"]
)
def test_no_path_of_the_machine_is_printed(tmp_path: Path, folder_prefix: str) -> None:
    study = load_study("digits", Overrides(data=f"{folder_prefix}pictures.npz"))
    folder = reports.write_report(collect_study_data(study_record(study=study)), tmp_path).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.*"))
    assert "someone" not in text
    assert "pictures.npz" in text


def test_numbers_are_rounded_and_negative_zero_is_not_printed() -> None:
    report = build_report_from_record(study_record())
    for table in (report.conditions, report.claims, report.run_table):
        for row in table.rows:
            for cell in row:
                assert not re.search(r"\d\.\d{4,}(?! )|-0\.0\b|nan|inf", cell.text)


@pytest.mark.parametrize(
    ("failed", "name"), [(1, "binomial test, one-sided"), (4, "Boschloo's test")]
)
def test_a_p_value_is_printed_with_the_name_of_its_test(failed: int, name: str) -> None:
    """A claim that a network fails has two tests, and each p-value is that of the named one."""
    study = load_study("digits")
    claim = FailsAndTrains(statement="It fails.", left="plain 56", right="residual 56 (A)")
    study = replace(study, claims=(claim, *study.claims))
    runs = [("at chance", 10.0)] * failed + [("trained", 30.0 + k) for k in range(5 - failed)]
    table = build_report_from_record(study_record(TRUTH | {"plain 56": runs}, study=study)).claims
    if failed == 1:
        p = stats.binomtest(failed, 5, alternative="less").pvalue
    else:
        p = 2 * stats.boschloo_exact([[failed, 0], [5 - failed, 5]], alternative="greater").pvalue
    cell = table.rows[0][[column.name for column in table.columns].index("p")]
    assert (cell.text, cell.note) == (f"{p:.3f}", name)
    assert table.rows[1][4].note == ("Welch's t-test" if failed == 1 else "")
    assert "one-sided binomial test" in table.note
    assert "Boschloo" in table.note


def test_intervals_of_accuracies_are_within_0_and_100_percent(tmp_path: Path) -> None:
    high, low = (99.9, 97.0, 99.8, 99.9, 99.9), (1.0, 0.2, 6.0, 0.5, 0.7)
    truth = TRUTH | {
        "residual 56 (A)": [("trained", x) for x in high],
        "plain 56": [("trained", x) for x in low],
    }
    assert t_interval(high).high > 100
    assert t_interval(low).low < 0
    record = study_record(truth, test_curve=True)
    report = build_report_from_record(record)
    cells = {row[0].text: row[4] for row in report.conditions.rows}
    top, bottom = cells["residual 56 (A)"], cells["plain 56"]
    assert (top.text, top.note) == (f"[{t_interval(high).low:.1f}, 100.0]", "cut at 100 %")
    assert (bottom.text, bottom.note) == (f"[0.0, {t_interval(low).high:.1f}]", "cut at 0 %")
    assert f"[{t_interval(high).low:.1f}, 100.0]" in report.answer
    bounded = [row for row in report.dot_plot.rows if row.low_pct is not None]
    assert len(bounded) >= 2
    assert all(0 <= row.low_pct <= row.high_pct <= 100 for row in bounded)
    for figure in report.curves:
        for panel in figure.panels if figure.unit == "%" else ():
            assert min(panel.band[0]) >= 0
            assert max(panel.band[1]) <= 100
    reports.write_report(collect_study_data(record), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    points = text.index("## Claims")  # differences are in points, and so are those of answers
    accuracies = text[: text.index("## Answers")] + text[text.index("## Conditions") : points]
    for low_end, high_end in re.findall(r"\\\[([−\d.]+), ([−\d.]+)\\\]", accuracies):
        assert not low_end.startswith("−")
        assert float(high_end) <= 100


def test_trained_runs_no_better_than_chance_are_listed_and_do_not_support_a_claim(
    tmp_path: Path,
) -> None:
    reason = f"{UNDECIDED}: at best 100.0 % of 2 validation images"
    record = study_record()
    label = record.runs[0].planned.condition
    runs = []
    for run in record.runs:
        assert run.record is not None
        assert run.record.result is not None
        if run.planned.condition == label and run.record.result.status == "trained":
            result = replace(run.record.result, reason=reason)
            run = replace(run, record=replace(run.record, result=result))
        runs.append(run)
    count = sum(reason == run.record.result.reason for run in runs)
    assert count > 1
    study_data = collect_study_data(replace(record, runs=tuple(runs)))
    report = reports.build_report(study_data)
    assert f"No proof of learning in {count} trained runs: {UNDECIDED}." in report.limits
    write_report(study_data, tmp_path)
    for name in ("report.html", "report.md", "results.csv"):
        assert reason in " ".join((tmp_path / name).read_text().split())
    assert "No proof of learning" not in reports.build_report(collect_study_data(record)).limits
    assert to_dict(runs[0].record)["reason"] == reason
