"""What runs reach together, as a table and a sentence: described, not judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from resnetlab.analysis.ensembles import Joint
from resnetlab.reports.document import Cell, Column, Table
from resnetlab.reports.format import NOTHING, capital, listed, pct, places, plural, signed, span
from resnetlab.reports.study.references import address
from resnetlab.stats.intervals import Interval, mean, t_interval
from resnetlab.studies.study import Ensemble

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def table(judged: StudyAnalysis) -> Table | None:
    """A row a condition, and one for all of them; None where the study asks for none."""
    rows = tuple(row for place, held in enumerate(judged.study.ensembles) for row in _rows(judged, place, held))
    columns = (
        Column("Ensemble", numeric=False), Column("Networks"), Column("Accuracy"), Column("Mean of its members"),
        Column("Gain, points"), Column("95 % CI of the gain"), Column("The interval covers", numeric=False),
    )  # fmt: skip
    note = (
        "Converged runs that answer together, by the mean of their probabilities, on the test images; the gain is over "
        "the mean accuracy of the members. Of one ensemble the interval is paired over the test images (Student's t): "
        "it covers other images of the same kind, and not that other trainings of its members would gain another "
        "amount. Where each seed gives an ensemble, it is Student's t over seeds: it covers other trainings, on these "
        "test images."
    )
    return Table("ensembles", columns, rows, note) if rows else None


def sentence(judged: StudyAnalysis) -> str:
    """What networks of several conditions reach together; empty where there is no such ensemble."""
    told = []
    for place, held in enumerate(judged.study.ensembles):
        if across := _across(judged, place):
            gain, interval, _ = _gain(across)
            digits = places(interval)
            reached = pct(mean([joint.accuracy_pct for joint in across]), digits)
            by = f"{signed(gain, digits)} points {span(interval, digits)}"
            told.append(f"{capital(listed(held.of))} together reach {reached}, {by} over the mean of the members.")
    return " ".join(told)


def _rows(judged: StudyAnalysis, place: int, ensemble: Ensemble) -> Iterator[tuple[Cell, ...]]:
    alone = {joint.condition: joint for joint in judged.evidence.joints if joint.ensemble == place}
    for label in ensemble.of:
        yield _row(Cell(label, "its seeds together"), [alone[label]] if label in alone else [])
    if len(ensemble.of) > 1:
        said = "; ".join(part for part in (ensemble.says, ensemble.source) if part)
        url = address(judged, ensemble.source)
        name = Cell(f"One of each: {listed(ensemble.of)}", said, cited=ensemble.source, url=url)
        yield _row(name, _across(judged, place))


def _across(judged: StudyAnalysis, place: int) -> list[Joint]:
    return [joint for joint in judged.evidence.joints if joint.ensemble == place and not joint.condition]


def _row(name: Cell, joints: Sequence[Joint]) -> tuple[Cell, ...]:
    if not joints:
        return (name, *[Cell(NOTHING)] * 6)
    gain, interval, covers = _gain(joints)
    digits = places(interval)
    several = f"{plural(len(joints), 'ensemble')}, one a seed" if len(joints) > 1 else ""
    return (
        name,
        Cell(str(joints[0].members), several),
        Cell(pct(mean([joint.accuracy_pct for joint in joints]), digits)),
        Cell(pct(mean([joint.members_pct for joint in joints]), digits)),
        Cell(signed(gain, digits)),
        Cell(span(interval, digits)),
        Cell(covers),
    )


def _gain(joints: Sequence[Joint]) -> tuple[float, Interval | None, str]:
    """In points over the members, its interval, and what that covers."""
    gains = [joint.gain for joint in joints]
    if len(joints) > 1:
        return mean(gains), t_interval(gains), "other seeds, these test images"
    return gains[0], Interval(joints[0].gain_low, joints[0].gain_high), "other images, these trained networks"
