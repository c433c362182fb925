"""Order of a report's sections, for the renderers that write one block after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resnetlab.reports.document import AnyPlot, Fact, Report, Table


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


def sections(report: Report) -> Iterator[Block]:
    """Yield the blocks of a report after its limitations, in order. A block may be empty."""
    if report.ladder:
        yield from (Heading("Ladder"), report.ladder.plot, report.ladder.table)
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
    yield from _plots("Accuracy and cost", report.costs)
    yield from _plots("Learning curves", report.curves)
    if report.distances:
        yield from (Heading("Distances between learning curves", 3), report.distances)
    yield from _plots("Layers and blocks", report.diagnostics)
    yield from (Heading("All runs"), report.run_table)
    yield from (Heading("Reproduction"), Command(report.command), report.test_split, report.facts)
    if report.differing:
        yield from (Heading("Settings that differ", 3), report.differing)
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
