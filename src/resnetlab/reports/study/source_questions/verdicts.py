"""Sentences about the verdict on a claim, chosen by the verdict alone."""

from __future__ import annotations

from typing import assert_never

from resnetlab.reports.study.source_questions.writer import AnswerWriter
from resnetlab.stats.power import MAX_SEEDS
from resnetlab.stats.verdict_types import ReasonKind, Verdict
from resnetlab.studies import claims
from resnetlab.studies.claims import AnyClaim


def conclusion(writer: AnswerWriter, claim: AnyClaim, verdict: Verdict) -> str:
    """Say what the verdict means, in a sentence that is chosen by the verdict alone."""
    if verdict.label in ("inconclusive", "untestable", "waiting"):
        return _undecided(writer, claim, verdict)
    if isinstance(claim, claims.About | claims.Relative):
        return _size_sentence(writer, claim, verdict)
    supported = verdict.label == "reproduced"
    english, french = _reason(writer, claim, supported)
    if isinstance(claim, claims.Equivalent):
        return writer.say(english, french)
    return writer.say(
        f"The runs {'support' if supported else 'speak against'} the claim: {english}",
        f"Les essais {'appuient' if supported else 'vont contre'} l'affirmation : {french}",
    )


_ClaimWithoutSize = (
    claims.Equivalent
    | claims.FailsAndTrains
    | claims.Monotone
    | claims.Every
    | claims.Average
    | claims.Faster
    | claims.Best
    | claims.Better
)


def _reason(writer: AnswerWriter, claim: _ClaimWithoutSize, supported: bool) -> tuple[str, str]:
    """Return the result that supports or contradicts a claim, in English and in French."""
    match claim:
        case claims.Equivalent():
            return _equivalence(writer, claim, supported)
        case claims.FailsAndTrains():
            left, right = writer.label(claim.left), writer.label(claim.right)
            if supported:
                return f"{left} fails and {right} trains.", f"{left} échoue et {right} apprend."
            return (
                f"{left} does not fail in most of its runs.",
                f"{left} n'échoue pas dans la plupart de ses essais.",
            )
        case claims.Monotone():
            if supported:
                return (
                    "every step goes in the claimed direction.",
                    "chaque pas va dans le sens annoncé.",
                )
            return "a step goes in the other direction.", "un pas va dans l'autre sens."
        case claims.Every():
            if supported:
                return (
                    "the first one is better in every pair.",
                    "le premier est meilleur dans chaque paire.",
                )
            return (
                "in a pair the first one is worse.",
                "le premier est moins bon dans une paire.",
            )
        case claims.Average():
            return (
                f"the first ones are {'better' if supported else 'worse'}, on average.",
                f"les premiers sont {'meilleurs' if supported else 'moins bons'} en moyenne.",
            )
        case claims.Faster():
            name = writer.label(claim.left if supported else claim.right)
            return f"{name} is the faster one.", f"{name} est le plus rapide."
        case claims.Best() if not supported:
            left = writer.label(claim.left)
            return f"a rival is better than {left}.", f"un rival dépasse {left}."
        case claims.Best() | claims.Better():
            right = claim.left if isinstance(claim, claims.Best) else claim.right
            name = writer.label(claim.left if supported else right)
            if claim.metric != "top1":
                return f"{name} has the lower {claim.metric}.", f"{name} a la valeur la plus basse."
            return f"{name} is the more accurate one.", f"{name} est le plus précis."


def _equivalence(
    writer: AnswerWriter, claim: claims.Equivalent, supported: bool
) -> tuple[str, str]:
    english, french = _margin(writer, claim)
    if supported:
        return (
            f"The two are equivalent: they differ by less than {english}.",
            f"Les deux sont équivalents : ils diffèrent de moins de {french}.",
        )
    return (
        f"The two are not equivalent: they differ by more than {english}.",
        f"Les deux ne sont pas équivalents : ils diffèrent de plus de {french}.",
    )


def _margin(writer: AnswerWriter, claim: claims.Equivalent) -> tuple[str, str]:
    """Return the margin with its unit in English and in French."""
    margin = writer.count("margin", claim.margin)
    unit = "nat" if claim.metric == "loss" else "point"
    english = unit if claim.margin == 1 else f"{unit}s"
    return f"{margin} {english}", f"{margin} {writer.points_fr(claim.margin, unit)}"


def _size_sentence(
    writer: AnswerWriter, claim: claims.About | claims.Relative, verdict: Verdict
) -> str:
    claimed = _claimed_size(writer, claim)
    if verdict.label == "reproduced":
        return writer.say(
            f"The runs support the claimed size of {claimed}.",
            f"Les essais appuient la taille annoncée de {claimed}.",
        )
    if verdict.label == "partly reproduced":
        return writer.say(
            f"The runs support the direction, but not the claimed size of {claimed}.",
            f"Les essais appuient le sens, mais pas la taille annoncée de {claimed}.",
        )
    return writer.say(
        f"The runs speak against the claimed size of {claimed}.",
        f"Les essais vont contre la taille annoncée de {claimed}.",
    )


def _claimed_size(writer: AnswerWriter, claim: claims.About | claims.Relative) -> str:
    size = writer.count("claimed size", claim.size)
    margin = writer.count("margin", claim.effective_margin)
    unit = "%" if isinstance(claim, claims.Relative) else "points"
    if isinstance(claim, claims.About) and claim.metric == "loss":
        unit = "nats"
    return f"{size} ± {margin} {unit}"


REASON_WORDS = {
    ReasonKind.OUT_OF_MEMORY: (
        "a condition does not fit into memory",
        "une condition ne tient pas en mémoire",
    ),
    ReasonKind.MANY_INCOMPLETE: ("runs are missing", "des essais manquent"),
    ReasonKind.TOO_FEW_TRAINED: (
        "too few runs trained",
        "trop peu d'essais sont entraînés",
    ),
    ReasonKind.MISSING_RUNS: (
        "the missing runs could change the verdict",
        "les essais manquants pourraient changer le verdict",
    ),
    ReasonKind.MEANS_DISAGREE: (
        "the trained runs and the mean over all runs disagree",
        "les essais entraînés et la moyenne de tous les essais se contredisent",
    ),
    ReasonKind.BOTH_FAIL: (
        "both conditions fail in most of their runs",
        "les deux conditions échouent dans la plupart de leurs essais",
    ),
    ReasonKind.NEVER_REACHED: (
        "no run reached the accuracy",
        "aucun essai n'a atteint cette précision",
    ),
    ReasonKind.RELATIVE_TO_ZERO: (
        "a mean of the right side is 0, of which nothing is a percentage",
        "une moyenne du côté droit est 0, dont rien n'est un pourcentage",
    ),
    ReasonKind.ON_THE_EDGE: (
        "the difference lies on the edge of the claim",
        "l'écart est à la limite de l'affirmation",
    ),
    ReasonKind.UNFINISHED: ("the study is not finished", "l'étude n'est pas terminée"),
}
"""Reasons of verdicts in both languages, by their kind."""


def _undecided(writer: AnswerWriter, claim: AnyClaim, verdict: Verdict) -> str:
    why = ""
    if verdict.reason is not None:
        english, french = REASON_WORDS[verdict.reason.kind]
        why = writer.say(f", as {english}", f", car {french}")
    english, french = _open_question(writer, claim)
    if verdict.direction is not None and verdict.direction.label == "reproduced":
        sentence = writer.say(
            f"The runs support the direction, and do not decide {english}{why}.",
            f"Les essais appuient le sens, mais ne permettent pas de décider {french}{why}.",
        )
    else:
        sentence = writer.say(
            f"These runs do not decide {english}{why}.",
            f"Ces essais ne permettent pas de décider {french}{why}.",
        )
    needed = "" if why else _seeds_needed(writer, verdict)
    return f"{sentence} {needed}" if needed else sentence


def _seeds_needed(writer: AnswerWriter, verdict: Verdict) -> str:
    """Say how many seeds would decide the claim; return empty text without a forecast."""
    forecast = verdict.forecast
    if forecast is None:
        return ""
    if forecast.estimate is None:
        limit = writer.count("seeds of the longest forecast", MAX_SEEDS)
        return writer.say(
            f"If the observed difference is the true one, more than {limit} seeds per condition "
            "are needed to decide it.",
            f"Si la différence observée est la vraie, il faut plus de {limit} graines par "
            "condition pour trancher.",
        )
    seeds = writer.count("seeds to decide", forecast.estimate)
    return writer.say(
        f"If the observed difference is the true one, about {seeds} seeds per condition decide it "
        "in four of five studies.",
        f"Si la différence observée est la vraie, environ {seeds} graines par condition "
        "permettent de trancher dans quatre études sur cinq.",
    )


def _open_question(writer: AnswerWriter, claim: AnyClaim) -> tuple[str, str]:
    """Return the open question of a claim that is undecided, in English and in French."""
    match claim:
        case claims.Equivalent():
            margin_en, margin_fr = _margin(writer, claim)
            return (
                f"whether the two differ by less than {margin_en}",
                f"si les deux diffèrent de moins de {margin_fr}",
            )
        case claims.About() | claims.Relative():
            claimed = _claimed_size(writer, claim)
            return f"whether the size is {claimed}", f"si la taille est de {claimed}"
        case claims.FailsAndTrains():
            left, right = writer.label(claim.left), writer.label(claim.right)
            return (
                f"whether {left} fails and {right} trains",
                f"si {left} échoue et si {right} apprend",
            )
        case claims.Average():
            return "which of the two sides is better", "lequel des deux côtés est le meilleur"
        case claims.Every():
            return (
                "whether the first one is better in every pair",
                "si le premier est meilleur dans chaque paire",
            )
        case claims.Monotone():
            return "whether every step has that direction", "si chaque pas va dans ce sens"
        case claims.Best():
            left = writer.label(claim.left)
            return f"whether {left} is the best", f"si {left} est le meilleur"
        case claims.Faster():
            return "which of the two is faster", "lequel des deux est le plus rapide"
        case claims.Better():
            if claim.metric == "top1":
                return (
                    "which of the two is more accurate",
                    "lequel des deux est le plus précis",
                )
            return (
                f"which of the two has the lower {claim.metric}",
                "lequel des deux a la valeur la plus basse",
            )
        case _:
            assert_never(claim)
