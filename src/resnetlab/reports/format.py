"""Formatting of numbers and lists for reports. All rounding happens here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from resnetlab import messages
from resnetlab.data.config import Split
from resnetlab.stats.intervals import Interval
from resnetlab.stats.power import MAX_SEEDS, SeedForecast
from resnetlab.studies.measure import Unit
from resnetlab.translation import deferred, localize_number, tr, tr_word

DASH = "–"
MINUS = "−"


def decimals(interval: Interval | None, unit: Unit = "%") -> int:
    """Return the decimals of an accuracy: two if the interval is below .2 points, else one.

    A value without a unit gets so many that its interval has two digits, from 0 to 12.
    """
    width = interval.high - interval.low if interval else 0.0
    if unit == "%":
        return 2 if 0 < width < 0.2 else 1
    if not 0 < width < math.inf:
        return 4
    return max(0, min(12, 1 - math.floor(math.log10(width))))


def format_value(value: float | None, digits: int = 1, unit: Unit = "%") -> str:
    """Format a value of a measure: `97.1 %`, or `0.482` without a unit."""
    if value is None or unit == "%":
        return format_pct(value, digits)
    return format_number(value, digits)


def format_pct(value: float | None, digits: int = 1) -> str:
    """Format a percentage: `97.1 %`."""
    return (
        DASH if value is None else tr("{number} %", number=localize_number(f"{value:.{digits}f}"))
    )


def format_interval(interval: Interval | None, digits: int = 1) -> str:
    """Format an interval: `[96.2, 98.0]`."""
    if interval is None:
        return DASH
    return tr(
        "[{low}, {high}]",
        low=format_number(interval.low, digits),
        high=format_number(interval.high, digits),
    )


def format_rate_interval(interval: Interval) -> str:
    """Format the interval of a rate in whole percent: `[38, 96] %`."""
    return tr("[{low:.0f}, {high:.0f}] %", low=100 * interval.low, high=100 * interval.high)


def format_number(value: float, digits: int = 1) -> str:
    """Format a number with a true minus sign (not a hyphen), and never as `-0.0`."""
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return localize_number(text.replace("-", MINUS))


def format_signed(value: float, digits: int = 1) -> str:
    """Format a number with its sign: `+67.3`."""
    text = format_number(value, digits)
    return f"+{text}" if float(f"{value:.{digits}f}") > 0 else text


def format_p_value(p: float | None) -> str:
    """Format a p-value: `0.012`, `< 0.0001`."""
    if p is None:
        return DASH
    text = f"{p:.4f}" if p < 0.001 else f"{p:.3f}"
    return localize_number("< 0.0001" if p < 0.0001 else text)


def format_p_relation(p: float) -> str:
    """Format a p-value with its relation, to follow the letter p: `= 0.012`, `< 0.0001`."""
    text = format_p_value(p)
    return text if text.startswith("<") else f"= {text}"


def format_first_loss(losses: Sequence[float], num_classes: int, mode: str) -> str:
    """Format losses before the first step beside that of a uniform guess: `first loss 2.304 nats in
    training mode, ln 10 = 2.303`.
    """
    return f"first loss {format_first_loss_values(losses, num_classes, mode)}"


def format_first_loss_values(losses: Sequence[float], num_classes: int, mode: str) -> str:
    """Format losses as `format_first_loss`, without its first words."""
    low, high = format_number(min(losses), 3), format_number(max(losses), 3)
    return tr(
        "{losses} nats in {mode} mode, ln {classes} = {uniform:.3f}",
        losses=low if low == high else tr("{low} to {high}", low=low, high=high),
        mode=tr_word(mode),
        classes=num_classes,
        uniform=math.log(num_classes),
    )


_IMAGES: dict[Split, str] = {
    "train": deferred("train images"),
    "validation": deferred("validation images"),
    "test": deferred("test images"),
}


def name_images(split: Split) -> str:
    """Return the name of the images of a split in the language in use: `test images`."""
    return tr(_IMAGES[split])


def format_duration(seconds: float) -> str:
    """Format a duration: `8.4 s`, `3 min 20 s`, `2 h 05 min`."""
    return localize_number(messages.format_duration(seconds))


MAX_NAMED = 12
"""Largest number of conditions that a sentence names."""


def name_some(labels: Sequence[str]) -> str:
    """Return the first names in words, with the number of the others."""
    more = len(labels) - MAX_NAMED
    others = tr(", and {more:,} more", more=more) if more > 0 else ""
    return join_words(labels[:MAX_NAMED]) + others


def join_words(items: Sequence[str]) -> str:
    """Join items as a list in a sentence: `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return tr("{left} and {right}", left=", ".join(items[:-1]), right=items[-1])


def join_clauses(parts: Iterable[str]) -> str:
    """Join parts of a sentence or of a note: `a; b; c`."""
    return tr("; ").join(parts)


def capitalize_first(text: str) -> str:
    """Capitalize the first letter and leave the rest unchanged."""
    return text[:1].upper() + text[1:]


def format_forecast(forecast: SeedForecast) -> str:
    """Format a forecast: `80 % power: about 12 seeds per condition (95 % range: 7 to 30)`."""
    if forecast.estimate is None:
        return tr("80 % power: more than {limit} seeds per condition", limit=MAX_SEEDS)
    count = tr("80 % power: about {estimate} seeds per condition", estimate=forecast.estimate)
    if forecast.low == forecast.high:  # there is no range
        return count
    low = forecast.low or forecast.estimate
    high = tr("more than {limit}", limit=MAX_SEEDS) if forecast.high is None else str(forecast.high)
    return tr("{count} (95 % range: {low} to {high})", count=count, low=low, high=high)


FORECAST_NOTE = deferred(
    "80 % power: the seeds with which a study of this protocol would decide the claim in four "
    "of five cases, if the observed difference were the true one."
)
"""Explanation of `format_forecast` for the note of a table."""
