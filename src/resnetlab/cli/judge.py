"""Command `judge`: verdicts on runs that were trained elsewhere. It needs no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnetlab.cli.manners import Json, Open, notify, open_page, print_json
from resnetlab.errors import input_error
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnetlab.judging.report import ImportedReport
    from resnetlab.judging.sentences import ClaimSentences
    from resnetlab.judging.summaries import SummaryReport
    from resnetlab.stats.verdict import Verdict

ClaimOption = Annotated[
    list[str],
    typer.Option(
        "--claim",
        help="Claim: 'A > B', 'A > B + 1', 'A = B within 0.5', 'A fails and B trains'. > means "
        "better. May be repeated.",
        metavar="CLAIM",
    ),
]
PublishedOption = Annotated[
    list[str],
    typer.Option(
        "--published",
        help="Published number: 'A = 93.57', 'A = best 93.57 of 5 (He 2016)'. May be repeated.",
        metavar="NUMBER",
    ),
]
ConditionOption = Annotated[
    list[str],
    typer.Option(
        "--condition",
        help="Column that names the condition. Several of them together name it.",
        metavar="COLUMN",
    ),
]
SummaryOption = Annotated[
    list[str],
    typer.Option(
        "--summary",
        help="Condition without its runs, in place of RUNS: 'A: 93.5 ± 0.2, n=5'. May be repeated.",
        metavar="SUMMARY",
    ),
]
IgnoreOption = Annotated[
    list[str],
    typer.Option("--ignore", help="Column that is not read. May be repeated.", metavar="COLUMN"),
]


def judge(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Table (CSV, JSON lines), TensorBoard folder, mlruns folder or SQLite file.",
            metavar="RUNS",
        ),
    ] = None,
    claims: ClaimOption = [],  # noqa: B006
    summaries: SummaryOption = [],  # noqa: B006
    published: PublishedOption = [],  # noqa: B006
    declaration: Annotated[
        Path | None,
        typer.Option(help="TOML file with these options and [[claim]] tables.", metavar="FILE"),
    ] = None,
    condition: ConditionOption = [],  # noqa: B006
    seed: Annotated[str, typer.Option(help="Column of the seeds.", metavar="COLUMN")] = "",
    fold: Annotated[
        str, typer.Option(help="Column of the folds of a cross-validation.", metavar="COLUMN")
    ] = "",
    value: Annotated[
        str,
        typer.Option(help="Column of the values, or a tag or metric of logs.", metavar="COLUMN"),
    ] = "",
    status: Annotated[str, typer.Option(help="Column of the statuses.", metavar="COLUMN")] = "",
    epoch: Annotated[
        str, typer.Option(help="Column of the epochs, for learning curves.", metavar="COLUMN")
    ] = "",
    ignore: IgnoreOption = [],  # noqa: B006
    where: Annotated[
        list[str],
        typer.Option(
            "--where", help="Rows that are read. May be repeated.", metavar="COLUMN=VALUE"
        ),
    ] = [],  # noqa: B006
    run_pattern: Annotated[
        str, typer.Option(help="Pattern of names of runs: '{condition}-{seed}'.", metavar="PATTERN")
    ] = "",
    measure: Annotated[
        str, typer.Option(help="Name of the measured quantity in the report.", metavar="NAME")
    ] = "",
    unit: Annotated[
        Literal["auto", "percent", "fraction", "number"],
        typer.Option(help="Unit of the values: percent, fraction (0 to 1), number or auto."),
    ] = "auto",
    higher_is: Annotated[
        Literal["auto", "better", "worse"],
        typer.Option(help="Meaning of a higher value: better, worse (an error, a loss) or auto."),
    ] = "auto",
    chance: Annotated[
        float | None, typer.Option(help="Value of a constant guess, such as 10 (percent).")
    ] = None,
    test_images: Annotated[
        int | None,
        typer.Option(help="Number of test images: finds runs at chance (with --chance).", min=1),
    ] = None,
    paired_by: Annotated[
        Literal["seed", "fold"] | None,
        typer.Option(help="Pairs of runs that share a seed or a fold: seed or fold."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="The runs are folds of a cross-validation with so many folds.", min=2),
    ] = None,
    cross_validation: Annotated[
        bool,
        typer.Option("--cross-validation", help="The runs are all folds of a cross-validation."),
    ] = False,
    best_of: Annotated[
        int, typer.Option(help="Number of runs of which each value is the best.", min=1)
    ] = 1,
    name: Annotated[str, typer.Option(help="Name of the report.", metavar="NAME")] = "",
    question: Annotated[str, typer.Option(help="Question that the report answers.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; by default reports/judge-NAME.", metavar="DIR"),
    ] = None,
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Judge claims on runs that were trained elsewhere, and write the report."""
    if (source is None) != bool(summaries):
        problem = "given with --summary" if source else "neither a table nor --summary"
        raise input_error("RUNS", problem, "resnetlab judge runs.csv, or --summary for each row")
    if source is not None:
        notify(f"reading {source} ...")
    from resnetlab.judging.declaration import read_declaration
    from resnetlab.judging.report import report_table
    from resnetlab.judging.summaries import SummaryReport, judge_summaries, parse_summaries

    declared = read_declaration(
        declaration,
        {
            "claims": tuple(claims),
            "published": tuple(published),
            "condition": tuple(condition),
            "seed": seed,
            "fold": fold,
            "value": value,
            "status": status,
            "epoch": epoch,
            "ignore": tuple(ignore),
            "where": tuple(where),
            "run_pattern": run_pattern,
            "measure": measure,
            "unit": unit,
            "higher_is": higher_is,
            "chance": chance,
            "test_images": test_images,
            "paired_by": paired_by or "",
            "folds": folds,
            "cross_validation": cross_validation,
            "best_of": best_of,
            "name": name,
            "question": question,
        },
    )
    if source is None:
        report: ImportedReport | SummaryReport = judge_summaries(
            parse_summaries(summaries), declared
        )
    else:
        report = report_table(source, declared, command_line(["resnetlab", *sys.argv[1:]]))
    if isinstance(report, SummaryReport):
        _print_summaries(report, json, out, open_report)
        return
    folder = out or Path("reports") / f"judge-{report.study_data.study.name}"
    page = report.write(folder)
    if json:
        print_json(_to_dict(report, page))
    else:
        for line in _lines(report):
            typer.echo(line)
        typer.echo(str(page))
    if open_report:
        open_page(page)


def _print_summaries(
    report: SummaryReport, json: bool, out: Path | None, open_report: bool
) -> None:
    """Print verdicts on means, which have no page."""
    if out is not None or open_report:
        report.write(out or "--open")
    if json:
        print_json(_summaries_to_dict(report))
        return
    for sentence in report.reading[1:]:
        notify(sentence)
    typer.echo(report.reading[0])
    for claim in report.sentences:
        typer.echo(f"{claim.verdict}: {claim.claim}")
    for line in _claim_lines(report.sentences):
        typer.echo(line)


def _claim_lines(claims: Sequence[ClaimSentences]) -> list[str]:
    """Return the sentence for a paper and the number of seeds of each claim."""
    lines = []
    for claim in claims:
        lines.append(f"For a paper: {claim.sentence}")
        lines += [claim.seeds] if claim.seeds else []
    return lines


def _lines(report: ImportedReport) -> list[str]:
    """Return the counts, the verdicts and the answer as lines of text."""
    imported = report.study_data.study.imported
    assert imported is not None
    for sentence in imported.reading[1:]:
        notify(sentence)
    verdicts = [f"{cell.note}: {cell.text}" for cell in report.report.verdicts]
    return [imported.reading[0], *verdicts, report.answer, *_claim_lines(report.sentences)]


def _to_dict(report: ImportedReport, page: Path) -> dict[str, object]:
    """Return the result as plain values."""
    analysis, imported = report.analysis, report.study_data.study.imported
    assert imported is not None
    conditions = {
        label: {
            "planned": summary.counts.planned,
            "trained": summary.counts.trained,
            "mean": summary.mean_pct,
            "sd": summary.sd_pct,
            "interval": summary.interval_pct,
        }
        for label, summary in analysis.summaries.items()
    }
    return {
        "measure": imported.measure,
        "reading": imported.reading,
        "conditions": conditions,
        "claims": _claims_to_dicts(report.sentences, analysis.verdicts),
        "untested": imported.untested,
        "report": page,
    }


def _summaries_to_dict(report: SummaryReport) -> dict[str, object]:
    """Return verdicts on means as plain values."""
    conditions = {
        label: {
            "runs": row.n,
            "mean": row.mean,
            "sd": row.sd,
            "interval": report.interval(label),
        }
        for label, row in report.conditions.items()
    }
    return {
        "measure": report.measure,
        "reading": report.reading,
        "conditions": conditions,
        "claims": _claims_to_dicts(report.sentences, report.statistics),
    }


def _claims_to_dicts(
    claims: Sequence[ClaimSentences], verdicts: Sequence[Verdict]
) -> list[dict[str, object]]:
    """Return the verdict on each claim with its numbers as plain values."""
    return [
        {
            "claim": claim.claim,
            "verdict": verdict.phrase,
            "reason": verdict.reason,
            "difference": verdict.effect.estimate if verdict.effect else None,
            "interval": verdict.effect.interval() if verdict.effect else None,
            "p": verdict.p,
            "p_holm": verdict.p_holm,
            "seeds": verdict.forecast.estimate if verdict.forecast else None,
            "words": claim,
        }
        for claim, verdict in zip(claims, verdicts, strict=True)
    ]
