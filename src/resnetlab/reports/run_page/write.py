"""Pages of the runs of a study, beside its report: `runs/<run id>.html`.

A page contains images of the data if they are on this machine, so it stays where they may be.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab import files
from resnetlab.errors import InputError
from resnetlab.models.configs.cifar import CifarConfig
from resnetlab.reports import figures
from resnetlab.reports.document import Cell, Detail, Report, Table, escape_strings
from resnetlab.reports.format import format_pct
from resnetlab.reports.plot_data import AblationPlot, AnyPlot, DepthPlot, LearningCurves
from resnetlab.reports.render.html import jinja_environment
from resnetlab.reports.run_page import details, plots
from resnetlab.reports.run_page.block_switches import (
    BlockSwitches,
    block_switches,
    find_partner,
    sets_command,
)
from resnetlab.reports.run_page.links import page_name
from resnetlab.reports.run_page.outputs import ImageLoader, RunOutputs, read_outputs
from resnetlab.runs.paths import LOGITS, WEIGHTS
from resnetlab.runs.records import RunFile, RunRecord
from resnetlab.studies.claims import condition_labels
from resnetlab.studies.exchange.remove_paths import study_without_paths
from resnetlab.studies.plan import StudyRecord, StudyRun
from resnetlab.studies.study import Study
from resnetlab.translation import Language, use_language

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_DEFAULT_PAGES = 200
"""Largest number of runs of a study whose pages are written without a request."""

SCRIPT_FILE = "run.js"


@dataclass(frozen=True)
class RunPage:
    """Content of a run's page, in words."""

    study: str
    question: str
    run: str
    condition: str
    seed: int
    status: str
    status_note: str
    answer: str
    outcome: tuple[Detail, ...]
    claims: tuple[Cell, ...]
    curves: tuple[LearningCurves, ...]
    layers: DepthPlot | None
    blocks: tuple[AblationPlot, ...]
    switches: BlockSwitches | None
    block_table: Table | None
    measure_command: str
    """Command that measures blocks of a run without block ablations; empty if it has none."""
    outputs: RunOutputs | None
    outputs_problem: str
    """Reason in English if the stored outputs cannot be read."""
    differing: Table | None
    settings: Table
    provenance: tuple[Detail, ...]
    partner: Detail | None
    """Label and address of the page of the run that pairs with this one."""
    made_by: str

    @property
    def plots(self) -> tuple[AnyPlot, ...]:
        """All figures, in order."""
        return (*self.curves, *self.blocks, *([self.layers] if self.layers else []))


def write_run_pages(
    record: StudyRecord, report: Report, root: Path, folder: Path
) -> tuple[Path, ...]:
    """Write a page for each finished run of a study; a page that would not change is kept.

    Args:
        record: Study and its runs.
        report: Report of the study, whose language the pages have.
        root: Folder that contains `runs`.
        folder: Folder of the report. The pages are in its subfolder `runs`.

    Returns:
        The paths of the pages.

    Raises:
        ResourceError: The disk is full.
    """
    images, study = ImageLoader(root / "cache"), study_without_paths(record.study)
    study_runs = {
        study_run.planned.id: study_run
        for study_run in reversed(record.runs)
        if study_run.state == "finished"
        and record.study.condition(study_run.planned.condition).evaluation_mode == "eval"
    }
    paths = []
    with use_language(report.language):
        for study_run in study_runs.values():
            path = folder / page_name(study_run.planned.id)
            page = escape_strings(_content(record, study, study_run, report, images))
            _write_page(page, path, report.language)
            paths.append(path)
    return tuple(paths)


def _content(
    record: StudyRecord, study: Study, study_run: StudyRun, report: Report, images: ImageLoader
) -> RunPage:
    run, file = study_run.record, study_run.planned.file
    assert run is not None
    assert run.result is not None
    labels = [condition.label for condition in study.conditions]
    condition = study.conditions[labels.index(study_run.planned.condition)]
    partner = find_partner(record, study_run)
    pair = (study_run, partner) if partner else (study_run,)
    networks = [
        (one.planned.condition, one.record.block_ablation, labels.index(one.planned.condition))
        for one in pair
        if one.record and one.record.block_ablation
    ]
    switches = block_switches(pair)
    outputs, problem = _outputs(file, Path(run.folder), images)
    differing, settings = details.setting_tables(study, condition)
    return RunPage(
        study=study.name,
        question=report.question,
        run=run.id,
        condition=study_run.planned.condition,
        seed=study_run.planned.seed,
        status=run.result.status,
        status_note=details.status_note(run),
        answer=details.answer(run),
        outcome=details.outcome_details(run),
        claims=tuple(
            item
            for claim, item in zip(study.claims, report.verdicts, strict=True)
            if study_run.planned.condition in condition_labels(claim)
        ),
        curves=plots.learning_curves(run),
        layers=plots.layer_plot(run, labels.index(study_run.planned.condition)),
        blocks=plots.block_plots(networks, 100 * file.class_share) if switches else (),
        switches=switches,
        block_table=details.block_table(run) if switches else None,
        measure_command=_measure_command(run) if switches is None else "",
        outputs=outputs,
        outputs_problem=problem,
        differing=differing,
        settings=settings,
        provenance=details.provenance_details(run),
        partner=_partner_link(partner),
        made_by=report.made_by,
    )


def _outputs(file: RunFile, folder: Path, images: ImageLoader) -> tuple[RunOutputs | None, str]:
    """Return the test outputs of a run, or None and the reason if they cannot be read."""
    try:
        return read_outputs(file, folder, images), ""
    except InputError as error:
        return None, f"{LOGITS}: {error.problems[0].message}"


def _measure_command(run: RunRecord) -> str:
    """Return the command that measures the blocks of a run; empty if it has no blocks."""
    model = run.config.model
    has_blocks = run.config.kind.has_diagnostics and isinstance(model, CifarConfig)
    return sets_command(run) if has_blocks and (Path(run.folder) / WEIGHTS).exists() else ""


def _partner_link(partner: StudyRun | None) -> Detail | None:
    if partner is None or partner.record is None:
        return None
    return Detail(
        partner.planned.condition, str(partner.planned.seed), f"{partner.planned.id}.html"
    )


def _write_page(page: RunPage, path: Path, language: Language) -> None:
    """Write a page, unless the file was already written from the same content."""
    digest = hashlib.sha256(repr((page, language, _sources())).encode()).hexdigest()
    mark = f'<meta name="content-sha256" content="{digest}">'
    if path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        return
    files.write_text(path, render(page, digest))


def render(page: RunPage, digest: str = "") -> str:
    """Return the page as HTML. `digest` is the SHA-256 of its content."""
    from markupsafe import Markup

    pictures = {}
    for plot in page.plots:
        drawing = figures.draw_plot(plot)
        pictures[plot.key] = figures.themed_picture(drawing.wide, drawing.narrow, plot.alt)
    environment = jinja_environment()
    script = _source(environment, SCRIPT_FILE)
    return environment.get_template("run.html").render(
        page=page,
        pct=format_pct,
        pictures=pictures,
        digest=digest,
        # JSON with `<` escaped, so that no name in it can end the element.
        script_data=Markup(page.switches.script_data) if page.switches else "",
        script=Markup(script),  # our own script, which contains no value
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _sources() -> tuple[str, ...]:
    """Return the texts of the templates, on which every page depends."""
    environment = jinja_environment()
    names = ("run.html", "run.css", SCRIPT_FILE, "report.css", "table.html", "evaluation.css")
    return tuple(_source(environment, name) for name in names)


def _source(environment: Environment, name: str) -> str:
    loader = environment.loader
    assert loader is not None
    return loader.get_source(environment, name)[0]
