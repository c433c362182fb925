"""Sentences about ensembles of runs, and about the rule that keeps the first trained run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resnetlab.analysis.first_converged import OrderingGroup, first_converged, ordering_groups
from resnetlab.reports.format import decimals
from resnetlab.reports.study.source_questions.claims import Finding
from resnetlab.reports.study.source_questions.observations import too_few
from resnetlab.reports.study.source_questions.writer import AnswerWriter
from resnetlab.stats.intervals import Interval, mean, t_interval

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis

MAX_GROUPS = 3
"""Largest number of groups of networks in the answer; the report's table has all of them."""


def ensemble_findings(writer: AnswerWriter, analysis: StudyAnalysis) -> Iterator[Finding]:
    """Yield a finding for the ensembles over several conditions, and for those of each one."""
    rows = analysis.study_data.ensembles
    if not rows:
        text = writer.say(
            "There are too few trained runs for an ensemble.",
            "Il y a trop peu d'essais entraînés pour un ensemble.",
        )
        yield Finding("inconclusive", text, tuple(analysis.summaries))
    for condition in dict.fromkeys(row.condition for row in rows):
        same = [row for row in rows if row.condition == condition]
        gains = [row.gain for row in same]
        interval = (
            t_interval(gains) if len(same) > 1 else Interval(same[0].gain_low, same[0].gain_high)
        )
        digits = decimals(interval)
        name = condition or "one run of each condition"
        size = writer.number(f"gain of {name}", mean(gains), digits, signed=True)
        ends = writer.interval(f"gain of {name}", interval, digits)
        accuracy_pct = writer.number(
            f"accuracy of the ensemble of {name}", mean([row.accuracy_pct for row in same]), digits
        )
        members = (
            writer.say(
                f"All seeds of {writer.label(condition)}",
                f"Toutes les graines de {writer.label(condition)}",
            )
            if condition
            else writer.say("One run of each condition", "Un essai de chaque condition")
        )
        text = writer.say(
            f"{members} together reach {accuracy_pct} %, {size} points{ends} above the mean of "
            "the members.",
            f"{members}, ensemble : {accuracy_pct} %, soit {size} "
            f"{writer.points_fr(mean(gains))}{ends} par rapport à la moyenne des membres.",
        )
        yield Finding("measured", text, (condition,) if condition else ())


def first_converged_finding(writer: AnswerWriter, analysis: StudyAnalysis) -> Finding:
    """Say how often the rule of the first trained run gives another ordering than the means, in
    the groups where it does so most often, and its largest bias.
    """
    conditions = first_converged(analysis)
    labels = tuple(condition.label for condition in conditions)
    groups = [group for group in ordering_groups(conditions) if group.orderings]
    groups.sort(key=lambda group: _agreeing_tables(group) / group.tables)
    parts = []
    if len(groups) > MAX_GROUPS:
        listed = writer.count("groups in the answer", MAX_GROUPS)
        of_all = writer.count("groups of networks", len(groups))
        parts.append(
            writer.say(
                f"Of {of_all} groups of networks, these {listed} agree least with the means.",
                f"Sur {of_all} groupes de réseaux, voici les {listed} qui s'accordent le moins "
                "avec les moyennes.",
            )
        )
    for group in groups[:MAX_GROUPS]:
        total = writer.count("tables", group.tables)
        agreeing = writer.count("tables with the ordering of the means", _agreeing_tables(group))
        parts.append(
            writer.say(
                f"For {writer.labels(group.labels)} the rule could have given {total} tables, of "
                f"which {agreeing} have the ordering of the means of all runs.",
                f"Pour {writer.labels(group.labels)}, la règle aurait pu donner {total} tableaux, "
                f"dont {agreeing} ont l'ordre des moyennes de tous les essais.",
            )
        )
    biased = max(conditions, key=lambda item: abs(item.bias or 0.0), default=None)
    if biased is not None and biased.bias:
        bias = writer.number(f"bias of {biased.label}", biased.bias, 1, signed=True)
        parts.append(
            writer.say(
                f"Its largest bias is {bias} points, for {writer.label(biased.label)}: expected "
                "test accuracy of the rule minus the mean of all runs.",
                f"Son plus grand biais est de {bias} {writer.points_fr(biased.bias)}, pour "
                f"{writer.label(biased.label)} : précision de test attendue de la règle moins "
                "moyenne de tous les essais.",
            )
        )
    if not parts:
        return Finding("inconclusive", too_few(writer, *labels[:1]), labels)
    return Finding("measured", " ".join(parts), labels)


def _agreeing_tables(group: OrderingGroup) -> int:
    """Return the number of tables with the ordering of the means of all runs."""
    return sum(
        ordering.tables for ordering in group.orderings if ordering.text == group.mean_ordering
    )
