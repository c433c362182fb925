"""Command `judge`: verdicts on runs that were trained elsewhere. It needs no torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resnetlab.cli.common import VERBOSITY, Json, Open, notify, open_page, print_json
from resnetlab.cli.judge import options
from resnetlab.errors import input_error
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnetlab.imported_runs.declaration import Declaration
    from resnetlab.imported_runs.report import ImportedReport
    from resnetlab.imported_runs.sentences import ClaimSentences
    from resnetlab.imported_runs.summaries import SummaryReport
    from resnetlab.stats.verdict_types import Verdict


def judge(
    source: options.Source = None,
    claims: options.Claims = [],  # noqa: B006
    summaries: options.Summaries = [],  # noqa: B006
    published: options.Published = [],  # noqa: B006
    declaration: options.DeclarationFile = None,
    condition: options.Condition = [],  # noqa: B006
    seed: options.Seed = "",
    fold: options.Fold = "",
    value: options.Value = "",
    status: options.Status = "",
    epoch: options.Epoch = "",
    ignore: options.Ignore = [],  # noqa: B006
    where: options.Where = [],  # noqa: B006
    run_pattern: options.RunPattern = "",
    measure: options.MeasureName = "",
    unit: options.Unit = "auto",
    higher_is: options.HigherIs = "auto",
    chance: options.Chance = None,
    test_images: options.TestImages = None,
    paired_by: options.PairedBy = None,
    folds: options.Folds = None,
    cross_validation: options.CrossValidation = False,
    best_of: options.BestOf = 1,
    name: options.ReportName = "",
    question: options.Question = "",
    out: options.ReportFolder = None,
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Judge claims on runs that were trained elsewhere, and write the report.

    Without a claim, the command asks for one if it is started in a terminal.
    """
    if (source is None) != bool(summaries):
        problem = "given with --summary" if source else "neither a table nor --summary"
        raise input_error("RUNS", problem, "resnetlab judge runs.csv, or --summary for each row")
    fields = {  # of a `Declaration`
        "name": name,
        "question": question,
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
        "claims": tuple(claims),
        "published": tuple(published),
    }
    from resnetlab.imported_runs.declaration import read_declaration

    declared = read_declaration(declaration, fields)
    from resnetlab.imported_runs.summaries import SummaryReport, judge_summaries, parse_summaries

    report = (
        judge_summaries(parse_summaries(summaries), declared)
        if source is None
        else _judge_table(source, declared, may_ask=not json)
    )
    if isinstance(report, SummaryReport):
        _print_summaries(report, json, out, open_report)
        return
    page = report.write(out or Path("reports") / f"judge-{report.study_data.study.name}")
    if json:
        print_json(_to_dict(report, page))
    else:
        for line in _lines(report):
            typer.echo(line)
        typer.echo(str(page))
    if open_report:
        open_page(page)


def _judge_table(
    source: Path, declared: Declaration, may_ask: bool
) -> ImportedReport | SummaryReport:
    """Judge the claims on a table of runs; without a claim, ask for one in a terminal."""
    notify(f"reading {source} ...")
    words = ["resnetlab", *sys.argv[1:]]
    if may_ask and _is_without_claim_in_terminal(declared):
        from resnetlab.cli.judge.questions import prompt_claim

        answers = prompt_claim(source, declared)
        declared = replace(declared, **answers.fields)
        words += answers.words
        if answers.words:
            typer.echo(f"The same without questions: {command_line(words)}\n")
    from resnetlab.imported_runs.report import report_table

    return report_table(source, declared, command_line(words))


def _is_without_claim_in_terminal(declared: Declaration) -> bool:
    """Return True for a declaration without a claim on a terminal, unless `--quiet` was given."""
    has_claim = bool(declared.claims or declared.claim)
    return not has_claim and not VERBOSITY.quiet and sys.stdin.isatty() and sys.stdout.isatty()


def _print_summaries(
    report: SummaryReport, json: bool, out: Path | None, open_report: bool
) -> None:
    """Print verdicts on means, which have no page."""
    if out is not None or open_report:
        report.write(out or "--open")  # raises an error that names the option
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
    from resnetlab.reports.study.imported import missing_run_sentences

    for sentence in imported.reading[1:]:
        notify(sentence)
    verdicts = [f"{cell.note}: {cell.text}" for cell in report.report.verdicts]
    missing = missing_run_sentences(report.analysis)
    lines = [imported.reading[0], *verdicts, *missing, report.answer]
    return [*lines, *_claim_lines(report.sentences)]


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
            "verdict": str(verdict.phrase),
            "reason": str(verdict.reason or ""),
            "difference": verdict.effect.estimate if verdict.effect else None,
            "interval": verdict.effect.interval() if verdict.effect else None,
            "p": verdict.p,
            "p_holm": verdict.p_holm,
            "p_of_missing_cases": verdict.p_of_cases,
            "seeds": verdict.forecast.estimate if verdict.forecast else None,
            "words": claim,
        }
        for claim, verdict in zip(claims, verdicts, strict=True)
    ]
