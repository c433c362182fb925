"""Interim looks, declared beforehand: seeds are added until the claims are decided.

Each look spends its share of the error, so the error over all looks stays within 5 %
(`resnetlab.stats.sequential`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from resnetlab.analysis.hypotheses import ConditionRuns, to_hypothesis
from resnetlab.errors import input_error
from resnetlab.stats.hypothesis_types import Hypothesis
from resnetlab.stats.sequential import Looks
from resnetlab.stats.verdict import compute_sequential_verdicts, compute_verdicts
from resnetlab.stats.verdict_types import Verdict
from resnetlab.studies.claims import FailsAndTrains, condition_labels
from resnetlab.studies.study import Override, Study

ALPHA_SPENDING = {3: 0.2, 5: 0.3, 10: 0.5}
"""Share of the error that each look may spend, by the seeds per condition at that look."""


def with_looks(study: Study, max_seeds: int) -> Study:
    """Return the study with looks at up to `max_seeds` seeds per condition, and with their seeds.

    The study's own seeds come first, then new ones. A claim that a network fails is tested once, at
    five seeds, so a study with such a claim has its first look there. Raises InputError if the
    study has no claim or if no look has so few seeds.
    """
    fails = any(isinstance(claim, FailsAndTrains) for claim in study.claims)
    first = 5 if fails else min(ALPHA_SPENDING)
    looks = tuple(n for n in ALPHA_SPENDING if first <= n <= max_seeds)
    if not study.claims:
        raise input_error(
            study.name,
            "no claim to decide",
            "add a [[claim]], or leave out --until-decided",
            field="claim",
        )
    if not looks:
        allowed = ", ".join(str(n) for n in ALPHA_SPENDING if n >= first)
        raise input_error(
            "--max-seeds",
            "no look at so few seeds",
            f"--max-seeds {max(ALPHA_SPENDING)}",
            got=max_seeds,
            allowed=allowed,
        )
    seeds = list(study.seeds)
    new = 0
    while len(seeds) < looks[-1]:
        if new not in seeds:
            seeds.append(new)
        new += 1
    return replace(
        study,
        looks=looks,
        seeds=tuple(seeds[: looks[-1]]),
        overrides=(*study.overrides, Override("looks", ", ".join(map(str, looks)))),
    )


def next_seed_counts(
    study: Study, seed_counts: Mapping[str, int], verdicts: Iterable[Verdict]
) -> dict[str, int] | None:
    """Return the seeds per condition after a look, or None if all claims are decided.

    Only the conditions of undecided claims get more seeds.
    """
    updated = dict(seed_counts)
    for claim, verdict in zip(study.claims, verdicts, strict=True):
        if verdict.label not in ("inconclusive", "waiting"):
            continue
        now = min(seed_counts[label] for label in condition_labels(claim))
        following = [n for n in study.looks if n > now]
        for label in (
            condition_labels(claim) if following and not isinstance(claim, FailsAndTrains) else ()
        ):
            updated[label] = max(updated[label], following[0])
    return updated if updated != dict(seed_counts) else None


def claim_verdicts(
    study: Study, runs: Mapping[str, ConditionRuns], finished: bool
) -> tuple[tuple[Hypothesis, ...], tuple[Verdict, ...]]:
    """Return each claim's hypothesis at its last look, and the verdicts over all looks so far."""
    hypotheses = [to_hypothesis(claim, runs) for claim in study.claims]
    if not study.looks or not finished:
        return tuple(hypotheses), tuple(compute_verdicts(hypotheses, finished=finished))
    history = []
    for claim in study.claims:
        available = min(len(runs[label].runs) for label in condition_labels(claim))
        sizes = [n for n in study.looks if n <= available]
        sizes = sizes[:1] if isinstance(claim, FailsAndTrains) else sizes
        history.append(
            [
                to_hypothesis(
                    claim, {name: _first_seeds(study, arm, n) for name, arm in runs.items()}
                )
                for n in sizes
            ]
        )
    looks = Looks(study.looks, tuple(ALPHA_SPENDING[n] for n in study.looks))
    return tuple(past[-1] for past in history), tuple(compute_sequential_verdicts(history, looks))


def _first_seeds(study: Study, runs: ConditionRuns, n: int) -> ConditionRuns:
    """Return the runs of a condition with its first `n` seeds."""
    seeds = set(study.seeds[:n])
    return replace(runs, runs=tuple(run for run in runs.runs if run.seed in seeds))
