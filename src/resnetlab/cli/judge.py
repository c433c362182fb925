"""Command `judge`: verdicts on runs that were trained elsewhere. It needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resnetlab.cli import judge_options as options
from resnetlab.cli.manners import VERBOSITY, Json, Open, notify, open_page, print_json
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.judging.declaration import Declaration
    from resnetlab.judging.report import ImportedReport


def judge(
    source: options.Source,
    claims: options.Claims = [],  # noqa: B006
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
    given = dict(locals())  # each option has the name of a field of the declaration
    notify(f"reading {source} ...")
    declared = _read_declaration(declaration, given)
    words = ["resnetlab", *sys.argv[1:]]
    if _may_ask(declared) and not json:
        from resnetlab.cli.judge_questions import prompt_claim

        answers = prompt_claim(source, declared)
        declared = replace(declared, **answers.fields)
        words += answers.words
        if answers.words:
            typer.echo(f"The same without questions: {command_line(words)}\n")
    from resnetlab.judging.report import report_table

    report = report_table(source, declared, command_line(words))
    page = report.write(out or Path("reports") / f"judge-{report.study_data.study.name}")
    if json:
        print_json(_to_dict(report, page))
    else:
        for line in _lines(report):
            typer.echo(line)
        typer.echo(str(page))
    if open_report:
        open_page(page)


def _read_declaration(path: Path | None, given: Mapping[str, Any]) -> Declaration:
    """Return the declaration of a file and of the options of the command, by their names."""
    from resnetlab.judging.declaration import read_declaration

    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    return read_declaration(path, values | {"paired_by": given["paired_by"] or ""})


def _may_ask(declared: Declaration) -> bool:
    """Return True for a declaration without a claim on a terminal, unless `--quiet` was given."""
    has_claim = bool(declared.claims or declared.claim)
    return not has_claim and not VERBOSITY.quiet and sys.stdin.isatty() and sys.stdout.isatty()


def _lines(report: ImportedReport) -> list[str]:
    """Return the counts, the verdicts and the answer as lines of text."""
    imported = report.study_data.study.imported
    assert imported is not None
    from resnetlab.reports.study.imported import missing_run_sentences

    for sentence in imported.reading[1:]:
        notify(sentence)
    verdicts = [f"{cell.note}: {cell.text}" for cell in report.report.verdicts]
    missing = missing_run_sentences(report.analysis)
    return [imported.reading[0], *verdicts, *missing, report.answer]


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
        "claims": [
            {
                "claim": claim.claim,
                "verdict": claim.verdict,
                "reason": verdict.reason,
                "difference": verdict.effect.estimate if verdict.effect else None,
                "interval": verdict.effect.interval() if verdict.effect else None,
                "p": verdict.p,
                "p_holm": verdict.p_holm,
                "p_of_missing_cases": verdict.p_of_cases,
                "seeds": verdict.forecast.estimate if verdict.forecast else None,
            }
            for claim, verdict in zip(report.verdicts, analysis.verdicts, strict=True)
        ],
        "untested": imported.untested,
        "report": page,
    }
