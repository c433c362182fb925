"""Measure of a table: the name, the unit and the better direction of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from resnetlab.errors import input_error
from resnetlab.imported_runs.columns import Columns
from resnetlab.imported_runs.declaration import Declaration
from resnetlab.imported_runs.raw_table import RawTable, cell_text
from resnetlab.imported_runs.run_values import ImportedRun
from resnetlab.studies.measure import Measure, Unit

_HIGHER_IS_BETTER = {
    *("acc", "accuracy", "correct", "precision", "recall", "f1", "reward"),
    *("ap", "map", "auc", "auroc", "iou", "miou", "dice", "tpr", "tnr"),
}
_LOWER_IS_BETTER = {
    *("err", "error", "errors", "errorrate", "misclassification", "fpr", "fnr", "false", "eer"),
    *("cer", "wer", "mae", "mape", "mse", "rmse", "fid", "brier", "ece", "regret", "latency"),
    *("loss", "losses", "nll", "entropy", "perplexity", "ppl", "kl", "divergence", "bpd"),
}
_JOINED_ENDS = ("error", "loss", "entropy", "accuracy", "acc")
"""Ends of names that are written as one word, such as valloss."""

_PREFIX = re.compile(r"train|test|validation|valid|val|dev|eval|mean|n|s")
"""Beginnings of names that are written as one word, such as testerr and nrmse."""

_CONDITION_WORDS = {"at", "best", "min", "max", "for", "with", "without", "when"}
"""Words after which another quantity tells which value was taken: acc_at_best_loss."""

_PERCENT = {
    *("acc", "accuracy", "correct", "precision", "recall", "f1", "top1", "top5"),
    *("ap", "map", "auc", "auroc", "iou", "miou", "dice"),
    *("err", "error", "errors", "errorrate", "misclassification", "fpr", "fnr", "tpr", "tnr"),
    *("eer", "pct", "percent", "%"),
}
"""Words in the names of quantities that are usually percentages or fractions."""


def detect_measure(
    table: RawTable, runs: Sequence[ImportedRun], columns: Columns, declaration: Declaration
) -> tuple[Measure, float, list[str]]:
    """Return the measure of the runs, the factor of their values, and sentences about both.

    Fractions become percent by the factor 100. A unit that is not declared is detected: values
    whose name is that of a percentage are percent if one of them is above 1, else fractions; other
    values are plain numbers.

    Raises:
        InputError: Values lie outside their unit, or may be fractions and percentages.
    """
    column = columns.value
    name = declaration.measure or column.replace("_", " ") or "value"
    sentences = []
    higher = declaration.higher_is == "better"
    if declaration.higher_is == "auto":
        higher = _is_higher_better(name)
        word = "higher" if higher else "lower"
        sentences.append(
            f"By the name {name}, {word} is better; --higher-is worse or better declares it."
        )
    values = [(run, run.value) for run in runs if run.value is not None]
    values += [(run, value) for run in runs for _, value in run.curve]
    unit: Unit = "%" if declaration.unit in ("percent", "fraction") else ""
    factor = 100.0 if declaration.unit == "fraction" else 1.0
    if declaration.unit == "auto" and _has_percent_sign(table, columns):
        unit = "%"
        sentences.append("The values have percent signs.")
    elif declaration.unit == "auto":
        unit, factor, sentence = _detect_unit(table, name, [value for _, value in values], higher)
        sentences.append(sentence)
    top = 100.0 / factor
    for run, value in values if unit == "%" else ():
        if not 0 <= value <= top * (1 + 1e-12):
            message = f"not {'a fraction' if factor == 100 else 'a percentage'}"
            allowed = f"0 to {top:g}"
            fix = "--unit number for a value of another unit, or correct the row"
            field = f"{run.origin}, column {column or run.condition}"
            raise input_error(
                table.where, message, fix, field=field, got=f"{value:g}", allowed=allowed
            )
    chance = declaration.chance
    if chance is not None and not math.isfinite(chance):
        raise input_error("--chance", "not finite", "--chance 10", got=chance)
    if chance is not None and factor == 100:
        sentences.append(f"Chance is taken as {chance:g} %; --chance is in percent.")
    measure = Measure(name=name, unit=unit, higher_is_better=higher, chance=chance)
    return measure, factor, sentences


def _words(name: str) -> list[str]:
    """Return the words of a column's name: valTop1_err gives val, top1 and err."""
    words: list[str] = []
    for token in re.findall(r"[a-zA-Z0-9]+|%", name):
        known = token.lower() in _HIGHER_IS_BETTER | _LOWER_IS_BETTER
        spaced = token if known else re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[a-zA-Z])", " ", token)
        words += spaced.lower().split()
    return [_bare_word(word) for word in words]


def _bare_word(word: str) -> str:
    """Return a known word without what it is joined to: `loss` for valloss, `err` for testerr."""
    known = _HIGHER_IS_BETTER | _LOWER_IS_BETTER
    if word in known:
        return word
    prefix = _PREFIX.match(word)
    if prefix and word[prefix.end() :] in known:
        return word[prefix.end() :]
    return next((end for end in _JOINED_ENDS if word.endswith(end)), word)


def _is_higher_better(name: str) -> bool:
    """Return True if higher values of a quantity are better, by the last word that says so.

    Only whole words count: wer is an error, and answer_accuracy is an accuracy. Where nothing tells
    it, higher is better.
    """
    last = ""
    for word in _words(name):
        if last and word in _CONDITION_WORDS:
            break
        last = word if word in _HIGHER_IS_BETTER | _LOWER_IS_BETTER else last
    return last not in _LOWER_IS_BETTER


def _is_percent_like(name: str) -> bool:
    """Return True if values of that name are usually percentages or fractions."""
    return not _PERCENT.isdisjoint(_words(name))


def _has_percent_sign(table: RawTable, columns: Columns) -> bool:
    names = columns.wide or (columns.value,)
    return any(cell_text(row.cells.get(n)).endswith("%") for n in names for row in table.rows)


def _detect_unit(
    table: RawTable, name: str, values: Sequence[float], higher: bool
) -> tuple[Unit, float, str]:
    declares = "; --unit declares another unit"
    low, high = min(values, default=0.0), max(values, default=0.0)
    if not _is_percent_like(name) or low < 0 or high > 100:
        text = f"The values, from {low:g} to {high:g}, are taken as plain numbers{declares}."
        return "", 1.0, text
    if high <= 1:
        text = f"The values, from {low:g} to {high:g}, are taken as fractions and shown in percent"
        return "%", 100.0, f"{text}{declares}."
    if higher and any(0 < value <= 1 for value in values):
        raise input_error(
            table.where,
            "some values are at most 1 and others are above: fractions and percentages",
            "write all of them in one unit, or declare it: --unit percent",
            got=f"{low:g} to {high:g}",
        )
    text = f"The values, from {low:g} to {high:g}, are taken as percentages{declares}."
    return "%", 1.0, text


def rescale(value: float | None, factor: float) -> float | None:
    """Return a value times the factor of its unit, without digits that only floats have."""
    if value is None or factor == 1:
        return value
    return round(value * factor, 12)
