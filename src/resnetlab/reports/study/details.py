"""Details below a report: data, first loss, software, hardware and numerics of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnetlab.analysis.run_statistics import FirstLossMode, first_losses, is_far_from_uniform
from resnetlab.analysis.study_data import Machine
from resnetlab.data.config import SPLITS
from resnetlab.recipes.numerics import Numerics
from resnetlab.reports.document import Detail
from resnetlab.reports.format import format_first_loss_values, join_words, name_some
from resnetlab.reports.study import finetune
from resnetlab.schema import encode
from resnetlab.translation import deferred, tr, tr_count, tr_word

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def study_details(analysis: StudyAnalysis, first_loss: Sequence[str]) -> tuple[Detail, ...]:
    """Return details about data, software, hardware and numerics, one for each different value."""
    study_data = analysis.study_data
    details = []
    for data in study_data.data:
        where = f" ({join_words(data.conditions)})" if len(study_data.data) > 1 else ""
        counts = [(getattr(data, f"{split}_images"), split) for split in SPLITS]
        images = join_words(
            [tr("{count:,} {split}", count=n, split=tr_word(split)) for n, split in counts if n]
        )
        names = ", ".join(data.classes[:12]) + (", …" if len(data.classes) > 12 else "")
        text = tr(
            "{name}; {images} images; {classes:,} classes ({names})",
            name=data.name,
            images=images,
            classes=len(data.classes),
            names=names,
        )
        details += [
            Detail(tr("Data{where}", where=where), text),
            Detail(tr("SHA-256 of the data"), data.sha256),
        ]
    details += finetune.finetuning_details(analysis)
    details += [Detail(tr("First loss"), text) for text in first_loss]
    for machine in study_data.machines:
        where = f", {tr_count(machine.runs, 'run')}" if len(study_data.machines) > 1 else ""
        details += _machine_details(machine, where)
    for numerics in study_data.numerics:
        defaults = encode(Numerics())
        changed = [
            f"{name.replace('_', ' ')} {value}"
            for name, value in encode(numerics).items()
            if value != defaults[name]
        ]
        details.append(Detail(tr("Numerics"), ", ".join(changed)))
    if study_data.began:
        began, ended = (iso[:16].replace("T", " ") for iso in (study_data.began, study_data.ended))
        details.append(Detail(tr("Run"), tr("{began} to {ended} UTC", began=began, ended=ended)))
    return tuple(details)


_FAR_FIRST_LOSS = {
    "training": deferred(
        "a new network need not guess uniformly: the signal grows with each block that "
        "adds to it, and so do the first logits"
    ),
    "evaluation": deferred(
        "in evaluation mode the batch normalization of a new network still has mean 0 "
        "and variance 1 and normalizes nothing, so that signals and logits can grow from block to "
        "block; in training, with the statistics of each batch, they grow far less"
    ),
}
"""Reason of a first loss that is not close to ln K, by the mode of the network."""


def first_loss_texts(analysis: StudyAnalysis) -> tuple[str, ...]:
    """Return the loss before the first step beside ln K, for each mode and number of classes."""
    groups: dict[tuple[FirstLossMode, int], dict[str, tuple[float, ...]]] = {}
    for label in analysis.summaries:
        if label in analysis.study.shared_runs:
            continue
        losses, classes = first_losses(analysis, label), len(analysis.data(label).classes)
        if losses.nats:
            groups.setdefault((losses.mode, classes), {})[label] = losses.nats
    texts = []
    for (mode, classes), by_label in groups.items():
        values = [value for nats in by_label.values() for value in nats]
        text = format_first_loss_values(values, classes, mode)
        far = [
            label
            for label, nats in by_label.items()
            if any(is_far_from_uniform(value, classes) for value in nats)
        ]
        if far:
            text += tr(
                "; not close to ln {classes}: {far} ({reason})",
                classes=classes,
                far=name_some(far),
                reason=tr(_FAR_FIRST_LOSS[mode]),
            )
        texts.append(text)
    return tuple(texts)


def _machine_details(machine: Machine, suffix: str) -> list[Detail]:
    commit = tr(", commit {commit}", commit=machine.commit) if machine.commit else ""
    dirty = tr(" with uncommitted changes") if machine.dirty else ""
    device = machine.device if machine.device != "cpu" else ""
    parts = dict.fromkeys((machine.processor, machine.instruction_set, device))
    hardware = join_words([part for part in parts if part])
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines = [
        (
            tr("Software{suffix}", suffix=suffix),
            tr(
                "resnetlab {version}{commit}{dirty}",
                version=machine.version,
                commit=commit,
                dirty=dirty,
            ),
        ),
        (tr("Packages{suffix}", suffix=suffix), packages),
        (
            tr("Machine{suffix}", suffix=suffix),
            ", ".join(filter(None, (hardware, machine.platform))),
        ),
        (tr("Python{suffix}", suffix=suffix), machine.python),
    ]
    return [Detail(term, text) for term, text in lines if text]
