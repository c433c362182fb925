"""Options of the command `judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    Path | None,
    typer.Argument(
        help="Table (CSV, JSON lines), TensorBoard folder, mlruns folder or SQLite file.",
        metavar="RUNS",
    ),
]
Claims = Annotated[
    list[str],
    typer.Option(
        "--claim",
        help="Claim: 'A > B', 'A > B + 1', 'A = B within 0.5', 'A fails and B trains'. > means "
        "better. May be repeated.",
        metavar="CLAIM",
    ),
]
Summaries = Annotated[
    list[str],
    typer.Option(
        "--summary",
        help="Condition without its runs, in place of RUNS: 'A: 93.5 ± 0.2, n=5'. May be repeated.",
        metavar="SUMMARY",
    ),
]
Published = Annotated[
    list[str],
    typer.Option(
        "--published",
        help="Published number: 'A = 93.57', 'A = best 93.57 of 5 (He 2016)'. May be repeated.",
        metavar="NUMBER",
    ),
]
DeclarationFile = Annotated[
    Path | None,
    typer.Option(help="TOML file with these options and [[claim]] tables.", metavar="FILE"),
]
Condition = Annotated[
    list[str],
    typer.Option(
        "--condition",
        help="Column that names the condition. Several of them together name it.",
        metavar="COLUMN",
    ),
]
Seed = Annotated[str, typer.Option(help="Column of the seeds.", metavar="COLUMN")]
Fold = Annotated[
    str, typer.Option(help="Column of the folds of a cross-validation.", metavar="COLUMN")
]
Value = Annotated[
    str, typer.Option(help="Column of the values, or a tag or metric of logs.", metavar="COLUMN")
]
Status = Annotated[str, typer.Option(help="Column of the statuses.", metavar="COLUMN")]
Epoch = Annotated[
    str, typer.Option(help="Column of the epochs, for learning curves.", metavar="COLUMN")
]
Ignore = Annotated[
    list[str],
    typer.Option("--ignore", help="Column that is not read. May be repeated.", metavar="COLUMN"),
]
Where = Annotated[
    list[str],
    typer.Option("--where", help="Rows that are read. May be repeated.", metavar="COLUMN=VALUE"),
]
RunPattern = Annotated[
    str, typer.Option(help="Pattern of names of runs: '{condition}-{seed}'.", metavar="PATTERN")
]
MeasureName = Annotated[
    str, typer.Option(help="Name of the measured quantity in the report.", metavar="NAME")
]
Unit = Annotated[
    Literal["auto", "percent", "fraction", "number"],
    typer.Option(help="Unit of the values: percent, fraction (0 to 1), number or auto."),
]
HigherIs = Annotated[
    Literal["auto", "better", "worse"],
    typer.Option(help="Meaning of a higher value: better, worse (an error, a loss) or auto."),
]
Chance = Annotated[
    float | None, typer.Option(help="Value of a constant guess, such as 10 (percent).")
]
TestImages = Annotated[
    int | None,
    typer.Option(help="Number of test images: finds runs at chance (with --chance).", min=1),
]
PairedBy = Annotated[
    Literal["seed", "fold"] | None,
    typer.Option(help="Pairs of runs that share a seed or a fold: seed or fold."),
]
Folds = Annotated[
    int | None,
    typer.Option(help="The runs are folds of a cross-validation with so many folds.", min=2),
]
CrossValidation = Annotated[
    bool,
    typer.Option("--cross-validation", help="The runs are all folds of a cross-validation."),
]
BestOf = Annotated[int, typer.Option(help="Number of runs of which each value is the best.", min=1)]
ReportName = Annotated[str, typer.Option(help="Name of the report.", metavar="NAME")]
Question = Annotated[str, typer.Option(help="Question that the report answers.")]
ReportFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of the report; by default reports/judge-NAME.", metavar="DIR"),
]
