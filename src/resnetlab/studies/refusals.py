"""What a plan cannot answer, however its runs end, and what it may not: said before anything is run. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from resnetlab.errors import Problem
from resnetlab.stats.power import MOST_SEEDS, smallest_margin
from resnetlab.studies.claims import About, AnyClaim, Equal, Faster, Greater

if TYPE_CHECKING:
    from resnetlab.studies.spec import Condition


def refusals(claim: AnyClaim, conditions: Sequence[Condition], seeds: int, where: str, field: str) -> list[Problem]:
    """What a plan cannot answer, however its runs end."""
    found = []
    by_label = {condition.label: condition for condition in conditions}
    if isinstance(claim, About | Equal) and claim.expected_sd and not claim.paired:
        reach = _reach(seeds, claim.expected_sd)
        if claim.allowed < reach:
            enough = next((n for n in range(2, MOST_SEEDS + 1) if _reach(n, claim.expected_sd) <= claim.allowed), None)
            more = f"{enough} seeds" if enough else f"more than {MOST_SEEDS} seeds, which is not affordable"
            wider = f"margin = {math.ceil(100 * reach) / 100:g}, or " if math.isfinite(reach) else ""
            what = f"{seeds} seed{'s' * (seeds > 1)} cannot confirm ± {claim.allowed:g} at a standard deviation of "
            found.append(Problem(where, f"{what}{claim.expected_sd:g}", f"{wider}{more}", f"{field}.margin"))
    if (
        isinstance(claim, Greater | About | Equal)
        and claim.paired
        and not shared(by_label[claim.left], by_label[claim.right])
    ):
        what = "runs of left and right share nothing but a seed, which is not a pair"
        found.append(Problem(where, what, "remove it: Welch's test compares them", f"{field}.paired"))
    if isinstance(claim, Faster):
        followed = [by_label[label].data for label in (claim.left, claim.right)]
        if not all(data.test_curve for data in followed) and not all(data.validation for data in followed):
            what = "no split is followed over the epochs in both conditions"
            found.append(Problem(where, what, "data.validation = 0.1, or data.test_curve = true", field))
    return found


def _reach(seeds: int, sd: float) -> float:
    return smallest_margin(seeds, sd) if seeds > 1 else math.inf


def shared(left: Condition, right: Condition) -> bool:
    """Whether runs of one seed share their training whole, and only what is done with it differs."""
    plain = [(c.model, replace(c.data, test_curve=False), replace(c.recipe, choose="last")) for c in (left, right)]
    return plain[0] == plain[1]


def cautions(claims: Iterable[AnyClaim], seeds: int) -> tuple[str, ...]:
    """What a plan should say before anything is run: claims that its seeds may not decide."""
    said = []
    for claim in claims:
        least = {"faster": 4, "fails-and-trains": 3}.get(claim.kind, 2)
        if seeds < least:
            count = "one seed" if seeds == 1 else f"{seeds} seeds"
            said.append(f"{claim.says}: {count} cannot decide it, whatever they give; {least} can")
        elif isinstance(claim, About | Equal) and claim.expected_sd is None:
            said.append(f"{claim.says}: no expected_sd, so nothing says whether {seeds} seeds can confirm its margin")
    return tuple(said)
