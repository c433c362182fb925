"""Figures of studies of many conditions: their size is linear in the conditions."""

from __future__ import annotations

from resnetlab.reports.figures import draw
from resnetlab.reports.model import MOST_COMPARED, Curves, Line, Panel

X = tuple(float(epoch) for epoch in range(11))


def curves(count: int) -> Curves:
    line = Line("converged", X, tuple(1 / (1 + x) for x in X))
    panels = tuple(Panel(f"rate {place}", place, (line,), line, None) for place in range(count))
    return Curves("test-error", "Error", "", "", "%", panels, None, "", 1.0)


def test_a_panel_of_a_few_shows_the_means_of_the_others_and_one_of_many_does_not() -> None:
    """The means of all others in each panel are the square of the panels."""
    drawings = (draw(curves(count)).wide for count in (1, 4, MOST_COMPARED + 1))
    assert [drawing.count("stroke-opacity: 0.45") for drawing in drawings] == [0, 4 * 3, 0]
