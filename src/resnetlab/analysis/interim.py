"""Seeds added until the claims are decided, at looks that are declared beforehand. Free of torch.

A look spends its share of the error, so that looking again costs nothing but runs (`resnetlab.stats.sequential`).
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
"""Seeds a condition at each look, and the share of the error that it may spend."""


def with_looks(study: Study, most: int) -> Study:
    """The study with looks at up to `most` seeds a condition, and the seeds that they need: its own, then new ones.

    A claim that a network fails is judged once, at five seeds; a study with one begins there. Raises InputError when
    the study has no claim to decide, or `most` leaves no look.
    """
    first = 5 if any(isinstance(claim, FailsAndTrains) for claim in study.claims) else min(WEIGHTS)
    looks = tuple(n for n in WEIGHTS if first <= n <= most)
    if not study.claims:
        raise mistake(study.name, "no claim to decide", "add a [[claim]], or leave out --until-decided", field="claim")
    if not looks:
        allowed = ", ".join(str(n) for n in WEIGHTS if n >= first)
        raise mistake(
            "--max-seeds", "no look at so few seeds", f"--max-seeds {max(WEIGHTS)}", got=most, allowed=allowed
        )
    seeds, new = list(study.seeds), 0
    while len(seeds) < looks[-1]:
        seeds += [new] if new not in seeds else []
        new += 1
    said = f"seeds added at looks of {', '.join(map(str, looks))}"
    return replace(study, looks=looks, seeds=tuple(seeds[: looks[-1]]), overrides=(*study.overrides, said))


def next_counts(study: Study, counts: Mapping[str, int], verdicts: Iterable[Verdict]) -> dict[str, int] | None:
    """Seeds a condition after a look: more for the arms of undecided claims alone; None when all is decided."""
    grown = dict(counts)
    for claim, verdict in zip(study.claims, verdicts, strict=True):
        if verdict.word not in ("inconclusive", "waiting"):
            continue
        now = min(counts[label] for label in labels(claim))
        following = [n for n in study.looks if n > now]
        for label in labels(claim) if following and not isinstance(claim, FailsAndTrains) else ():
            grown[label] = max(grown[label], following[0])
    return grown if grown != dict(counts) else None


def judged(study: Study, runs: Mapping[str, Runs], finished: bool) -> tuple[tuple[Question, ...], tuple[Verdict, ...]]:
    """The claims' questions, at the last look of each, and their verdicts over all looks so far."""
    questions = [question(claim, runs) for claim in study.claims]
    if not study.looks or not finished:
        return tuple(questions), tuple(judge(questions, finished=finished))
    history = []
    for claim in study.claims:
        held = min(len(runs[label].runs) for label in labels(claim))
        sizes = [n for n in study.looks if n <= held]
        sizes = sizes[:1] if isinstance(claim, FailsAndTrains) else sizes
        history.append([question(claim, {name: _first(study, one, n) for name, one in runs.items()}) for n in sizes])
    looks = Looks(study.looks, tuple(WEIGHTS[n] for n in study.looks))
    return tuple(held[-1] for held in history), tuple(judge_looks(history, looks))


def _first(study: Study, runs: Runs, n: int) -> Runs:
    """A condition as it stood at a look of `n` seeds."""
    seeds = set(study.seeds[:n])
    return replace(runs, runs=tuple(run for run in runs.runs if run.seed in seeds))
