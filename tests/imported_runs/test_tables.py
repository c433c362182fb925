"""Tables are read in the forms that programs write, and their mistakes are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.runs_tables import A, B, long_rows, report_of, verdicts
from resnetlab.errors import InputError
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.report import report_table
from resnetlab.stats.verdict_types import ReasonKind

CLAIM = ("A > B",)
LONG = long_rows(A=A, B=B)


def wide(separator: str = ",", decimal: str = ".") -> str:
    lines = [separator.join(["seed", "A", "B"])]
    for seed, pair in enumerate(zip(A, B, strict=True)):
        cells = [str(seed), *(str(value).replace(".", decimal) for value in pair)]
        lines.append(separator.join(cells))
    return "\n".join(lines) + "\n"


FORMS = {
    "a row for each run": LONG.encode(),
    "a byte order mark and Windows' ends of lines": b"\xef\xbb\xbf"
    + LONG.replace("\n", "\r\n").encode(),
    "UTF-16, as Excel writes Unicode text": LONG.replace(",", "\t").encode("utf-16"),
    "semicolons and decimal commas": wide(";", ",").encode(),
    "tabs": wide("\t").encode(),
    "every cell in quotes": "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in LONG.splitlines()
    ).encode(),
    "percent signs": long_rows(A=[f"{v} %" for v in A], B=[f"{v}%" for v in B]).encode(),
    "fractions": long_rows(A=[v / 100 for v in A], B=[v / 100 for v in B]).encode(),
    "empty lines": LONG.replace("\nB,0", "\n\n\nB,0").encode(),
    "a row for each seed": wide().encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same_runs(form: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(FORMS[form])
    report = report_table(path, declare(claims=CLAIM, measure="accuracy"))
    rows = report.study_data.rows
    assert {(row.condition, row.seed): row.value for row in rows} == {
        (name, seed): pytest.approx(value, abs=1e-12)
        for name, values in (("A", A), ("B", B))
        for seed, value in enumerate(values)
    }
    assert verdicts(report) == ["reproduced"]


def test_json_lines_json_lists_and_frames_give_the_same_report(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    records = [
        {"model": name, "config": {"seed": seed}, "accuracy": value}
        for name, values in (("A", A), ("B", B))
        for seed, value in enumerate(values)
    ]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (tmp_path / "runs.json").write_text(json.dumps(records))
    flat = [
        {"model": r["model"], "seed": r["config"]["seed"], "accuracy": r["accuracy"]}
        for r in records
    ]
    columns = {key: [record[key] for record in flat] for key in flat[0]}
    sources = [
        tmp_path / "runs.jsonl",
        tmp_path / "runs.json",
        flat,
        columns,
        pandas.DataFrame(flat),
    ]
    sources.append(pandas.DataFrame(flat).set_index(["model", "seed"]))
    for source in sources:
        seed = "config.seed" if isinstance(source, Path) else "seed"
        rows = report_table(source, declare(seed=seed)).study_data.rows
        assert [(row.condition, row.seed, row.value) for row in rows] == [
            (r["model"], r["seed"], r["accuracy"]) for r in flat
        ]


def test_a_polars_frame_gives_the_same_runs_and_distinguishes_nan_from_null() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {"model": ["A", "A", "A"], "seed": [0, 1, 2], "accuracy": [91.0, float("nan"), None]}
    )
    rows = report_table(frame, declare()).study_data.rows
    assert [row.status for row in rows] == ["trained", "diverged", "missing"]


@pytest.mark.parametrize("options", [{}, {"sep": ";", "decimal": ","}, {"quoting": 1, "sep": "\t"}])
def test_a_file_that_pandas_wrote_is_read(options: dict[str, Any], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"model": list("AABB"), "seed": [0, 1, 0, 1]})
    frame["score"] = [1e-7, 2.5, None, -3.25]
    frame.to_csv(tmp_path / "runs.csv", index=False, **options)
    rows = report_table(tmp_path / "runs.csv", declare()).study_data.rows
    assert [row.value for row in rows] == [1e-7, 2.5, None, -3.25]
    assert [row.status for row in rows] == ["trained", "trained", "missing", "trained"]


def test_percent_signs_set_the_unit_to_percent(tmp_path: Path) -> None:
    text = long_rows(A=("0.5 %", "0.7 %"), B=("1.5%", "1.6%")).replace("accuracy", "score")
    study = report_of(text, tmp_path).study_data
    assert study.study.measure.unit == "%"
    assert [row.value for row in study.rows] == [0.5, 0.7, 1.5, 1.6]


def test_a_missing_value_in_pandas_is_a_missing_run() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"model": ["A", "A"], "seed": [0, 1], "accuracy": [91.0, None]})
    rows = report_table(frame, declare()).study_data.rows
    assert [row.status for row in rows] == ["trained", "missing"]


def test_status_words_and_empty_cells_become_outcomes_and_the_counts_add_up(tmp_path: Path) -> None:
    text = (
        "model,seed,accuracy,state\n"
        "A,0,91.0,finished\nA,1,,finished\nA,2,45.0,crashed\nA,3,10.0,dead\nA,4,nan,\n"
        "A,5,diverged,\nA,6,,OOM\nA,7,90.0,\n"
    )
    report = report_of(text, tmp_path)
    rows = report.study_data.rows
    assert [row.status for row in rows] == [
        *("trained", "missing", "missing", "at chance", "diverged", "diverged"),
        *("out of memory", "trained"),
    ]
    assert rows[2].reason == "crashed; its last value, 45, does not count"
    assert rows[2].value is None
    imported = report.study_data.study.imported
    assert imported is not None
    assert imported.reading[0] == (
        "8 rows: 8 runs of 1 condition = 2 trained + 1 at chance + 2 diverged + 1 out of memory + "
        "2 missing."
    )


def test_a_run_with_several_epochs_has_its_last_value_and_a_curve(tmp_path: Path) -> None:
    lines = ["model,seed,epoch,accuracy"]
    for name, values in (("A", A), ("B", B)):
        for seed, value in enumerate(values):
            # The rows are not in the order of the epochs.
            lines += [f"{name},{seed},{epoch},{value - 3 + epoch}" for epoch in (2, 3, 1)]
    report = report_of("\n".join(lines), tmp_path, claims=CLAIM)
    assert [row.value for row in report.study_data.rows][:5] == pytest.approx(list(A))
    (figure,) = report.report.curves
    assert [panel.label for panel in figure.panels] == ["A", "B"]
    assert figure.panels[0].runs[0].x == (1.0, 2.0, 3.0)
    assert figure.panels[0].mean is not None
    assert figure.panels[0].mean.y[-1] == pytest.approx(91.3)


def test_a_part_of_the_rows_is_read_and_counted(tmp_path: Path) -> None:
    lines = ["model,seed,split,accuracy"]
    lines += [f"{name},{k},{split},{90 + k}" for name in "AB" for k in (0, 1) for split in "xy"]
    text = "\n".join(lines)
    study_data = report_of(text, tmp_path, where=("split=x",)).study_data
    assert len(study_data.rows) == 4
    assert study_data.study.imported is not None
    assert "4 of 8 rows have split = x." in study_data.study.imported.reading
    assert study_data.study.imported.reading[0].startswith("4 rows: 4 runs")
    with pytest.raises(InputError, match=r"--where: no row \(got split=z; allowed: x, y\)"):
        report_of(text, tmp_path, where=("split=z",))
    with pytest.raises(InputError, match="--where: not COLUMN=VALUE"):
        report_of(text, tmp_path, where=("splitt=x",))


MISTAKES = {
    "no such file": (None, {}, "no such file"),
    "an empty file": ("", {}, "an empty file"),
    "a row with a cell too few": (
        "model,seed,accuracy\nA,0\n",
        {},
        "runs.csv:2: 2 cells, and the header has 3",
    ),
    "two columns of one name": ("model,model,acc\nA,0,1\n", {}, "two columns have one name"),
    "an index without a name": (",model,acc\n0,A,1\n", {}, "column 1 has no name"),
    "a quotation mark that is not closed": ('model,acc\n"A,1\n', {}, "not CSV"),
    "a text instead of a value": (
        "model,seed,accuracy\nA,0,91\nA,1,n/a!\n",
        {},
        "row 3, column accuracy: not a value (got n/a!; allowed: a number, at chance",
    ),
    "one run twice": (
        "model,seed,accuracy\nA,0,91\nA,1,92\nA,0,93\n",
        {},
        "row 2 and row 4: 2 rows of A, run 0. Fix: keep one row for each run",
    ),
    "one epoch twice": (
        "model,seed,epoch,accuracy\nA,0,1,91\nA,0,2,92\nA,0,2,93\n",
        {},
        "row 3 and row 4: two rows of A, run 0, epoch 2",
    ),
    "an unknown status": (
        "model,seed,accuracy,status\nA,0,91,fine\n",
        {},
        "row 2, status: an unknown status (got fine; allowed: trained, finished",
    ),
    "a condition without a name": (
        "model,seed,accuracy\n,0,91\n",
        {},
        "row 2, column model: empty: no condition",
    ),
    "fractions and percentages": (
        "model,seed,accuracy\nA,0,0.91\nA,1,92\n",
        {},
        "(got 0.91 to 92). Fix: write all of them in one unit, or declare it: --unit percent",
    ),
    "a percentage above 100": (
        "model,seed,accuracy\nA,0,91\nA,1,910\n",
        {"unit": "percent"},
        "row 3, column accuracy: not a percentage (got 910; allowed: 0 to 100)",
    ),
    "a column that is not there": (
        LONG,
        {"value": "acuracy"},
        'for --value (got acuracy; allowed: model, seed, accuracy). Fix: did you mean "accuracy"?',
    ),
    "folds that are not declared": (
        "model,fold,accuracy\nA,0,91\n",
        {},
        "column fold: folds of a cross-validation are no independent runs. Fix: --fold fold",
    ),
    "folds that are declared as seeds": (
        "model,fold,accuracy\nA,0,91\n",
        {"seed": "fold"},
        "column fold: folds of a cross-validation are no independent runs. Fix: --fold fold",
    ),
    "a table of text in the wide form": (
        "seed,A,machine\n0,91,node3\n",
        {},
        "column machine: a column of a condition without a number in it. Fix: --ignore machine",
    ),
    "no column of conditions": (
        "seed,accuracy\n0,91\n",
        {"value": "accuracy"},
        "no column of conditions",
    ),
    "a comma that may stand for thousands": (
        'model,seed,loss\nA,0,"1,234"\nA,1,2\n',
        {},
        "row 2, column loss: not a value (got 1,234;",
    ),
    "a NUL": ("model,acc\nA,\0\n", {}, "not a text file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line_with_its_row_and_a_fix(
    mistake: str, tmp_path: Path
) -> None:
    text, declared, expected = MISTAKES[mistake]
    path = tmp_path / "runs.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        report_table(path, declare(**declared))
    line = str(error.value)
    assert expected in line
    assert "Fix: " in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("column", "values", "unit", "higher"),
    [
        ("test_acc", ("0.91", "0.93"), "%", True),
        ("test_acc", ("91", "93"), "%", True),
        ("error", ("0.4", "1.2"), "%", False),
        ("val_loss", ("0.31", "0.42"), "", False),
        ("rmse", ("310", "420"), "", False),
        ("reward", ("-3", "250"), "", True),
        ("F1", ("0.5", "0.75"), "%", True),
        ("flowers_acc", ("91", "93"), "%", True),
        ("answer_accuracy", ("0.91", "0.93"), "%", True),
        ("certified_acc", ("91", "93"), "%", True),
        ("transferred_acc", ("91", "93"), "%", True),
        ("power", ("310", "420"), "", True),
        ("fidelity", ("0.3", "0.4"), "", True),
        ("accident_rate", ("0.3", "0.4"), "", True),
        ("wer", ("0.3", "1.4"), "", False),
        ("top1err", ("8.1", "9.2"), "%", False),
        ("valloss", ("0.31", "0.42"), "", False),
        ("testErrorRate", ("8.1", "9.2"), "%", False),
        ("loss_acc", ("91", "93"), "%", True),
        ("test_mIoU", ("0.5", "0.75"), "%", True),
        ("testerr", ("8.1", "9.2"), "%", False),
        ("nrmse", ("310", "420"), "", False),
        ("valnll", ("0.31", "0.42"), "", False),
        ("false_positive_rate", ("0.3", "0.4"), "", False),
        ("latency_ms", ("3.1", "4.2"), "", False),
        ("test_acc_at_best_val_loss", ("91", "93"), "%", True),
        ("acc@best_loss", ("91", "93"), "%", True),
        ("best_error", ("8.1", "9.2"), "%", False),
    ],
)
def test_unit_and_direction_are_detected_and_stated_in_the_report(
    column: str, values: tuple[str, str], unit: str, higher: bool, tmp_path: Path
) -> None:
    text = f"model,seed,{column}\nA,0,{values[0]}\nA,1,{values[1]}\n"
    study = report_of(text, tmp_path, value=column).study_data.study
    assert (study.measure.unit, study.measure.higher_is_better) == (unit, higher)
    assert study.imported is not None
    reading = " ".join(study.imported.reading)
    assert "--unit declares another unit" in reading
    words = f"By the name {column.replace('_', ' ')}, {'higher' if higher else 'lower'} is better"
    assert words in reading


def test_a_table_with_wrong_characters_is_read_or_refused_in_one_line_with_a_fix(
    tmp_path: Path,
) -> None:
    import numpy as np

    generator = np.random.default_rng(0)
    path = tmp_path / "runs.csv"
    read, refusals = 0, []
    for number in range(60):
        content = bytearray(LONG.encode())
        for position in generator.integers(0, len(content), 1 + number % 3):
            content[position] = int(generator.integers(0, 128))
        path.write_bytes(content)
        try:
            report_table(path, declare(claims=CLAIM))
            read += 1
        except InputError as error:  # another error would be a traceback
            refusals.append(str(error))
    assert (read, len(refusals)) == (9, 51)
    for refusal in refusals:
        (line,) = refusal.splitlines()
        assert "Fix: " in line


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"no table here\n"])
def test_a_file_that_is_not_a_table_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        report_table(path, declare(claims=CLAIM))
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(path))
    assert "Fix: " in line


def test_epochs_without_seeds_are_not_counted_as_runs(tmp_path: Path) -> None:
    rows = [f"{name},{epoch},{90 + epoch / 10}" for name in "AB" for epoch in range(12)]
    text = "\n".join(["model,epoch,test_acc", *rows])
    with pytest.raises(InputError, match="12 rows of A with epochs, but without seeds") as error:
        report_of(text, tmp_path, claims=CLAIM)
    assert "Fix: --seed COLUMN; or --ignore epoch, if each row is a run" in str(error.value)
    assert report_of(text, tmp_path, claims=CLAIM, ignore=("epoch",)).study_data.rows
    one_each = "model,epoch,test_acc\nA,7,91\nB,9,92\n"
    study = report_of(one_each, tmp_path, claims=CLAIM).study_data.study
    assert study.imported is not None
    assert study.imported.untested == ("A has a higher test acc than B",)


def test_the_value_of_a_run_is_from_its_last_evaluated_epoch(tmp_path: Path) -> None:
    text = "model,seed,epoch,test_acc\n" + "".join(
        f"{name},{seed},{epoch},{'' if epoch == 3 else 90 + seed + epoch}\n"
        for name in "AB"
        for seed in range(2)
        for epoch in range(1, 4)
    )
    rows = report_of(text, tmp_path).study_data.rows
    assert [(row.status, row.value) for row in rows] == [("trained", 92.0), ("trained", 93.0)] * 2


def test_equal_differences_of_pairs_have_no_spread(tmp_path: Path) -> None:
    text = long_rows(A=[93.1, 93.4, 93.2], B=[92.8, 93.1, 92.9])
    report = report_of(
        text, tmp_path, measure="accuracy", claims=("A > B + 0.3",), paired_by="seed"
    )
    (verdict,) = report.analysis.verdicts
    assert verdict.label == "inconclusive"
    assert verdict.reason is not None
    assert verdict.reason.kind is ReasonKind.ON_THE_EDGE


@pytest.mark.parametrize("published", ["A = 0.92 of 5", "A = 92 of 5"])
def test_a_published_fraction_is_compared_in_percent(published: str, tmp_path: Path) -> None:
    text = long_rows(A=[0.915, 0.92, 0.925], B=[0.9, 0.91, 0.905])
    report = report_of(text, tmp_path, measure="accuracy", published=(published,))
    assert report.study_data.study.imported is not None
    (value,) = report.study_data.study.imported.published
    assert value.value == pytest.approx(92.0)


def test_a_chance_below_one_percent_is_accepted_for_fractions(tmp_path: Path) -> None:
    text = long_rows(A=[0.31, 0.32, 0.33], B=[0.3, 0.31, 0.3])
    report = report_of(text, tmp_path, measure="accuracy", chance=0.5, test_images=10_000)
    assert report.study_data.study.measure.chance == 0.5


@pytest.mark.parametrize("name", ["my  method", "my\u00a0method"])
def test_a_condition_with_unusual_spaces_can_be_claimed(name: str, tmp_path: Path) -> None:
    text = LONG.replace("\nA,", f"\n{name},")
    assert verdicts(report_of(text, tmp_path, claims=(f"{name} > B",))) == ["reproduced"]
