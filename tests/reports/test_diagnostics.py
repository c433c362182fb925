"""The report shows the requested measurements of runs as figures, texts and files of values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.synthetic import study_record
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import BlockRow, GradientNormRow, LandscapePoint, StudyData
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.inspection.landscape_summary import axis_values
from resnetlab.reports.plot_data import AblationPlot, DepthPlot, LandscapePlot
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import rebuild, write_report

LAYERS = ("stem", "stages.0.0.conv1", "stages.1.0.shortcut.conv", "stages.1.0.conv1", "head")


def norm(
    condition: str, seed: int, epoch: float, depth: int, value: float | None
) -> GradientNormRow:
    return GradientNormRow(
        condition=condition,
        seed=seed,
        epoch=epoch,
        images=64,
        depth=depth,
        layer=LAYERS[depth - 1],
        weight_gradient_norm=value,
        weight_norm=1.0,
        response_gradient_norm=1.0,
        response_norm=8.0,
        response_sd=1.0,
        activation_norm=4.0,
        never_active_pct=None if depth == 5 else 25.0 * (epoch > 0),
    )


@pytest.fixture(scope="module")
def measured() -> StudyData:
    """Gradients that fall by ten a layer in the plain networks and by two in the residual ones."""
    study_data = collect_study_data(study_record())
    labels = [condition.label for condition in study_data.study.conditions]
    norms, blocks = [], []
    for label in labels:
        base = 10.0 if label.startswith("plain") else 2.0
        for seed in (0, 1, 2, 3, 4)[: 4 if label == labels[0] else 5]:
            norms += [
                norm(label, seed, e, d, base ** (1 - d) * (1 + seed))
                for e in (0.0, 2.0)
                for d in range(1, 6)
            ]
            worth = {
                "nothing": 90.0,
                "stages.0.0": 20.0 + seed,
                "stages.0.1": 88.0,
                "stages.1.0": 70.0,
            }
            blocks += [
                BlockRow(
                    condition=label,
                    seed=seed,
                    without=name,
                    accuracy_pct=left,
                    accuracy_drop_points=90.0 - left,
                )
                for name, left in worth.items()
            ]
    study = replace(
        study_data.study,
        diagnostics=DiagnosticsConfig(gradient_norms=(0, 2), ablate_blocks=True),
    )
    return replace(study_data, study=study, gradient_norms=tuple(norms), blocks=tuple(blocks))


@pytest.fixture(scope="module")
def landscapes(measured: StudyData) -> StudyData:
    """Bowls on two planes: plain ones rise by 8 and 4 nats at distance 1, the others by 2 and 1."""
    labels = [condition.label for condition in measured.study.conditions]
    points = [
        LandscapePoint(
            batch_norm="running",
            condition=label,
            seed=0,
            images=64,
            plane=plane,
            x=x,
            y=y,
            loss_nats=None
            if (label, x, y) == ("plain 56", 1, 1)
            else 0.5 + (8 if label.startswith("plain") else 2) / (1 + plane) * (x * x + y * y),
        )
        for label in labels
        for plane in (0, 1)
        for x in axis_values(5)
        for y in axis_values(5)
    ]
    return replace(measured, gradient_norms=(), blocks=(), landscape_points=tuple(points))


def test_landscapes_have_a_figure_with_the_spread_over_planes(
    landscapes: StudyData, tmp_path: Path
) -> None:
    (plot,) = build_report(landscapes).diagnostics
    assert isinstance(plot, LandscapePlot)
    assert [panel.label for panel in plot.panels] == [
        condition.label for condition in landscapes.study.conditions
    ]
    assert "plain 8 6 (4 to 8)" in plot.caption
    assert "residual 56 (A) 1.5 (1 to 2)" in plot.caption
    assert "description without a verdict" in plot.caption
    page = write_report(landscapes, tmp_path / "a").read_text(encoding="utf-8")
    assert "Loss landscapes</" in page
    assert "Layers and blocks" not in page
    assert load_study_data(tmp_path / "a").landscape_points == landscapes.landscape_points
    rebuild(tmp_path / "a", tmp_path / "b")
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()
    drawn = (tmp_path / "a" / "figures" / "loss-landscapes.svg").read_text()
    assert drawn.count("<path") > 4 * 5  # levels of four panels


def test_landscapes_are_drawn_in_french(landscapes: StudyData) -> None:
    (plot,) = build_report(landscapes, language="fr").diagnostics
    assert "plain 8 6 (4 à 8)" in plot.caption


def test_a_study_without_diagnostics_has_no_diagnostics_figure() -> None:
    assert build_report(collect_study_data(study_record())).diagnostics == ()


def test_each_epoch_has_a_figure_by_depth_without_projections(measured: StudyData) -> None:
    first, second, _ = build_report(measured).diagnostics
    assert isinstance(first, DepthPlot)
    assert isinstance(second, DepthPlot)
    assert (first.key, second.key) == ("depth-epoch-0", "depth-epoch-2")
    panel = next(panel for panel in second.quantities[0].panels if panel.label == "plain 56")
    assert [len(line.x) for line in panel.runs] == [4] * 5
    assert panel.mean
    assert panel.mean.x == (1.0, 2.0, 4.0, 5.0)
    assert panel.mean.y == pytest.approx([3, 0.3, 0.003, 0.0003])  # of seeds 0 to 4, the third
    assert [line.outcome for line in panel.runs] == [
        "trained",
        "trained",
        "at chance",
        "trained",
        "at chance",
    ]
    assert "plain 56 3 to 0.0003" in second.alt
    assert "19 of 20 runs" in second.caption
    titles = [quantity.title for quantity in first.quantities]
    assert not any(title.startswith("Never") for title in titles)
    assert "Every unit was active" in first.caption
    assert second.quantities[-1].title.startswith("Never")
    assert "Every unit was active" not in second.caption


def test_blocks_are_plotted_by_number_with_the_starts_of_the_stages(measured: StudyData) -> None:
    worths = build_report(measured).diagnostics[-1]
    assert isinstance(worths, AblationPlot)
    assert [worth.panel.label for worth in worths.ablations] == list(
        dict.fromkeys(b.condition for b in measured.blocks)
    )
    worth = worths.ablations[-1]
    assert (worth.full_accuracy_pct, worth.stage_starts) == (90.0, (3,))
    assert worth.panel.mean
    assert worth.panel.mean.y == (22.0, 88.0, 70.0)
    assert "90.0 % whole, 22.0 % without the block that it misses most" in worths.alt


def test_the_figures_are_files_with_texts_and_the_report_is_rebuilt_from_its_values(
    measured: StudyData, tmp_path: Path
) -> None:
    page = write_report(measured, tmp_path / "a").read_text(encoding="utf-8")
    assert load_study_data(tmp_path / "a").gradient_norms == measured.gradient_norms
    assert load_study_data(tmp_path / "a").blocks == measured.blocks
    rebuild(tmp_path / "a", tmp_path / "b")
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()
    text = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    for picture in build_report(measured).diagnostics:
        assert (tmp_path / "a" / "figures" / f"{picture.key}.svg").read_text().count("<path") > 10
        assert f"(figures/{picture.key}.svg)" in text
        assert page.count(f'aria-label="{picture.alt}"') == 2
    head = (tmp_path / "a" / "layers.csv").read_text().splitlines()[0]
    assert head.startswith("condition,seed,epoch,images,depth,layer,weight_gradient_norm,")


def test_runs_without_a_finite_value_have_no_line_in_the_figure(measured: StudyData) -> None:
    norms = tuple(
        replace(n, weight_gradient_norm=None) if n.condition == "plain 56" else n
        for n in measured.gradient_norms
    )
    first = build_report(replace(measured, gradient_norms=norms)).diagnostics[0]
    assert isinstance(first, DepthPlot)
    panel = next(panel for panel in first.quantities[0].panels if panel.label == "plain 56")
    assert panel.mean is None
    assert panel.runs == ()
