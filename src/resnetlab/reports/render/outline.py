"""Order of a report's sections, for the renderers that write one block after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resnetlab.reports.document import AnyPlot, Fact, Report, Table
from resnetlab.reports.format import capitalize_first


@dataclass(frozen=True)
class Heading:
    """Heading of a section (level 2) or of a part of one (level 3)."""

    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        """Id of the heading, to which a table of contents links: `all-runs`."""
        return self.text.lower().replace(" ", "-")


@dataclass(frozen=True)
class Command:
    """Command line to copy."""

    text: str


Block = Heading | Command | AnyPlot | Table | tuple[Fact, ...] | str


def contents(report: Report) -> tuple[Heading, ...]:
    """Return the headings of the sections, for a table of contents."""
    blocks = sections(report)
    return tuple(block for block in blocks if isinstance(block, Heading) and block.level == 2)


def answers(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the section of answers in the report's language: an introduction without a title, and
    then the title and the text of each answer. A report without answers yields nothing.
    """
    french = report.language == "fr"
    if report.answers:
        yield "", _ANSWERS_INTRODUCTION[report.language]
    for answer in report.answers:
        mark = {"star": "★", "bonus": "bonus"}.get(answer.mark, "")
        citation = ", ".join(filter(None, (answer.source, answer.number[report.language], mark)))
        colon = "\N{NO-BREAK SPACE}:" if french else ":"
        yield (
            f"{capitalize_first(citation)}{colon} {answer.question[report.language]}",
            answer.text(report.language),
        )


_ANSWERS_INTRODUCTION = {
    "en": "Answers to the questions of the sources, written from the values of the runs. Brackets "
    "are 95 % intervals, not corrected for their number. The full training is that of the study "
    "file, or of its published numbers if theirs is longer. A sentence that begins with “In "
    "general” explains; it is no result of these runs.",
    "fr": "Réponses aux questions des sources, écrites à partir des valeurs des essais. Les "
    "crochets sont des intervalles à 95\N{NO-BREAK SPACE}%, sans correction pour leur nombre. "
    "L’entraînement complet est celui du fichier de l’étude, ou celui de ses valeurs publiées s’il "
    "est plus long. Une phrase qui commence par "
    "«\N{NO-BREAK SPACE}En général\N{NO-BREAK SPACE}» explique\N{NO-BREAK SPACE}; elle n’est pas "
    "un résultat de ces essais.",
}


def sections(report: Report) -> Iterator[Block]:
    """Yield the blocks of a report after its limitations, in order. A block may be empty."""
    if report.ladder:
        yield from (Heading("Ladder"), report.ladder.plot, report.ladder.table)
    if report.grid:
        yield from (Heading("Grid"), report.grid.plot, report.grid.table)
    for title, text in answers(report):
        yield Heading(title, 3) if title else Heading("Answers")
        yield text
    yield from (Heading("Conditions"), report.about, report.conditions)
    yield from (Heading("Run outcomes", 3), report.outcomes)
    if report.claims:
        yield from (Heading("Claims"), report.forest or "", report.claims)
    if report.references:
        yield from (Heading("Comparison with published results"), report.references)
        yield report.protocols
    if report.unmatched_references:
        level = 3 if report.references else 2
        yield Heading("Published results without a measurement", level)
        yield report.unmatched_references
    if report.ensembles:
        yield from (Heading("Ensembles"), report.ensembles)
    if report.exploratory:
        yield from (Heading("Exploratory analysis"), report.exploratory)
    if report.first_converged:
        yield Heading("The first run that converged")
        yield from report.first_converged
    yield from _plots("Accuracy and cost", report.costs)
    yield from _plots("Learning curves", report.curves)
    if report.distances:
        yield from (Heading("Distances between learning curves", 3), report.distances)
    yield from _plots("Layers and blocks", report.diagnostics)
    yield from (Heading("All runs"), report.run_table)
    yield from (Heading("Reproduction"), Command(report.command), report.test_split, report.facts)
    if report.differing:
        yield from (Heading("Settings that differ", 3), report.differing)
    if report.common:
        yield from (Heading("Settings of all conditions", 3), report.common)
    if report.sources:
        yield from (Heading("Sources"), report.sources)
    yield from (Heading("Files"), report.files)
    yield report.made_by


def _plots(title: str, plots: Iterable[AnyPlot]) -> Iterator[Block]:
    for index, plot in enumerate(plots):
        if not index:
            yield Heading(title)
        yield from (Heading(plot.title, 3), plot)
