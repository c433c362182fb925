"""Captions of the figures of learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.reports.display_limits import MAX_LINES, limit_per_group
from resnetlab.reports.format import join_words, name_some
from resnetlab.reports.plot_data import MAX_GRAY_PANELS, Panel
from resnetlab.reports.study.finetune import has_finetuning
from resnetlab.translation import localize_number, tr

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MIN_T_BAND_RUNS = 5
"""Number of runs from which a t-band is more informative than the range of the runs."""


def caption(
    analysis: StudyAnalysis,
    panels: tuple[Panel, ...],
    without_panel: list[str],
    split: str,
    uniform_loss: float | None = None,
    is_cut: bool = False,
) -> str:
    """Return the caption of a figure of learning curves.

    Args:
        analysis: Analysis of the study.
        panels: Panels of the figure.
        without_panel: Labels of the conditions that have no panel.
        split: Split of the curves; empty for the values of imported runs.
        uniform_loss: Height of the dotted line in nats, if there is one.
        is_cut: True if a mean is above the scale.
    """
    sentences = [
        tr("Thin lines: runs, dashed if not trained. Bold: mean of the trained runs."),
        _band_sentence(panels),
        _drawn_runs_sentence(panels),
        _train_error_sentence(panels),
        _published_sentences(analysis, panels),
        _conditions_sentence(panels, without_panel),
        _evaluated_images_sentence(analysis, split),
    ]
    if split == "validation" and has_finetuning(analysis):
        sentences.append(
            tr("The stages of fine-tuning follow one another; each is evaluated at its train size.")
        )
    if uniform_loss:
        sentences.append(
            tr(
                "Dotted: {uniform_loss:.2f} nats, the loss of a uniform guess.",
                uniform_loss=uniform_loss,
            )
        )
    if split == "test":
        sentences.append(tr("No weights were selected by this curve."))
    if is_cut:
        sentences.append(tr("A triangle at the top marks a mean above the scale."))
    return " ".join(filter(None, sentences))


def _band_sentence(panels: tuple[Panel, ...]) -> str:
    trained_runs = [
        sum(line.outcome == "trained" for line in panel.runs) for panel in panels if panel.band
    ]
    kinds = []
    if any(n >= MIN_T_BAND_RUNS for n in trained_runs):
        kinds.append(tr("a pointwise 95 % t-interval of the mean"))
    if any(n < MIN_T_BAND_RUNS for n in trained_runs):
        kinds.append(tr("the range of the runs if fewer than {runs} trained", runs=MIN_T_BAND_RUNS))
    return tr("Band: {kinds}.", kinds=tr(", and ").join(kinds)) if kinds else ""


def _drawn_runs_sentence(panels: tuple[Panel, ...]) -> str:
    lines = limit_per_group(MAX_LINES, len(panels))
    if all(len(panel.runs) <= lines for panel in panels):
        return ""
    return tr(
        "Drawn: at most {lines} runs of a condition, evenly spaced from the lowest to the "
        "highest last value; curves.csv has all runs.",
        lines=lines,
    )


def _train_error_sentence(panels: tuple[Panel, ...]) -> str:
    if not any(panel.other_split_mean for panel in panels):
        return ""
    return tr(
        "Dashed: mean error on the fixed train images; its distance below the bold line is "
        "overfitting."
    )


def _published_sentences(analysis: StudyAnalysis, panels: tuple[Panel, ...]) -> str:
    """Explain the published curves, and the length of an epoch if the data were cut."""
    drawn = [*panels, *(panel.partner for panel in panels if panel.partner)]
    if not any(panel.published for panel in drawn):
        return ""
    text = tr(
        "Thin and dashed, “published”: the mean of the source's runs after each of its "
        "epochs; the comparison with published results lists how its protocol differs."
    )
    cut_sizes = {
        dataset.train_images
        for dataset in analysis.study_data.data
        for label in dataset.conditions
        if analysis.study.condition(label).data.train_images is not None
    }
    if cut_sizes:
        count = join_words([localize_number(f"{n:,}") for n in sorted(cut_sizes)])
        text += " " + tr(
            "An epoch of these runs has {count} train images, not all of them.", count=count
        )
    return text


def _conditions_sentence(panels: tuple[Panel, ...], without_panel: list[str]) -> str:
    """Name the conditions without a panel, or explain the gray lines of those that have one."""
    if without_panel:
        return tr(
            "{shown} of {conditions} conditions; curves.csv has also {names}.",
            shown=len(panels),
            conditions=len(panels) + len(without_panel),
            names=name_some(without_panel),
        )
    means = sum(panel.mean is not None for panel in panels)
    in_pairs = any(panel.partner for panel in panels)
    if means > 1 and len(panels) <= MAX_GRAY_PANELS and not in_pairs:
        return tr("Gray: the means of the other conditions.")
    return ""


def _evaluated_images_sentence(analysis: StudyAnalysis, split: str) -> str:
    limits = {condition.data.curve_images for condition in analysis.study.conditions}
    numbers = sorted(limit for limit in limits if limit)
    if numbers:
        count = tr(" or ").join(localize_number(f"{n:,}") for n in numbers)
        return tr("During training, at most {count} fixed images were evaluated.", count=count)
    if split != "train":
        return ""
    sizes = {dataset.train_subset_images for dataset in analysis.study_data.data}
    known_sizes = [size for size in sizes if size]
    number_of_images = ""
    if len(known_sizes) == 1:
        number_of_images = tr(" of {count:,} images", count=known_sizes[0])
    return tr(
        "A fixed train subset{of}, in evaluation mode; step 0 is the network before training.",
        of=number_of_images,
    )
