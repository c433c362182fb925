"""Published numbers beside measured ones: both values, what differs in the protocol, and a badge where one is due.

A badge is never a verdict. It is refused, with the reason, where the number was measured otherwise than here: on other
data or images, or where this protocol is a shrunken one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from resnetlab.reports.document import Cell, Column, DotRow, Fact, Known, Mark, Table
from resnetlab.reports.format import NOTHING, capital, listed, number, pct, places, plural, span
from resnetlab.stats.intervals import Interval, mean
from resnetlab.stats.prediction import Badge, against
from resnetlab.studies.claims import About, AnyClaim, Average, Equal, Greater, Images, Relative, labels
from resnetlab.studies.parsing.references import has, settled, works
from resnetlab.studies.references import Beside, Quantity

if TYPE_CHECKING:
    from resnetlab.analysis.analyze import StudyAnalysis


TOP5: Quantity = "top-5 error"


@dataclass(frozen=True)
class Compared:
    """A published number and the converged runs of its condition: accuracies or top-5 errors in percent, or nats."""

    beside: Beside
    measured: tuple[float, ...]
    badge: Badge | None
    interval: Interval | None
    """In which the published number falls if nothing differs; None where no badge is due."""
    why: str
    """Why there is no badge."""
    differences: tuple[str, ...]
    drawn: bool
    """Whether the number is of the same images, so that it has a place on their axis."""


def compared(judged: StudyAnalysis) -> tuple[Compared, ...]:
    """Every number that the study names, in the order of the conditions."""
    order = list(judged.summaries)
    pairs = sorted(judged.study.published, key=lambda pair: order.index(pair.condition))
    return tuple(_compared(judged, pair) for pair in pairs)


def table(judged: StudyAnalysis) -> Table | None:
    """Published beside measured; None where the study names no number."""
    rows = tuple(_row(item, address(judged, item.beside.title)) for item in compared(judged))
    if not rows:
        return None
    columns = (
        Column("Condition", numeric=False), Column("Source", numeric=False), Column("Published"), Column("Measured"),
        Column("95 % prediction interval"), Column("Badge", numeric=False), Column("What differs", numeric=False),
    )  # fmt: skip
    note = (
        "Test accuracy, where nothing else is said. A published number is compatible where it falls into the interval "
        "in which it would fall if nothing differed, from n converged runs here and m runs behind it, its rounding "
        "included (Spence and Stanley 2016); where the source gives independent runs, by Welch's t. A badge is not a "
        "verdict, and a shrunken protocol gets none. What a source does not say of its protocol is not compared."
    )
    return Table("beside", columns, rows, note, "scroll")


def alone(judged: StudyAnalysis) -> Table | None:
    """The numbers of the study's sources that nothing here was measured beside; None where there are none."""
    rows = tuple(
        (
            Cell(pair.value.label),
            Cell(pair.title, cited=pair.title, url=address(judged, pair.title)),
            _published(pair),
            Cell(
                "Published only",
                "of no condition of this study" if pair.value.model else "resnetlab does not run it",
                "published only",
            ),
        )
        for pair in judged.study.published_only
    )
    columns = (
        Column("Number", numeric=False), Column("Source", numeric=False), Column("Published"),
        Column("Here", numeric=False),
    )  # fmt: skip
    note = "Numbers of the sources named above beside which nothing was measured here: they are repeated, not tested."
    return Table("alone", columns, rows, note) if rows else None


def protocols(judged: StudyAnalysis) -> tuple[Fact, ...]:
    """How each source came to its numbers, and what of it no field of a condition says."""
    sources: dict[str, list[Beside]] = {}
    for pair in judged.study.published:
        sources.setdefault(pair.title, []).append(pair)
    told = []
    for title, pairs in sources.items():
        labelled = tuple(dict.fromkeys(pair.condition for pair in pairs))
        told.append(Fact(f"{capital(title)}, the protocol", pairs[0].protocol.said))
        for item in pairs[0].protocol.differs:
            held = [
                label for label in labelled if not item.unless or not has(judged.study.condition(label), item.unless)
            ]
            where = f" ({listed(held)})" if len(held) < len(labelled) else ""
            if held:
                told.append(Fact("What differs", f"published: {item.published}; here: {item.here}{where}"))
    return tuple(told)


def address(judged: StudyAnalysis, source: str) -> str:
    """Where the work is that a source names before its table or figure; empty where that is not known."""
    pairs = (*judged.study.published, *judged.study.published_only)
    known = works() | {pair.title.partition(",")[0]: pair.url for pair in pairs if pair.url}
    return known.get(source.partition(",")[0], "")


def marks(judged: StudyAnalysis, label: str) -> tuple[Mark, ...]:
    """The diamonds of a condition in the first figure."""
    held = []
    for item in compared(judged):
        value = item.beside.value.accuracy_pct
        if item.beside.condition == label and item.drawn and value is not None:
            low, high = item.interval or (None, None)
            held.append(Mark(value, low, high))
    return tuple(held)


def effects(judged: StudyAnalysis, claim: AnyClaim) -> tuple[Known, ...]:
    """A claim's effect in published numbers: of one quantity and protocol, one for each of its conditions."""
    if not isinstance(claim, Greater | About | Equal | Average | Relative):
        return ()
    groups: dict[tuple[str, ...], list[Beside]] = {}
    for pair in judged.study.published:
        value = pair.value
        kind = "loss" if value.quantity == "loss" else "top1"
        alike = (
            (kind == "loss") == (claim.metric == "loss")
            and value.quantity != TOP5
            and not _other(judged, pair, claim.split)
        )
        if alike and value.value is not None and pair.condition in labels(claim):
            best = value.m > 1 and value.statistic == "best"
            key = (repr(replace(pair.protocol, said="")), value.chosen, "best" if best else "")
            groups.setdefault(key, []).append(pair)
    found = []
    for pairs in groups.values():
        whole = [title for title in dict.fromkeys(pair.title for pair in pairs) if _covers(pairs, claim, title)]
        for title in whole or [""]:
            held = [pair for pair in pairs if pair.title == title or not title]
            first = [next((pair for pair in held if pair.condition == label), None) for label in labels(claim)]
            chosen = [pair for pair in first if pair is not None]
            if len(chosen) == len(first):
                titles = dict.fromkeys(pair.title for pair in pairs if pair in chosen)
                found.append(Known(_effect(claim, chosen), tuple(titles)))
    return tuple(found)


def _covers(pairs: list[Beside], claim: AnyClaim, title: str) -> bool:
    return {pair.condition for pair in pairs if pair.title == title} >= set(labels(claim))


def _effect(claim: Greater | About | Equal | Average | Relative, pairs: list[Beside]) -> float:
    """How much better left is, in points or nats, or in percent of right."""
    values = []
    for pair in pairs:
        held = pair.value.source().value
        values.append(-held if claim.metric == "loss" else held - (100 if claim.metric == "error" else 0))
    sides = list(zip(values[::2], values[1::2], strict=True))
    return mean([100 * (a - b) / abs(b) if isinstance(claim, Relative) else a - b for a, b in sides])


def caption(rows: tuple[DotRow, ...]) -> str:
    """What the diamonds are; empty where there is none."""
    held = [mark for row in rows for mark in row.published]
    if not held:
        return ""
    bare = any(mark.low_pct is None for mark in held)
    intervals = any(mark.low_pct is not None for mark in held)
    said = " Diamond: a published number"
    said += ", its line the 95 % prediction interval" if intervals else ""
    return said + ("; one without a line has no badge, and the table says why." if bare else ".")


def _compared(judged: StudyAnalysis, pair: Beside) -> Compared:
    value = pair.value
    measured = _measured(judged, pair)
    differences, shrunken = _differences(judged, pair)
    why = value.status or _apart(judged, pair) or shrunken or _unready(judged, pair, measured)
    badge, interval = None, None
    if not why:
        source = value.source()
        slack = _subset_error(judged, pair, mean(measured))
        badge, interval, _ = against(measured, replace(source, half_width=source.half_width + slack))
    drawn = not _other(judged, pair) and value.accuracy_pct is not None
    return Compared(pair, measured, badge, interval, why, differences, drawn)


def _measured(judged: StudyAnalysis, pair: Beside) -> tuple[float, ...]:
    """What the converged runs reached on the images of the number, at its epoch or the end: nats, a top-5 error in
    percent, or percent right."""
    value, held = pair.value, []
    points = {(p.seed, p.split, p.epoch): p for p in judged.evidence.points if p.condition == pair.condition}
    for row in judged.rows(pair.condition):
        if row.status != "converged":
            continue
        if value.epoch:
            point = points.get((row.seed, value.split, value.epoch))
            error, loss, top5 = (point.top1_error_pct, point.loss_nats, None) if point else (None, None, None)
        else:
            error, loss, top5 = (
                getattr(row, f"{value.split}_{name}") for name in ("error_pct", "loss_nats", "top5_error_pct")
            )
        right = None if error is None else 100 - error
        held.append({"loss": loss, TOP5: top5}.get(value.quantity, right))
    return tuple(number for number in held if number is not None)


def _subset_error(judged: StudyAnalysis, pair: Beside, accuracy: float) -> float:
    """Half a 95 % interval of an accuracy in percent that is measured on a part of the train images, for the whole."""
    facts = judged.data(pair.condition)
    part, whole = facts.train_subset_images, facts.train_images
    if pair.value.split != "train" or pair.value.accuracy_pct is None or not part:
        return 0.0
    return NormalDist().inv_cdf(0.975) * math.sqrt(accuracy * (100 - accuracy) / part * (1 - part / whole))


def _apart(judged: StudyAnalysis, pair: Beside) -> str:
    """Why the number is of something that was not measured here."""
    value, name, theirs = pair.value, judged.data(pair.condition).name, pair.protocol.data
    rows = judged.rows(pair.condition)
    taken = any(getattr(row, f"{value.split}_top5_error_pct") is not None for row in rows)
    if value.quantity == "multiply-adds" or (value.quantity == TOP5 and judged.counts.complete and not taken):
        return f"{value.quantity}, which is not measured here"
    if theirs and name not in (theirs, f"{theirs}-rebuilt"):
        return f"measured on {theirs}, here on {name}"
    at = f" at epoch {value.epoch:g}" if value.epoch else ""
    recorded = {p.split for p in judged.evidence.points if p.condition == pair.condition and p.epoch == value.epoch}
    if value.epoch and judged.counts.complete and value.split not in recorded:
        return f"measured on the {value.split} images{at}, of which nothing is recorded here"
    return ""


def _other(judged: StudyAnalysis, pair: Beside, split: Images = "test") -> str:
    """Why the number is of something else than what was measured here on those images at the end of training."""
    value = pair.value
    if value.split != split:
        return f"measured on the {value.split} images, here on the {split} images"
    return _apart(judged, pair) or (f"read at epoch {value.epoch:g}, before the end" if value.epoch else "")


def _unready(judged: StudyAnalysis, pair: Beside, measured: tuple[float, ...]) -> str:
    if not judged.counts.complete:
        return "waiting for the last run"
    if len(measured) < 2:
        return f"{plural(len(measured), 'converged run')}: no interval"
    lower_best = pair.value.quantity in ("loss", TOP5) and pair.value.statistic == "best"
    return f"a best {pair.value.quantity}, for which no interval is known" if lower_best else ""


def _differences(judged: StudyAnalysis, pair: Beside) -> tuple[tuple[str, ...], str]:
    """What differs from the source's protocol, and why this one is shrunken, if it is."""
    condition, facts, protocol = judged.study.condition(pair.condition), judged.data(pair.condition), pair.protocol
    recipe, said, shrunken = condition.recipe, [], []
    if facts.name == f"{protocol.data}-rebuilt":
        said.append(f"data {facts.name} (published {protocol.data})")
    if pair.value.split == "train" and facts.train_subset_images:
        said.append(
            f"{facts.train_subset_images:,} of the train images, for which the interval allows (published: all)"
        )
    fields = settled(condition)
    steps = recipe.total_steps(facts.train_images)
    if protocol.steps is not None:
        theirs = protocol.steps * int(protocol.fields.get("recipe.batch_size", recipe.batch_size))
        if steps != protocol.steps:
            said.append(f"{steps:,} steps (published {protocol.steps:,})")
        if steps * recipe.batch_size < theirs:
            shrunken.append("fewer steps than the published one")
    if protocol.epochs is not None:
        epochs = recipe.passes(facts.train_images)
        if epochs != protocol.epochs:
            said.append(f"{epochs:g} epochs (published {protocol.epochs:g})")
        if epochs < protocol.epochs:
            shrunken.append("fewer epochs than the published one")
    if protocol.train_images is not None and protocol.train_images != facts.train_images:
        said.append(f"{facts.train_images:,} train images (published {protocol.train_images:,})")
        if facts.train_images < protocol.train_images:
            shrunken.append("fewer train images than the published one")
    if condition.data.train_images is not None:
        shrunken.append(f"trained on {condition.data.train_images:,} images alone")
    for key, theirs in protocol.fields.items():
        if key in fields and fields[key] != theirs:
            said.append(f"{key.split('.', 1)[-1]} {_plain(fields[key])} (published {_plain(theirs)})")
    if pair.value.chosen != ("validation" if recipe.choose == "best" else ""):
        published = f"by the {pair.value.chosen} images" if pair.value.chosen else "the last, or not said"
        said.append(f"the epoch: {'by validation' if recipe.choose == 'best' else 'the last'} (published {published})")
    if judged.summaries[pair.condition].counts.converged < judged.summaries[pair.condition].counts.finished:
        said.append("converged runs alone")
    same = ("data = ",) if facts.name in (protocol.data, f"{protocol.data}-rebuilt") else ()  # lying elsewhere
    changed = [item for item in judged.study.overrides if not item.startswith(("seeds = ", "grid.", *same))]
    shrunken += [f"changed by the command: {item}" for item in changed]
    return tuple(said), f"a shrunken protocol: {listed(shrunken)}" if shrunken else ""


def _plain(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


def _row(item: Compared, url: str) -> tuple[Cell, ...]:
    value, measured = item.beside.value, item.measured
    digits = 3 if value.quantity == "loss" else places(item.interval)
    here = Cell(NOTHING, "n = 0")
    if measured:
        where = f"; {value.split} images" if value.split != "test" else ""
        when = f"; after epoch {value.epoch:g}" if value.epoch else ""
        here = Cell(_said(mean(measured), digits, value.quantity), f"n = {len(measured)}{where}{when}")
    word = Cell(capital(item.badge), "", item.badge) if item.badge else Cell("None", item.why)
    return (
        Cell(item.beside.condition),
        Cell(item.beside.title, value.label, cited=item.beside.title, url=url),
        _published(item.beside),
        here,
        Cell(span(item.interval, digits)),
        word,
        Cell("; ".join(item.differences) or "nothing that the source says"),
    )


def _published(pair: Beside) -> Cell:
    """The value to the decimals of the source, with what stands behind it."""
    value = pair.value
    if value.value is None:
        return Cell(NOTHING, value.status)
    behind = [f"{value.statistic} of {value.m}" if value.m > 1 else "m = 1"]
    behind += [f"sd {number(value.sd, 3 if value.quantity == 'loss' else 2)}"] if value.sd is not None else []
    behind += [] if value.independent else ["runs not independent"]
    behind += [f"{value.quantity} {value.value:.{value.decimals}f} in the source"] if value.quantity == "error" else []
    behind += [f"{value.parameters / 1e6:,.4g} M parameters"] if value.parameters else []
    behind += [value.note] if value.note else []
    shown = value.accuracy_pct
    if shown is not None:
        return Cell(pct(shown, value.decimals), "; ".join(behind))
    unit = {"loss": "nats", "top-5 error": "% top-5 error", "multiply-adds": "x 10^9"}[value.quantity]
    return Cell(f"{value.value:.{value.decimals}f} {unit}", "; ".join(behind))


def _said(value: float, digits: int, quantity: Quantity) -> str:
    if quantity == "loss":
        return f"{number(value, digits)} nats"
    return f"{number(value, digits)} % {TOP5}" if quantity == TOP5 else pct(value, digits)
