"""Tables of the page of a fine-tuning: the networks and the methods for uneven classes that were
tried before training.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnetlab.finetuning.results import (
    AccuracyEstimate,
    BackboneTrial,
    BalanceTrial,
    FinetuneResult,
    PairedComparison,
)
from resnetlab.reports.document import Cell, Table, number_columns, text_columns
from resnetlab.reports.format import (
    DASH,
    capitalize_first,
    format_duration,
    format_interval,
    format_p_relation,
    format_pct,
    join_words,
)
from resnetlab.stats.intervals import Interval
from resnetlab.translation import localize_number, tr, tr_count, tr_recorded, tr_word

MAX_CHANCE_P = 0.05
"""Value of p from which a difference on the validation photographs may be chance."""


@dataclass(frozen=True)
class TrialSection:
    """Section of the page: a sentence, and the table of all trials."""

    text: str
    table: Table


def backbone_section(result: FinetuneResult) -> TrialSection | None:
    """Return the section about the networks that were tried, or None if there was only one."""
    trials = result.backbone_trials
    if not trials:
        return None
    columns = (
        *text_columns("Network"),
        *number_columns("Validation", "Parameters", "Time"),
        *text_columns("License", "Compared with the selected one"),
    )
    rows = tuple(map(_backbone_row, trials))
    note = tr(
        "A linear probe on the features of each frozen network. Validation: accuracy and its "
        "exact 95 % interval. p is that of McNemar's exact test on the same photographs, not "
        "corrected for the number of networks."
    )
    return TrialSection(
        _backbone_text(result), Table("trials", columns, rows, note, narrow_layout="cards")
    )


def _backbone_text(result: FinetuneResult) -> str:
    """Summarize which networks validation can and cannot distinguish."""
    trials = result.backbone_trials
    accuracy = {k: t.validation.accuracy_pct for k, t in enumerate(trials) if t.validation}
    (best,) = [k for k in accuracy if trials[k].selected]
    same = [trials[k].model for k in accuracy if k != best and accuracy[k] == accuracy[best]]
    close = [t.model for t in trials if t.paired is not None and t.paired.p >= MAX_CHANCE_P]
    images = tr_count(result.validation.images, "validation photograph")
    networks = tr_count(len(accuracy), "network")
    sentences = [
        tr(
            "{model} has the highest accuracy of {networks} on {images}.",
            model=trials[best].model,
            networks=networks,
            images=images,
        )
    ]
    if same:
        sentences.append(
            tr("{networks} have the same accuracy; the loss decided.", networks=join_words(same))
            if same[1:]
            else tr("{network} has the same accuracy; the loss decided.", network=same[0])
        )
    if close:
        others = join_words(close)
        sentences.append(
            tr(
                "These photographs do not show that it is better than {others}: the difference may "
                "be chance.",
                others=others,
            )
        )
    elif len(accuracy) > 1:
        sentences.append(tr("It is significantly better than each of the others."))
    return " ".join(sentences)


def _backbone_row(trial: BackboneTrial) -> tuple[Cell, ...]:
    if trial.validation is None:
        reason = capitalize_first(tr_recorded(trial.left_out))
        return (Cell(trial.model, trial.origin), *[Cell(DASH)] * 4, Cell(tr("left out"), reason))
    return (
        Cell(trial.model, trial.origin),
        accuracy_cell(trial.validation),
        Cell(localize_number(f"{trial.parameters:,}")),
        Cell(format_duration(trial.seconds)),
        Cell(trial.license),
        Cell(tr("selected")) if trial.paired is None else _paired(trial.paired),
    )


def _paired(paired: PairedComparison) -> Cell:
    counts = tr(
        "{only_this} correct only here, {only_baseline} only there",
        only_this=paired.only_this,
        only_baseline=paired.only_baseline,
    )
    return Cell(tr("p {relation}", relation=format_p_relation(paired.p)), counts)


def accuracy_cell(estimate: AccuracyEstimate) -> Cell:
    """Return the cell of an accuracy, with its interval below it."""
    interval = format_interval(Interval(estimate.low_pct, estimate.high_pct))
    return Cell(format_pct(estimate.accuracy_pct), interval)


def balance_section(result: FinetuneResult) -> TrialSection | None:
    """Return the section about the methods for uneven classes, or None if none was tried."""
    trials = result.balance_trials
    if not trials:
        return None
    columns = (
        *text_columns("Method"),
        *number_columns("Balanced accuracy", "Accuracy"),
        *text_columns("Compared with the selected one"),
    )
    (best,) = [trial for trial in trials if trial.selected]
    count = tr_count(len(trials), "method")
    text = tr(
        "The classes have different numbers of train photographs. Of {count}, validation "
        "selected “{method}” by balanced accuracy: the mean of the accuracies of the classes, "
        "in which a rare class counts as much as a frequent one.",
        count=count,
        method=tr_word(best.method),
    )
    if any(trial.p is not None and trial.p >= MAX_CHANCE_P for trial in trials):
        text += " " + tr("Where p is not small, the difference may be chance.")
    note = tr(
        "A linear probe with each method. The interval of the balanced accuracy has a beta "
        "distribution for each class (Brodersen et al. 2010); p is of random flips of the "
        "signs of the paired differences."
    )
    rows = tuple(map(_balance_row, trials))
    return TrialSection(text, Table("balance", columns, rows, note, narrow_layout="cards"))


def _balance_row(trial: BalanceTrial) -> tuple[Cell, ...]:
    interval = format_interval(Interval(trial.balanced_low_pct, trial.balanced_high_pct))
    state = tr("selected")
    if trial.p is not None:
        state = tr("p {relation}", relation=format_p_relation(trial.p))
    return (
        Cell(tr_word(trial.method)),
        Cell(format_pct(trial.balanced_pct), interval),
        accuracy_cell(trial.validation),
        Cell(state),
    )
