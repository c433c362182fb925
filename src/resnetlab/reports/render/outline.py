"""Order of a report's sections, for the renderers that write one block after another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resnetlab.reports.document import Detail, Report, Table
from resnetlab.reports.format import capitalize_first
from resnetlab.reports.plot_data import AnyPlot
from resnetlab.translation import NARROW_NBSP, NBSP, tr


@dataclass(frozen=True)
class Heading:
    """Heading of a section (level 2) or of a part of one (level 3)."""

    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        """Id of the heading, to which a table of contents links: `all-runs`."""
        return anchor(self.text)


def anchor(text: str) -> str:
    """Return the id of a heading, as repository pages make it: `all-runs`."""
    return re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")


@dataclass(frozen=True)
class Command:
    """Command line to copy."""

    text: str


Block = Heading | Command | AnyPlot | Table | tuple[Detail, ...] | str


def contents(report: Report) -> tuple[Heading, ...]:
    """Return the headings of the sections, for a table of contents."""
    blocks = sections(report)
    return tuple(block for block in blocks if isinstance(block, Heading) and block.level == 2)


def outline_answers(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the section of answers in the report's language: an introduction without a title, and
    then the title and the text of each answer. A report without answers yields nothing.
    """
    language = report.language
    if report.answers:
        yield (
            "",
            tr(
                "Answers to the questions of the sources, written from the values of the runs. "
                "Brackets are 95 % intervals, not corrected for their number. The full training is "
                "that of the study file, or of its published numbers if theirs is longer. A "
                "sentence that begins with “In general” explains; it is no result of these runs."
            ),
        )
    for answer in report.answers:
        mark = {"star": "★", "bonus": "bonus"}.get(answer.mark, "")
        citation = ", ".join(filter(None, (answer.source, answer.number[language], mark)))
        yield (
            tr(
                "{citation}: {question}",
                citation=capitalize_first(citation),
                question=answer.question[language].replace(NBSP, NARROW_NBSP),
            ),
            answer.text(language).replace(NBSP, NARROW_NBSP),
        )


def sections(report: Report) -> Iterator[Block]:
    """Yield the blocks of a report after its limitations, in order. A block may be empty."""
    if report.ladder:
        yield from (Heading(tr("Ladder")), report.ladder.plot, report.ladder.table)
    if report.grid:
        yield from (Heading(tr("Grid")), report.grid.plot, report.grid.table)
    for title, text in outline_answers(report):
        yield Heading(title, 3) if title else Heading(tr("Answers"))
        yield text
    yield from (Heading(tr("Conditions")), report.about, report.conditions)
    yield from (Heading(tr("Run outcomes"), 3), report.outcomes)
    if report.claims:
        yield from (Heading(tr("Claims")), report.forest or "", report.claims)
    if report.references:
        yield from (Heading(tr("Comparison with published results")), report.references)
        yield report.protocols
    if report.unmatched_references:
        level = 3 if report.references else 2
        yield Heading(tr("Published results without a measurement"), level)
        yield report.unmatched_references
    if report.ensembles:
        yield from (Heading(tr("Ensembles")), report.ensembles)
    if report.exploratory:
        yield from (Heading(tr("Exploratory analysis")), report.exploratory)
    if report.first_converged:
        yield Heading(tr("The first run that converged"))
        yield from report.first_converged
    yield from _plots(tr("Accuracy and cost"), report.costs)
    yield from _plots(tr("Learning curves"), report.curves)
    if report.distances:
        yield from (Heading(tr("Distances between learning curves"), 3), report.distances)
    yield from _plots(report.diagnostics_title, report.diagnostics)
    yield from (Heading(tr("All runs")), report.run_table)
    yield from (
        Heading(tr("Reproduction")),
        Command(report.command),
        report.test_split,
        report.details,
    )
    if report.differing:
        yield from (Heading(tr("Settings that differ"), 3), report.differing)
    if report.common:
        yield from (Heading(tr("Settings of all conditions"), 3), report.common)
    if report.sources:
        yield from (Heading(tr("Sources")), report.sources)
    yield from (Heading(tr("Files")), report.files)
    yield report.made_by


def _plots(title: str, plots: Iterable[AnyPlot]) -> Iterator[Block]:
    for index, plot in enumerate(plots):
        if not index:
            yield Heading(title)
        yield from (Heading(plot.title, 3), plot)
