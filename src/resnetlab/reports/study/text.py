"""The sentences of a report: the answer, what it does not show, how it was made."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from resnetlab.reports.format import capital, listed, number, pct, places, plural, span
from resnetlab.reports.study import ensembles
from resnetlab.reports.study.finetune import any_tuned
from resnetlab.shell import command_line
from resnetlab.stats.intervals import Summary, mean, t_interval
from resnetlab.stats.verdict import Verdict
from resnetlab.studies.claims import About, AnyClaim, Equal, FailsAndTrains, Greater

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


def banner(judged: StudyAnalysis) -> str:
    """Says that a study is not finished; empty once it is."""
    counts = judged.counts
    if counts.complete:
        return ""
    rest = [f"{counts.running:,} running" if counts.running else "", f"{counts.waiting:,} waiting"]
    return f"Partial report: {counts.finished:,} of {plural(counts.planned, 'run')} finished, " + listed(
        [part for part in rest if part and not part.startswith("0 ")]
    )


def answer(judged: StudyAnalysis) -> str:
    """The study's answer in one sentence."""
    claims, verdicts = judged.study.claims, judged.verdicts
    if not judged.counts.complete:
        done = f"{judged.counts.finished:,} of {plural(judged.counts.planned, 'run')}"
        judged_when = "no claim is judged before the last one" if claims else "the means may still move"
        return f"{done} {'is' if judged.counts.finished == 1 else 'are'} finished: {judged_when}."
    if not claims:
        return _without_claims(judged)
    first = _comparison(judged, claims[0], verdicts[0])
    if len(claims) == 1:
        return f"{capital(first)}."
    words = Counter(verdict.word for verdict in verdicts)
    told = listed([f"{number} {'is' if number == 1 else 'are'} {word}" for word, number in words.items()])
    told = f"Of {len(claims)} claims, {told}" if len(words) > 1 else f"All {len(claims)} claims are {verdicts[0].word}"
    return f"{told}; the first: {first}."


def _comparison(judged: StudyAnalysis, claim: AnyClaim, verdict: Verdict) -> str:
    word = verdict.qualified.replace(" (", ", ").removesuffix(")")
    why = f" ({verdict.why})" if verdict.why else ""
    if not isinstance(claim, Greater | About | Equal | FailsAndTrains):
        return f"{claim.says.strip().rstrip('.')}: {word}{why}"
    if not isinstance(claim, FailsAndTrains) and (claim.metric == "loss" or claim.split == "train"):
        return f"{_elsewhere(judged, claim)}: {word}{why}"
    left, right = judged.summaries[claim.left], judged.summaries[claim.right]
    told = f"{reached(claim.left, left)}, {reached(claim.right, right)}"
    if left.interval_pct and right.interval_pct:
        digits = places(right.interval_pct)
        other = f"{pct(right.mean_pct, digits)} {span(right.interval_pct, digits)}"
        rate = f"({right.counts.converged} of {right.counts.finished})"
        told = f"{reached(claim.left, left)}, against {other} for {claim.right} {rate}"
    return f"{told}: {word}{why}"


def _elsewhere(judged: StudyAnalysis, claim: Greater | About | Equal) -> str:
    """Both sides of a claim about a loss, or about the train images; what it says where one has no converged run."""
    loss = claim.metric == "loss"
    told = []
    for label in (claim.left, claim.right):
        rows = [row for row in judged.rows(label) if row.status == "converged"]
        held = [getattr(row, f"{claim.split}_{'loss_nats' if loss else 'error_pct'}") for row in rows]
        values = [value if loss else 100 - value for value in held if value is not None]
        if not values:
            return claim.says.strip().rstrip(".")
        interval = t_interval(values)
        digits = 3 if loss else places(interval)
        reached = f"{number(mean(values), digits)} nats" if loss else pct(mean(values), digits)
        told.append(" ".join(part for part in (reached, span(interval, digits) if interval else "") if part))
    counts = [judged.summaries[label].counts for label in (claim.left, claim.right)]
    here, there = (f"{held.converged} of {held.finished}" for held in counts)
    what = f"{claim.split} {'loss' if loss else 'accuracy'} ({here} converged)"
    return f"{claim.left} reached {told[0]} {what}, against {told[1]} for {claim.right} ({there})"


def reached(label: str, summary: Summary) -> str:
    """`plain 56 23.4 % [18.2, 28.6] (4 of 5 converged)`."""
    counts = summary.counts
    rate = f"{counts.converged} of {counts.finished} converged"
    if counts.out_of_memory:
        return f"{label} ran out of memory"
    if summary.mean_pct is None:
        return f"{label} learned in no run ({rate})"
    if summary.interval_pct is None:
        return f"{label} reached {pct(summary.mean_pct)} in its one converged run ({rate})"
    digits = places(summary.interval_pct)
    return (
        f"{label} reached {pct(summary.mean_pct, digits)} {span(summary.interval_pct, digits)} test accuracy ({rate})"
    )


def _without_claims(judged: StudyAnalysis) -> str:
    labels = list(judged.summaries)
    told = listed([reached(label, judged.summaries[label]) for label in labels[:4]])
    more = f", and {plural(len(labels) - 4, 'condition')} more below" if len(labels) > 4 else ""
    together = ensembles.sentence(judged)
    why = "its claims need what was left out" if judged.study.left_out else "the study declares no claim"
    return f"{capital(told)}{more}; {why}, so none is judged." + (together and f" {together}")


def limits(judged: StudyAnalysis) -> str:
    """What the report does not show, and how its protocol was changed."""
    said = [judged.study.limits.strip()] if judged.study.limits.strip() else []
    parts = [item for item in judged.study.overrides if item.startswith("grid.")]
    changed = [item for item in judged.study.overrides if item not in parts]
    if changed:
        said.append(f"Not the protocol of the study file: {'; '.join(changed)}.")
    if parts:
        said.append(f"Not all conditions of the study file: {'; '.join(parts)}.")
    if judged.study.left_out:
        said.append(f"Claims that need the others, and are not judged: {' '.join(judged.study.left_out)}")
    said += [f"About {data.name}: {data.about.strip().rstrip('.')}." for data in judged.evidence.data if data.about]
    kept = {condition.data.train_images for condition in judged.study.conditions if condition.data.train_images}
    if kept:
        said.append(f"A shrunken protocol: trained on {listed([f'{n:,}' for n in sorted(kept)])} images alone.")
    if not said:
        said.append("Other data, other recipes, longer training: nothing here speaks of them.")
    return " ".join(said)


def test_split(judged: StudyAnalysis) -> str:
    """That the test images chose nothing, and what chose instead."""
    best = any(condition.recipe.choose == "best" for condition in judged.study.conditions)
    if any_tuned(judged):
        return (
            "The test photographs chose nothing: validation chose the epoch, the learning rate where several are "
            "tried, and the stage, and they are tested once, at the end."
        )
    kept = "the weights with the least validation error are kept" if best else "the last weights are kept"
    if any(condition.data.test_curve for condition in judged.study.conditions):
        curve = "Their curve was recorded because the study asks for it; nothing was chosen by it."
        return f"The test images chose nothing: {kept}. {curve}"
    return f"The test images chose nothing: {kept}, and they are tested once, at the end."


def command(judged: StudyAnalysis) -> str:
    """What a person types to repeat the study."""
    if judged.evidence.command:
        return judged.evidence.command
    words = ["resnetlab", "study", "run", judged.study.name]
    for override in judged.study.overrides:
        key, _, value = override.partition(" = ")
        value = value.split(" (was ")[0]
        if key == "seeds":
            seeds = value.strip("[]").replace(" ", "")
            count = len(seeds.split(","))
            plain = seeds == ",".join(str(seed) for seed in range(count))
            words += ["--seeds", str(count) if plain else seeds]
        else:
            words += ["--data", value] if key == "data" else ["--set", f"{key}={value}"]
    return command_line(words)


def made_by(judged: StudyAnalysis) -> str:
    """The last line."""
    versions = listed(list(dict.fromkeys(m.version for m in judged.evidence.machines if m.version)))
    return f"Written by resnetlab {versions}".strip() + " from results.csv, curves.csv and report.json beside it."


def dots_caption(judged: StudyAnalysis, hidden: bool) -> str:
    """Under the first figure; `hidden` says that chance is off its scale."""
    said = "Every planned run. The bar is the mean of the converged runs, the line its 95 % t-interval"
    chances = sorted({round(summary.chance_pct, 1) for summary in judged.summaries.values()})
    guess = f"chance, the share of the largest class, is {listed([pct(chance) for chance in chances])}"
    guess += ", off the scale" if hidden else ""
    extra = "; a diverged run stands at chance" if judged.counts.diverged else ""
    edge = judged.counts.out_of_memory + judged.counts.missing
    extra += "; runs without an accuracy stand at the left edge" if edge else ""
    return f"{said}; {guess}{extra}."


def dots_alt(judged: StudyAnalysis) -> str:
    """The first figure in words."""
    parts = []
    for label, summary in judged.summaries.items():
        digits = places(summary.interval_pct)
        interval = f" {span(summary.interval_pct, digits)}" if summary.interval_pct else ""
        mean = f"mean {pct(summary.mean_pct, digits)}{interval}"
        counts = summary.counts
        parts.append(f"{label}: {mean if summary.mean_pct is not None else 'no mean'}, "
                     f"{counts.converged} of {counts.planned} converged")  # fmt: skip
    return "Test accuracy of every run by condition. " + "; ".join(parts) + "."
