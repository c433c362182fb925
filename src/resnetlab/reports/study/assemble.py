"""Report of a study, built from its data: summaries, verdicts, and all text and numbers."""

from __future__ import annotations

from dataclasses import replace

from resnetlab.analysis.analyze import StudyAnalysis, analyze
from resnetlab.analysis.study_data import ClaimVerdict, QuestionAnswer, StudyData
from resnetlab.reports.document import Cell, ClaimSides, Detail, Report, escape_strings
from resnetlab.reports.figures.values import plot_csv
from resnetlab.reports.format import capitalize_first
from resnetlab.reports.study import (
    cost_plots,
    curve_plots,
    details,
    diagnostics,
    distances,
    dot_plot,
    ensembles,
    exploratory,
    first_converged,
    forest,
    grid_plot,
    headline,
    imported,
    ladder,
    limitations,
    references,
    run_table,
    tables,
    text,
)
from resnetlab.reports.study.source_questions import answers
from resnetlab.studies.claims import Best, Monotone, condition_labels
from resnetlab.translation import Language, tr, tr_study, use_language


def build_report(study_data: StudyData, language: Language = "en") -> Report:
    """Build a report from study data. The same data give the same report.

    Args:
        study_data: Values of the study.
        language: Language of its texts. Those of a study file of somebody else stay as they are.
    """
    analysis = analyze(study_data)
    with use_language("en"):  # these have both languages, and `report.json` contains them
        study_answers = answers.answer_all_questions(analysis)
    with use_language(language):
        if study_data.study.imported:
            report = imported.build_imported_report(
                analysis, _verdict_cells(analysis), _claim_verdicts(analysis)
            )
        else:
            report = _assemble(analysis, study_answers, language)
        return escape_strings(
            replace(report, files=_files(report, study_data), claim_sides=_claim_sides(analysis))
        )


def _assemble(
    analysis: StudyAnalysis, study_answers: tuple[QuestionAnswer, ...], language: Language
) -> Report:
    """Return the report without its list of files."""
    study_data, first_loss = analysis.study_data, details.first_loss_texts(analysis)
    common, differing = tables.settings(analysis)
    return Report(
        name=study_data.study.name,
        question=tr_study(study_data.study.question),
        about=text.about(analysis),
        banner=text.banner(analysis),
        verdicts=_verdict_cells(analysis),
        claim_verdicts=_claim_verdicts(analysis),
        answer=headline.headline(analysis),
        dot_plot=dot_plot.dot_plot(analysis),
        limits=limitations.limitations(analysis),
        conditions=tables.conditions(analysis),
        claims=tables.claims(analysis),
        forest=forest.forest_plot(analysis),
        outcomes=tables.outcomes(analysis),
        curves=curve_plots.learning_curves(analysis),
        run_table=run_table.table_of_runs(analysis),
        test_split=limitations.test_split_note(analysis),
        command=text.command(analysis),
        details=details.study_details(analysis, first_loss),
        first_loss=first_loss,
        common=common,
        differing=differing,
        made_by=text.made_by(analysis),
        references=references.reference_table(analysis),
        protocols=references.protocol_details(analysis),
        distances=distances.distance_table(analysis),
        ensembles=ensembles.ensemble_table(analysis),
        unmatched_references=references.unmatched_table(analysis),
        ladder=ladder.ladder_section(analysis),
        grid=grid_plot.grid_section(analysis),
        answers=study_answers,
        language=language,
        first_converged=first_converged.tables(analysis),
        exploratory=exploratory.exploratory_table(analysis),
        diagnostics=diagnostics.diagnostic_plots(analysis),
        costs=cost_plots.scatter_plots(analysis),
        sources=references.source_list(analysis),
    )


def _verdict_cells(analysis: StudyAnalysis) -> tuple[Cell, ...]:
    return tuple(
        Cell(
            tr_study(claim.statement),
            badge=text.verdict_badge(verdict),
            note=tr(verdict.qualified_phrase),
        )
        for claim, verdict in zip(analysis.study.claims, analysis.verdicts, strict=True)
    )


def _claim_verdicts(analysis: StudyAnalysis) -> tuple[ClaimVerdict, ...]:
    claims = zip(analysis.study.claims, analysis.verdicts, analysis.shares, strict=True)
    return tuple(
        ClaimVerdict(
            claim=claim.statement,
            verdict=str(verdict.phrase),
            direction=str(verdict.direction.phrase) if verdict.direction else "",
            training_share_low=share.low if share else None,
            training_share_high=share.high if share else None,
        )
        for claim, verdict, share in claims
    )


def _claim_sides(analysis: StudyAnalysis) -> tuple[ClaimSides, ...]:
    sides = []
    for claim in analysis.study.claims:
        labels = condition_labels(claim)
        match claim:
            case Monotone():
                sides.append(ClaimSides(labels, ()))
            case Best():
                sides.append(ClaimSides(labels[:1], labels[1:]))
            case _:
                left, right = (tuple(dict.fromkeys(labels[n::2])) for n in (0, 1))
                sides.append(ClaimSides(left, right))
    return tuple(sides)


def _files(report: Report, study_data: StudyData) -> tuple[Detail, ...]:
    """Return the files that are written beside the report, with their relative paths."""
    measured = {
        "results.csv": tr("a row for each planned run"),
        "curves.csv": tr("a row for each evaluation of a run"),
        "layers.csv": tr("a row for each layer and epoch") if study_data.gradient_norms else "",
        "blocks.csv": tr("a row for each block") if study_data.blocks else "",
        "landscape.csv": (
            tr("a row for each point of a loss landscape") if study_data.landscape_points else ""
        ),
        "ensembles.csv": tr("a row for each ensemble") if study_data.ensembles else "",
        "report.json": tr("the study, its data and machines, and its verdicts"),
    }
    files = [Detail(text, path, path) for path, text in measured.items() if text]
    for plot in report.plots:
        path = f"figures/{plot.key}"
        files.append(Detail(tr("Figure, {title}", title=plot.title), f"{path}.svg", f"{path}.svg"))
        if plot_csv(plot):
            files.append(
                Detail(tr("Values, {title}", title=plot.title), f"{path}.csv", f"{path}.csv")
            )
    return tuple(replace(detail, term=capitalize_first(detail.term)) for detail in files)
