"""Interim looks: seeds are added until the claims are decided, at looks declared beforehand. Free
of torch.

Each look spends its share of the error, so the error over all looks stays within 5 %
(`resnetlab.stats.sequential`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from resnetlab.analysis.hypotheses import Runs, question
from resnetlab.errors import mistake
from resnetlab.stats.sequential import Looks
from resnetlab.stats.verdict import Question, Verdict, judge, judge_looks
from resnetlab.studies.claims import FailsAndTrains, labels
from resnetlab.studies.study import Study

WEIGHTS = {3: 0.2, 5: 0.3, 10: 0.5}
"""Share of the error that each look may spend, by the seeds a condition at that look."""


def with_looks(study: Study, most: int) -> Study:
    """Return the study with looks at up to `most` seeds a condition and with the seeds that the
    looks need.

    The study's own seeds come first, then new ones. A claim that a network fails is tested once, at
    five seeds, so a study with such a claim has its first look there. Raises InputError if the
    study has no claim or if no look has so few seeds.
    """
    first = 5 if any(isinstance(claim, FailsAndTrains) for claim in study.claims) else min(WEIGHTS)
    looks = tuple(n for n in WEIGHTS if first <= n <= most)
    if not study.claims:
        raise mistake(
            study.name,
            "no claim to decide",
            "add a [[claim]], or leave out --until-decided",
            field="claim",
        )
    if not looks:
        allowed = ", ".join(str(n) for n in WEIGHTS if n >= first)
        raise mistake(
            "--max-seeds",
            "no look at so few seeds",
            f"--max-seeds {max(WEIGHTS)}",
            got=most,
            allowed=allowed,
        )
    seeds, new = list(study.seeds), 0
    while len(seeds) < looks[-1]:
        seeds += [new] if new not in seeds else []
        new += 1
    description = f"seeds added at looks of {', '.join(map(str, looks))}"
    return replace(
        study,
        looks=looks,
        seeds=tuple(seeds[: looks[-1]]),
        overrides=(*study.overrides, description),
    )


def next_counts(
    study: Study, counts: Mapping[str, int], verdicts: Iterable[Verdict]
) -> dict[str, int] | None:
    """Return the seeds a condition after a look, or None if all claims are decided.

    Only the conditions of undecided claims get more seeds.
    """
    updated = dict(counts)
    for claim, verdict in zip(study.claims, verdicts, strict=True):
        if verdict.word not in ("inconclusive", "waiting"):
            continue
        now = min(counts[label] for label in labels(claim))
        following = [n for n in study.looks if n > now]
        for label in labels(claim) if following and not isinstance(claim, FailsAndTrains) else ():
            updated[label] = max(updated[label], following[0])
    return updated if updated != dict(counts) else None


def judged(
    study: Study, runs: Mapping[str, Runs], finished: bool
) -> tuple[tuple[Question, ...], tuple[Verdict, ...]]:
    """Return each claim's question at its last look, and the verdicts over all looks so far."""
    questions = [question(claim, runs) for claim in study.claims]
    if not study.looks or not finished:
        return tuple(questions), tuple(judge(questions, finished=finished))
    history = []
    for claim in study.claims:
        available = min(len(runs[label].runs) for label in labels(claim))
        sizes = [n for n in study.looks if n <= available]
        sizes = sizes[:1] if isinstance(claim, FailsAndTrains) else sizes
        history.append(
            [
                question(claim, {name: _first(study, arm, n) for name, arm in runs.items()})
                for n in sizes
            ]
        )
    looks = Looks(study.looks, tuple(WEIGHTS[n] for n in study.looks))
    return tuple(past[-1] for past in history), tuple(judge_looks(history, looks))


def _first(study: Study, runs: Runs, n: int) -> Runs:
    """Return the runs of a condition with its first `n` seeds."""
    seeds = set(study.seeds[:n])
    return replace(runs, runs=tuple(run for run in runs.runs if run.seed in seeds))
