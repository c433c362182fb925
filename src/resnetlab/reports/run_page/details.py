"""Details of a run in words: its outcome, its provenance and its settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from resnetlab.reports.document import Cell, Detail, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    format_duration,
    format_number,
    format_pct,
    format_signed,
    join_words,
)
from resnetlab.reports.study.tables import condition_settings
from resnetlab.runs.records import RunRecord, Scores
from resnetlab.studies.study import Condition, Study
from resnetlab.translation import localize_number, tr, tr_count, tr_recorded


def outcome_details(record: RunRecord) -> tuple[Detail, ...]:
    """Return the outcome of a run: its scores by split, its epochs and its duration."""
    result, file = record.result, record.file
    if result is None:
        return ()
    details = []
    for split in ("test", "validation", "train"):
        scores: Scores | None = getattr(result, split)
        if scores is not None:
            details.append(Detail(_split_title(split), _scores_text(scores)))
    epochs = file.run.recipe.epochs_at(result.step, file.train_images)
    trained = tr("{steps:,} steps", steps=result.step)
    if epochs is not None:
        trained += tr(" ({epochs})", epochs=tr_count(round(epochs, 2), "epoch"))
    if result.selected_step != result.step:
        trained += tr("; the weights are those of step {step:,}", step=result.selected_step)
    details.append(Detail(tr("Training"), trained))
    return tuple(details)


def _split_title(split: str) -> str:
    return {
        "test": tr("Test images"),
        "validation": tr("Validation images"),
        "train": tr("Part of the train images"),
    }[split]


def _scores_text(scores: Scores) -> str:
    loss = DASH if scores.loss_nats is None else format_number(scores.loss_nats, 3)
    return tr(
        "{accuracy} accuracy, loss {loss} nats, {images}",
        accuracy=format_pct(scores.top1_accuracy_pct, 2),
        loss=loss,
        images=tr_count(scores.images, "image"),
    )


def provenance_details(record: RunRecord) -> tuple[Detail, ...]:
    """Return details about code, machine, numerics, durations and data of a run."""
    events = [event for event in record.provenance if event.get("event") in ("start", "resume")]
    numerics, result = record.config.numerics, record.result
    packages = _distinct(
        ", ".join(f"{name} {version}" for name, version in event.get("packages", {}).items())
        for event in events
    )
    lines = [
        (tr("Code"), _distinct(_code(event) for event in events)),
        (tr("Started"), _distinct(_time(event) for event in events)),
        (tr("Processor"), _distinct(str(event.get("processor", "")) for event in events)),
        (
            tr("Instruction set"),
            _distinct(str(event.get("instruction_set", "")) for event in events),
        ),
        (tr("Device"), _distinct(str(event.get("device", "")) for event in events)),
        (tr("Threads"), _distinct(str(event.get("threads", "")) for event in events)),
        (tr("Precision"), f"{numerics.precision}, {numerics.memory_format.replace('_', ' ')}"),
        (tr("System"), _distinct(str(event.get("platform", "")) for event in events)),
        (tr("Versions"), _python(events) + packages),
        (tr("Attempts"), localize_number(f"{len(events):,}")),
        (tr("SHA-256 of the data"), record.config.data.sha256),
    ]
    if result is not None:
        duration = tr(
            "{training} training, {evaluation} evaluation",
            training=format_duration(result.train_seconds),
            evaluation=format_duration(result.evaluation_seconds),
        )
        lines.insert(2, (tr("Duration"), duration))
        lines.append((tr("SHA-256 of the weights"), result.weights_sha256))
    return tuple(Detail(term, text) for term, text in lines if text)


def _time(event: dict[str, Any]) -> str:
    time = str(event.get("time", ""))[:16].replace("T", " ")
    return f"{time} UTC" if time else ""


def _code(event: dict[str, Any]) -> str:
    commit = event.get("commit", "")
    return tr(
        "resnetlab {version}{commit}{dirty}",
        version=event.get("version", ""),
        commit=tr(", commit {commit}", commit=commit) if commit else "",
        dirty=tr(" with uncommitted changes") if event.get("dirty") else "",
    )


def _python(events: list[dict[str, Any]]) -> str:
    versions = _distinct(str(event.get("python", "")) for event in events)
    return f"Python {versions}, " if versions else ""


def _distinct(texts: Iterable[str]) -> str:
    return join_words([text for text in dict.fromkeys(texts) if text])


def setting_tables(study: Study, condition: Condition) -> tuple[Table | None, Table]:
    """Return the settings in which the conditions of the study differ, and all settings.

    Args:
        study: Study without paths of this machine.
        condition: Condition of the run, from that study.
    """
    settings = condition_settings(condition)
    others = [condition_settings(other) for other in study.conditions]
    differing = [name for name in settings if len({other.get(name) for other in others}) > 1]
    columns = text_columns("Field", "Value")

    def table(key: str, names: Iterable[str]) -> Table:
        rows = tuple((Cell(name), Cell(settings[name])) for name in names)
        return Table(key, columns, rows, narrow_layout="scroll")

    return table("differing", differing) if differing else None, table("common", settings)


def answer(record: RunRecord) -> str:
    """Return the outcome of a run in a sentence."""
    result = record.result
    if result is None or result.test is None:
        return tr("This run has no test accuracy.")
    text = tr("{accuracy} test accuracy.", accuracy=format_pct(result.test.top1_accuracy_pct))
    if result.status == "at chance":
        text += " " + tr("The network did not learn: it was never above chance.")
    return text


def status_note(record: RunRecord) -> str:
    """Return the explanation of the outcome in the language in use; often empty."""
    reason = record.result.reason if record.result else ""
    return tr_recorded(reason) if reason else ""


def block_table(record: RunRecord) -> Table:
    """Return the table of the accuracy without each block, with the drop in percentage points."""
    assert record.block_ablation is not None
    complete, *blocks = record.block_ablation.blocks
    columns = (
        *number_columns("Block"),
        *text_columns("Name"),
        *number_columns("Test accuracy", "Difference, points"),
    )
    rows = [(Cell(tr("none off")), Cell(DASH), Cell(format_pct(complete.accuracy_pct)), Cell(DASH))]
    rows += [
        (
            Cell(str(number)),
            Cell(block.without),
            Cell(format_pct(block.accuracy_pct)),
            Cell(format_signed(-block.accuracy_drop_points)),
        )
        for number, block in enumerate(blocks, 1)
    ]
    return Table("blocks", columns, tuple(rows), narrow_layout="scroll")
