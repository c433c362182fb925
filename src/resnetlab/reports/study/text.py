"""Sentences of a report: the banner, the protocol, the description, and the way it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnetlab.analysis.training_share import (
    file_images_seen,
    images_seen,
    is_shortened,
    source_images_seen,
)
from resnetlab.reports.format import join_words
from resnetlab.shell import command_line
from resnetlab.studies.claims import condition_labels
from resnetlab.translation import localize_number, tr, tr_count, tr_study, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis
    from resnetlab.stats.verdict_types import Verdict
    from resnetlab.studies.study import Override, Study


def banner(analysis: StudyAnalysis) -> str:
    """Return a note that the study is not finished; empty once it is."""
    counts = analysis.counts
    if counts.is_complete:
        return ""
    pairs = (
        (counts.missing, "missing"),
        (counts.running, "running"),
        (counts.waiting, "waiting"),
    )
    remaining = join_words(
        [
            tr("{number:,} {status}", number=number, status=tr_word(name))
            for number, name in pairs
            if number
        ]
    )
    total = tr_count(counts.planned, "run")
    return tr(
        "Partial report: {finished:,} of {total} finished, {remaining}",
        finished=counts.finished,
        total=total,
        remaining=remaining,
    )


def protocol_sentence(analysis: StudyAnalysis) -> str:
    """Explain verdicts at a reduced training; empty if no claim has one."""
    limited = [
        claim
        for claim, share in zip(analysis.study.claims, analysis.shares, strict=True)
        if share is not None
    ]
    if not limited:
        return ""
    labels = dict.fromkeys(label for claim in limited for label in condition_labels(claim))
    pairs = [(analysis.study.condition(label), analysis.data(label)) for label in labels]
    images = {
        (images_seen(condition.recipe, data.train_images), file_images_seen(condition, data))
        for condition, data in pairs
    }
    here, full = next(iter(images))
    seen = tr("its runs saw fewer images than the study file or its source asks for")
    if len(images) == 1 and full is not None:
        longest = max(source_images_seen(analysis.study, *pair) or 0.0 for pair in pairs)
        goals = [tr("the study file asks for {full:,.0f}", full=full)] if here < full else []
        if longest > full:
            goals.append(
                tr(
                    "a source of its published numbers for {images}",
                    images=_format_length(longest),
                )
            )
        seen = tr("a run saw {here:,.0f} images, and {goals}", here=here, goals=join_words(goals))
    return tr(
        "A verdict at a share of the training is one on the claim at this protocol, not on the "
        "claim of its source: {seen} (an image counts as often as it is seen).",
        seen=seen,
    )


def _format_length(images: float) -> str:
    """Format a number of images, rounded if it follows from steps: `about 8,180,000`."""
    if images == int(images):
        return localize_number(f"{images:,.0f}")
    return tr("about {images:,.0f}", images=float(f"{images:.3g}"))


def about(analysis: StudyAnalysis) -> str:
    """Return the description of the study, which its file gives for its conditions and the full
    training.
    """
    description = tr_study(analysis.study.about)
    if description and is_shortened(analysis.study):
        return tr(
            "By the study file, for its full training: {description}", description=description
        )
    if description and grid_changes(analysis.study):
        return tr("By the study file, for its conditions: {description}", description=description)
    return description


def grid_changes(study: Study) -> list[Override]:
    """Return the changes of the command to the conditions of a study."""
    return [item for item in study.overrides if item.key.startswith("grid.")]


def override_text(override: Override) -> str:
    """Return a change to the study file, such as `recipe.epochs = 2 (was 10)`, in the language."""
    if override.key == "looks":
        return tr("seeds added at looks of {numbers}", numbers=override.value)
    change = f"{override.key} = {override.value}"
    if override.previous is None:
        return change
    return tr("{change} (was {before})", change=change, before=override.previous)


def command(analysis: StudyAnalysis) -> str:
    """Return the command that repeats the study."""
    if analysis.study_data.command:
        return analysis.study_data.command
    words = ["resnetlab", "study", "run", analysis.study.file_name]
    for override in analysis.study.overrides:
        key, value = override.key, override.value
        if key == "looks":
            words += ["--until-decided", "--max-seeds", str(max(analysis.study.looks))]
        elif key == "seeds":
            seeds = value.strip("[]").replace(" ", "")
            count = len(seeds.split(","))
            plain = seeds == ",".join(str(seed) for seed in range(count))
            words += ["--seeds", str(count) if plain else seeds]
        else:
            words += ["--data", value] if key == "data" else ["--set", f"{key}={value}"]
    return command_line(words)


def made_by(analysis: StudyAnalysis) -> str:
    """Return the last line of the report."""
    versions = dict.fromkeys(m.version for m in analysis.study_data.machines if m.version)
    author = f"resnetlab {join_words(list(versions))}".strip()
    return tr(
        "Written by {author} from results.csv, curves.csv and report.json beside it.", author=author
    )


def verdict_badge(verdict: Verdict) -> str:
    """Return the key of the colors of a verdict's badge; all limited protocols have the same."""
    return "at this protocol" if verdict.is_limited else verdict.label
