"""Sentences about what runs show beside the claims: overfitting, stability, first loss, costs and
the grid of two axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from resnetlab.analysis import run_statistics
from resnetlab.analysis.grid import ConditionGrid, find_grid
from resnetlab.reports.format import decimals
from resnetlab.reports.study.axis_names import axis_names
from resnetlab.reports.study.source_questions.claims import Finding, accuracy_text, no_trained_run
from resnetlab.reports.study.source_questions.writer import AnswerWriter
from resnetlab.stats.contrasts import welch
from resnetlab.stats.intervals import Interval, mean, t_interval

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

ObservationWriter = Callable[[AnswerWriter, "StudyAnalysis", str], tuple[str, str]]
"""Function that returns the status and the sentences about a condition."""


def accuracy(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> tuple[str, str]:
    """Say what a condition reached on the test images."""
    reached = accuracy_text(writer, analysis, label)
    if not reached:
        return "measured", f"{no_trained_run(writer, analysis, label)}."
    return "measured", writer.say(
        f"{writer.label(label)} reached a test accuracy of {reached}.",
        f"{writer.label(label)} atteint une précision sur les images de test de {reached}.",
    )


def overfitting(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> tuple[str, str]:
    """Say how far the train accuracy of a condition is above its test accuracy, and what the
    interval shows.
    """
    gaps = run_statistics.overfitting_gaps(analysis, label)
    interval = t_interval(gaps)
    if interval is None:
        return "inconclusive", too_few(writer, label)
    digits = decimals(interval)
    gap = writer.number(f"gap of {label}", mean(gaps), digits, signed=True)
    ends = writer.interval(f"gap of {label}", interval, digits)
    if interval.low > 0:
        conclusion = writer.say(
            "The train accuracy is above the test accuracy, so the network overfits.",
            "La précision d'entraînement dépasse celle de test : il y a sur-apprentissage.",
        )
    else:
        conclusion = writer.say(
            "So these runs show no overfitting.",
            "Ces essais ne montrent donc pas de sur-apprentissage.",
        )
    text = writer.say(
        f"The accuracy of {writer.label(label)} on the train images minus that on the test images "
        f"is {gap} points{ends}.",
        f"La précision de {writer.label(label)} sur les images d'entraînement moins celle sur les "
        f"images de test est de {gap} {writer.points_fr(mean(gaps))}{ends}.",
    )
    status = "overfits" if interval.low > 0 else "no overfitting shown"
    return status, f"{text} {conclusion}"


def stability(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> tuple[str, str]:
    """Say how much the accuracy of a condition varies over its last epochs."""
    spreads = run_statistics.spreads_of_last_epochs(analysis, label)
    interval = t_interval(spreads)
    if interval is None:
        return "inconclusive", too_few(writer, label)
    epochs = writer.count("last epochs", run_statistics.num_last_epochs(analysis))
    spread = writer.number(f"spread of {label}", mean(spreads), 2)
    ends = writer.interval(f"spread of {label}", Interval(max(0.0, interval.low), interval.high), 2)
    counts = analysis.summaries[label].counts
    failed = writer.count(f"failed runs of {label}", counts.diverged + counts.at_chance)
    finished = writer.count(f"finished runs of {label}", counts.ended)
    return "measured", writer.say(
        f"Over its last {epochs} epochs the accuracy of {writer.label(label)} has a standard "
        f"deviation of {spread} points{ends}, mean of its trained runs; failed runs: {failed} of "
        f"{finished}.",
        f"Sur ses {epochs} dernières époques, la précision de {writer.label(label)} a un "
        f"écart-type de {spread} {writer.points_fr(mean(spreads))}{ends}, en moyenne sur les "
        f"essais entraînés ; essais échoués : {failed} sur {finished}.",
    )


def first_loss(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> tuple[str, str]:
    """Say the loss before the first step beside ln K."""
    losses = run_statistics.first_losses(analysis, label)
    classes = len(analysis.data(label).classes)
    if not losses.nats:
        return "inconclusive", too_few(writer, label)
    loss = writer.number(f"first loss of {label}", mean(losses.nats), 3)
    uniform = writer.number("loss of a uniform guess", run_statistics.uniform_loss(classes), 3)
    number = writer.count("classes", classes)
    return "measured", writer.say(
        f"Before the first step, in {losses.mode} mode, the loss of {writer.label(label)} is "
        f"{loss} nats, the mean of its runs; ln {number} = {uniform}.",
        "Avant le premier pas, en mode "
        f"{'entraînement' if losses.mode == 'training' else 'évaluation'}, la perte de "
        f"{writer.label(label)} est de {loss} nats, en moyenne sur ses essais ; ln {number} = "
        f"{uniform}.",
    )


def parameters(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> tuple[str, str]:
    """Say how many parameters a condition has, and how many for each train image."""
    rows = analysis.rows(label)
    number = rows[0].parameters if rows else None
    if number is None:
        return "inconclusive", too_few(writer, label)
    images = analysis.data(label).train_images
    count = writer.count(f"parameters of {label}", number)
    share = writer.number(f"parameters of {label} per train image", number / images)
    return "measured", writer.say(
        f"{writer.label(label)} has {count} parameters, {share} for each train image.",
        f"{writer.label(label)} a {count} paramètres, soit {share} par image d'entraînement.",
    )


def training_time(writer: AnswerWriter, analysis: StudyAnalysis, label: str) -> tuple[str, str]:
    """Say how long a run of a condition trains on the machine of the report."""
    seconds = [row.train_seconds for row in analysis.rows(label) if row.train_seconds > 0]
    if not seconds:
        return "inconclusive", too_few(writer, label)
    minutes = writer.number(f"minutes of {label}", mean(seconds) / 60)
    return "measured", writer.say(
        f"A run of {writer.label(label)} trains for {minutes} minutes on the machine of this "
        "report, on average.",
        f"Un essai de {writer.label(label)} s'entraîne en {minutes} minutes sur la machine de ce "
        "rapport, en moyenne.",
    )


OBSERVATIONS: dict[str, ObservationWriter] = {
    "accuracy": accuracy,
    "overfitting": overfitting,
    "stability": stability,
    "first loss": first_loss,
    "parameters": parameters,
    "time": training_time,
}
"""Measures of single conditions, by the kind of evidence."""


def measure_comparison(
    writer: AnswerWriter, analysis: StudyAnalysis, kind: str, label: str, against: str
) -> Finding:
    """Compare the overfitting or the stability of two conditions, run by run, by Welch's t."""
    of_runs = {
        "overfitting": run_statistics.overfitting_gaps,
        "stability": run_statistics.spreads_of_last_epochs,
    }[kind]
    values = [of_runs(analysis, name) for name in (label, against)]
    if min(map(len, values)) < 2:
        return Finding("inconclusive", too_few(writer, label, against), (label, against))
    effect = welch(*values)
    interval = effect.interval()
    digits = 2 if kind == "stability" else decimals(interval)
    size = writer.number("difference", effect.estimate, digits, signed=True)
    ends = writer.interval("difference", interval, digits)
    better = writer.label(label if interval.high < 0 else against)
    if interval.low <= 0 <= interval.high:
        conclusion = writer.say(
            "The interval contains zero: these runs do not show a difference.",
            "L'intervalle contient zéro : ces essais ne montrent pas de différence.",
        )
    elif kind == "stability":
        conclusion = writer.say(
            f"In these runs {better} is the more stable one.",
            f"Dans ces essais, {better} est le plus stable.",
        )
    else:
        conclusion = writer.say(
            f"In these runs {better} has the smaller gap between train and test images.",
            f"Dans ces essais, {better} a le plus petit écart entre images d'entraînement et de "
            "test.",
        )
    stable = kind == "stability"
    text = writer.say(
        f"The {'standard deviation' if stable else 'gap'} of {writer.label(label)} minus that of "
        f"{writer.label(against)} is {size} points{ends}.",
        f"L'{'écart-type' if stable else 'écart'} de {writer.label(label)} moins celui de "
        f"{writer.label(against)} est de {size} {writer.points_fr(effect.estimate)}{ends}.",
    )
    return Finding("exploratory", f"{text} {conclusion}", (label, against))


def grid_finding(writer: AnswerWriter, analysis: StudyAnalysis) -> Finding:
    """Say which condition of the grid is the best and, of two axes, how the best row changes with
    the column.
    """
    labels = tuple(analysis.summaries)
    ranked = sorted(
        (label for label in labels if analysis.summaries[label].mean_pct is not None),
        key=lambda label: -(analysis.summaries[label].mean_pct or 0.0),
    )
    if not ranked:
        none = writer.say(
            "No condition has a trained run.", "Aucune condition n'a d'essai entraîné."
        )
        return Finding("inconclusive", f"{none} {_failed_runs(writer, analysis)}", labels)
    parts = [_best_cell(writer, analysis, ranked)]
    axes = find_grid(analysis)
    if axes is not None:
        parts += _best_rows(writer, analysis, axes)
    parts.append(_failed_runs(writer, analysis))
    return Finding("exploratory", " ".join(parts), labels)


def _best_rows(writer: AnswerWriter, analysis: StudyAnalysis, axes: ConditionGrid) -> list[str]:
    """Say which row is the best in each column, and how it changes with the column."""
    best_rows = axes.best_rows(analysis.summaries)
    names = [writer.say(*axis_names(axis)) for axis in (axes.row_axis, axes.column_axis)]
    cells = []
    for column, (row, summary) in best_rows.items():
        label = axes.labels[row, column]
        reached = accuracy_text(writer, analysis, label)
        axis_values = (
            writer.count(f"{axes.column_axis} {column:g}", column),
            writer.count(f"{axes.row_axis} {row:g}", row),
        )
        cells.append(
            writer.say(
                f"{names[1]} {axis_values[0]}: {names[0]} {axis_values[1]} with {reached}",
                f"{names[1]} {axis_values[0]} : {names[0]} {axis_values[1]} avec {reached}",
            )
        )
        assert summary.mean_pct is not None
    listed = writer.say(
        f"The best {names[0]} for each {names[1]}: {writer.join(cells)}.",
        f"Le meilleur {names[0]} pour chaque valeur de « {names[1]} » : {writer.join(cells)}.",
    )
    return [listed, _diagonal(writer, axes, {c: row for c, (row, _) in best_rows.items()}, names)]


def _failed_runs(writer: AnswerWriter, analysis: StudyAnalysis) -> str:
    counts = analysis.counts
    failed = writer.count("failed runs", counts.at_chance + counts.diverged)
    finished = writer.count("finished runs", counts.ended)
    return writer.say(
        f"Failed runs (at chance or diverged): {failed} of {finished}.",
        f"Essais échoués (au niveau du hasard ou divergents) : {failed} sur {finished}.",
    )


def _best_cell(writer: AnswerWriter, analysis: StudyAnalysis, ranked: list[str]) -> str:
    best = ranked[0]
    reached = accuracy_text(writer, analysis, best)
    text = writer.say(
        f"{writer.label(best)} has the highest mean, {reached}, selected after the runs.",
        f"{writer.label(best)} a la moyenne la plus élevée, {reached}, choisie après les essais.",
    )
    if len(ranked) < 2:
        return text
    arms = [analysis.summaries[label].trained_pct for label in ranked[:2]]
    if min(map(len, arms)) < 2:
        return text
    effect = welch(*arms)
    interval = effect.interval()
    digits = decimals(interval)
    size = writer.number("difference to the second", effect.estimate, digits, signed=True)
    ends = writer.interval("difference to the second", interval, digits)
    separated = interval.low > 0
    return f"{text} " + writer.say(
        f"It is {size} points{ends} above the second, {writer.label(ranked[1])}"
        + ("." if separated else "; the interval contains zero, so the two are not separated."),
        f"Elle est à {size} {writer.points_fr(effect.estimate)}{ends} de la deuxième, "
        + writer.label(ranked[1])
        + ("." if separated else " ; l'intervalle contient zéro, les deux ne sont pas séparés."),
    )


def _diagonal(
    writer: AnswerWriter, axes: ConditionGrid, best: dict[float, float], names: list[str]
) -> str:
    """Say whether the best row rises with the column, falls, stays the same or does none of it."""
    rows = [best[column] for column in axes.columns if column in best]
    steps = [right - left for left, right in itertools.pairwise(rows)]
    if not steps:
        return ""
    start = writer.say(
        f"By these means, the best {names[0]}", f"D'après ces moyennes, le meilleur {names[0]}"
    )
    if all(step == 0 for step in steps):
        end = writer.say(f"is the same for every {names[1]}.", "est toujours le même.")
    elif all(step >= 0 for step in steps):
        ratios = [best[column] / column for column in axes.columns if best.get(column) and column]
        low, high = (
            writer.count(f"{end} ratio", float(f"{ratio:.2g}"))
            for end, ratio in (("lowest", min(ratios)), ("highest", max(ratios)))
        )
        end = writer.say(
            f"rises with {names[1]}: the best cells lie along the diagonal of the grid, where "
            f"{names[0]} divided by {names[1]} is {low} to {high}.",
            f"croît avec « {names[1]} » : les meilleures cases suivent la diagonale de la grille, "
            f"où le quotient des deux va de {low} à {high}.",
        )
    elif all(step <= 0 for step in steps):
        end = writer.say(f"falls as {names[1]} rises.", f"décroît quand « {names[1]} » croît.")
    else:
        end = writer.say(
            f"follows no single direction as {names[1]} rises.",
            f"ne suit pas une seule direction quand « {names[1]} » croît.",
        )
    return f"{start} {end}"


def too_few(writer: AnswerWriter, *labels: str) -> str:
    """Say that there are too few values of some conditions."""
    return writer.say(
        f"There are too few values of {writer.labels(labels)}.",
        f"Il y a trop peu de valeurs de {writer.labels(labels)}.",
    )
