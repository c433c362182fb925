"""Verdicts on claims, with the reason of a verdict that does not follow from a p-value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from resnetlab.stats.contrasts import Effect
from resnetlab.stats.power import ALPHA, SeedForecast
from resnetlab.translation import Message, deferred

VerdictLabel = Literal[
    "reproduced", "partly reproduced", "contradicted", "inconclusive", "untestable", "waiting"
]

_LABELS: dict[VerdictLabel, Message] = {
    "reproduced": Message("reproduced"),
    "partly reproduced": Message("partly reproduced"),
    "contradicted": Message("contradicted"),
    "inconclusive": Message("inconclusive"),
    "untestable": Message("untestable"),
    "waiting": Message("waiting"),
}


class ReasonKind(Enum):
    """Kind of the reason of a verdict that does not follow from a p-value, with its sentence."""

    UNFINISHED = deferred("tested after the last run of the study")
    OUT_OF_MEMORY = deferred("a condition does not fit into this machine's memory")
    MANY_INCOMPLETE = deferred("runs are missing in more than {number} of the conditions")
    TOO_FEW_TRAINED = deferred("too few trained runs for a test of means: {short}")
    MISSING_RUNS = deferred("missing runs could change the verdict")
    ON_THE_EDGE = deferred(
        "the runs of each condition are equal, and the difference is on the edge of the claim"
    )
    MEANS_DISAGREE = deferred(
        "the trained runs and the mean over all runs lead to different verdicts"
    )
    BOTH_FAIL = deferred("both conditions fail in most of their runs")
    NEVER_REACHED = deferred("no run of either condition reached the accuracy")
    RELATIVE_TO_ZERO = deferred("a mean of the right side is 0, of which nothing is a percentage")


@dataclass(frozen=True)
class Reason:
    """Reason of a verdict that does not follow from a p-value; `str` gives it in English."""

    kind: ReasonKind
    values: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Value of each placeholder of its sentence."""

    @property
    def message(self) -> Message:
        """Reason as a sentence."""
        return Message(self.kind.value, self.values)

    def __str__(self) -> str:
        return str(self.message)


@dataclass(frozen=True)
class Verdict:
    """Verdict on a claim; without a test, or if it is deterministic, `p` and `p_holm` are None."""

    label: VerdictLabel
    reason: Reason | None = None
    """Reason of a verdict that does not follow from a p-value."""
    trained_runs_only: bool = False
    """True if an arm has failed or missing runs, so that only its trained runs were compared."""
    effect: Effect | None = None
    """Effect over the trained runs; of several contrasts, the one that supports the claim least.
    """
    test: str = ""
    """Name of the test of p, for a claim about failures, which has two."""
    p: float | None = None
    p_holm: float | None = None
    forecast: SeedForecast | None = None
    direction: Verdict | None = None
    """Verdict on the direction alone, for a claim about a size."""
    look: int = 1
    confidence: float = 1 - ALPHA
    """Confidence level of the interval at this look."""
    p_of_cases: tuple[float, ...] = ()
    """p-values before the correction by case of the missing runs: all as failed comes first, and
    last all as the mean of their arm, for a claim about failures all as trained, and for one about
    speed all at the time of the median run. Empty if no run is missing, or without a test.
    """
    protocol: Message | None = None
    """Protocol to which the verdict is limited, such as `at 4 % of the training`; None for that of
    the study.
    """

    @property
    def is_limited(self) -> bool:
        """True if the verdict is limited to a protocol."""
        return self.protocol is not None and self.label not in ("untestable", "waiting")

    @property
    def is_decided_by_trained_runs(self) -> bool:
        """True if the claim was decided by the trained runs only."""
        decided = self.label in ("reproduced", "partly reproduced", "contradicted")
        return self.trained_runs_only and decided

    @property
    def phrase(self) -> Message:
        """Label with its protocol: `at 4 % of the training: contradicted`."""
        label = _LABELS[self.label]
        if not self.is_limited:
            return label
        return Message("{protocol}: {verdict}", {"protocol": self.protocol, "verdict": label})

    @property
    def qualified_phrase(self) -> Message:
        """Phrase with its restriction, for example `reproduced (trained runs only)`."""
        if not self.is_decided_by_trained_runs:
            return self.phrase
        return Message("{phrase} (trained runs only)", {"phrase": self.phrase})
