"""Lines that the commands `data suspects`, `data enough` and `extend` print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.messages import format_count
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.curation.labeled_photos import LabeledPhotos
    from resnetlab.curation.results import AppliedDecisions, ExtendResult, SuspectReport

MAX_LINES = 10
"""Number of suspects that the terminal shows; the page shows more."""


def suspect_lines(report: SuspectReport) -> list[str]:
    """Summarize the suspects of a folder in lines."""
    from resnetlab.reports.suspects import describe_share

    lines = [
        f"{item.path}: {item.label} ({100 * item.label_probability:.0f} %), suggested "
        f"{item.suggested} ({100 * item.suggested_probability:.0f} %)"
        for item in report.suspects[:MAX_LINES]
    ]
    if len(report.suspects) > MAX_LINES:
        lines.append(f"... and {len(report.suspects) - MAX_LINES:,} more")
    lines.append(
        f"{len(report.suspects):,} of {report.images:,} photographs get another class than their "
        "label"
    )
    if report.unjudged:
        count = len(report.unjudged)
        lines.append(f"{count:,} not judged, as the only photograph or group of a class")
    return [*lines, describe_share(report)]


def applied_lines(result: AppliedDecisions, root: Path) -> list[str]:
    """Summarize applied decisions on the photographs in `root` in lines."""
    judged = result.accepted + result.rejected
    interval = f"[{result.precision_low_pct:.1f}, {result.precision_high_pct:.1f}]"
    lines = [
        (
            f"precision {result.precision_pct:.1f} % {interval}: {result.accepted:,} of {judged:,} "
            "judged labels are wrong, exact 95 % interval"
        ),
        f"{result.accepted:,} labels changed: {result.labels}",
    ]
    table = root / "labels.csv"
    if Path(result.labels).resolve() != table.resolve():
        lines.append(
            f"to use them, copy the table: {command_line(['cp', result.labels, str(table)])}"
        )
    return lines


def extend_lines(result: ExtendResult, folder: Path) -> list[str]:
    """Summarize an extension in lines. The last line is a command for the user's next step."""
    added = sum(result.added_images)
    interval = f"[{result.change_low_points:+.1f}, {result.change_high_points:+.1f}]"
    before, after = result.before, result.after
    lines = [
        f"{format_count(added, 'photograph')} added, "
        f"{format_count(len(result.new_classes), 'new class')}"
        + (f": {', '.join(result.new_classes)}" if result.new_classes else ""),
        (
            f"old test photographs: {before.accuracy_pct:.1f} % before, {after.accuracy_pct:.1f} % "
            f"after; change {result.change_points:+.1f} points {interval} over {after.images:,} "
            "images, paired 95 % interval"
        ),
    ]
    for row in result.by_class:
        kind = "new class" if row.is_new else "old class"
        lines.append(
            f"added test photographs of {row.name} ({kind}): {row.accuracy_pct:.1f} % "
            f"[{row.low_pct:.1f}, {row.high_pct:.1f}] of {row.images:,}"
        )
    test = result.test
    lines.append(
        f"all test photographs: {test.accuracy_pct:.1f} % [{test.low_pct:.1f}, "
        f"{test.high_pct:.1f}] of {test.images:,}, exact 95 % interval"
    )
    lines += [f"note: {note}" for note in result.notes]
    lines.append(
        f"{result.seconds:.1f} s, of which {result.feature_seconds:.1f} s for features; the model "
        "before is unchanged"
    )
    lines.append(command_line(["resnetlab", "predict", str(folder), "PHOTO"]))
    return lines


def apply_command(labeled: LabeledPhotos) -> str:
    """Return the command that applies the decisions on the photographs of a folder."""
    folder_choices = labeled.folder_choices
    options = {
        "--follow-links": folder_choices.follow_links
        if folder_choices.follow_links != "no"
        else "",
        "--path-column": folder_choices.path_column,
        "--label-column": folder_choices.label_column,
        "--group": folder_choices.group,
    }
    words = ["resnetlab", "data", "suspects", str(labeled.photos.root), "--apply", "decisions.csv"]
    for name, value in options.items():
        words += [name, value] if value else []
    words += ["--nested"] if folder_choices.nested else []
    words += ["--skip-bad"] if labeled.skip_bad else []
    return command_line(words)
