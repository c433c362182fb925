"""Sentences and a figure about gradient norms by depth, for one or several networks."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnetlab.inspection.diagnostics_records import GradientNorms, LayerNorms
from resnetlab.messages import format_count
from resnetlab.schema import encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNCHANGED_FACTOR = 1.5
"""Factor between the first and the last layer below which norms count as about equal."""

MAX_NAMED_LAYERS = 5

RELU_NOTE = (
    "ReLU: f(x) = max(0, x), with f'(x) = 1 if x > 0 and 0 otherwise. It passes a gradient "
    "unchanged or not at all, so that it shrinks none by a factor, as a sigmoid does (at most 1/4)."
)


@dataclass(frozen=True)
class MeasuredNetwork:
    """Gradient norms of a network at one or more epochs, with its name in tables and figures."""

    name: str
    norms: tuple[GradientNorms, ...]


def gradient_rows(networks: Sequence[MeasuredNetwork]) -> list[dict[str, Any]]:
    """Return one row per layer, epoch and network, with all values."""
    return [
        ({"network": network.name} if len(networks) > 1 else {})
        | {"epoch": norms.epoch}
        | encode(layer)
        for network in networks
        for norms in network.norms
        for layer in norms.layers
    ]


def side_by_side_rows(networks: Sequence[MeasuredNetwork]) -> list[dict[str, Any]]:
    """Return one row per layer and epoch, with the columns of each network side by side."""
    rows: dict[tuple[float, str], dict[str, Any]] = {}
    columns = {
        f"{title} {network.name}": (number, value)
        for title, value in _COMPARED.items()
        for number, network in enumerate(networks)
    }
    for network in networks:
        for norms in network.norms:
            for layer in norms.layers:
                key = (norms.epoch, layer.layer)
                rows.setdefault(
                    key,
                    {"epoch": norms.epoch, "layer": layer.layer} | dict.fromkeys(columns),
                )
                for title, value in _COMPARED.items():
                    rows[key][f"{title} {network.name}"] = value(layer)
    return [row for _, row in sorted(rows.items(), key=lambda item: item[0][0])]


_COMPARED: dict[str, Callable[[LayerNorms], float | None]] = {
    "weight gradient norm:": lambda layer: layer.weight_gradient_norm,
    "active, %:": lambda layer: layer.active_pct,
    "never active, %:": lambda layer: layer.never_active_pct,
}


def growth_towards_input(
    layers: Sequence[LayerNorms], value: Callable[[LayerNorms], float | None]
) -> tuple[LayerNorms, LayerNorms, float] | None:
    """Return the first and the last layer with a value above 0, and the ratio of their values."""
    known = [layer for layer in layers if value(layer)]
    if len(known) < 2:
        return None
    return known[0], known[-1], (value(known[0]) or 0.0) / (value(known[-1]) or 1.0)


def describe_growth(factor: float) -> str:
    """Return a phrase that says if norms grow or shrink towards the input, and by which factor."""
    if factor >= UNCHANGED_FACTOR:
        return f"grows {factor:.3g}-fold"
    if factor <= 1 / UNCHANGED_FACTOR:
        return f"shrinks {1 / factor:.3g}-fold"
    return f"stays about the same ({factor:.2f}-fold)"


def gradient_sentences(networks: Sequence[MeasuredNetwork]) -> list[str]:
    """Return the sentences that the values of the networks support, computed by rule."""
    sentences = []
    for network in networks:
        for norms in network.norms:
            prefix = network.name + (f", epoch {norms.epoch:g}" if len(network.norms) > 1 else "")
            sentences += [f"{prefix}: {text}" for text in _sentences(norms)]
    if len(networks) > 1:
        factors = [
            (network.name, growth_towards_input(network.norms[-1].layers, _weight_gradient))
            for network in networks
        ]
        phrases = [f"{describe_growth(growth[2])} in {name}" for name, growth in factors if growth]
        if len(phrases) > 1:
            sentences.append(
                "Towards the input the weight gradient norm "
                + ", and it ".join(phrases)
                + ", each at the last epoch measured."
            )
    return sentences


def _weight_gradient(layer: LayerNorms) -> float | None:
    return layer.weight_gradient_norm


def _sentences(norms: GradientNorms) -> list[str]:
    sentences = []
    growth = growth_towards_input(norms.layers, _weight_gradient)
    if growth is None:
        return ["fewer than two layers have a finite weight gradient that is not 0."]
    first, last, factor = growth
    text = (
        f"towards the input the weight gradient norm {describe_growth(factor)}: "
        f"{last.weight_gradient_norm:.3g} at {last.layer} (layer {last.depth}), "
        f"{first.weight_gradient_norm:.3g} at {first.layer} (layer {first.depth})"
    )
    responses = growth_towards_input(norms.layers, lambda layer: layer.response_gradient_norm)
    if responses:
        text += f"; the gradient norm of the layers' outputs {describe_growth(responses[2])}"
    sentences.append(text + ".")
    shares = [
        (layer.never_active_pct, layer)
        for layer in norms.layers
        if layer.never_active_pct is not None
    ]
    if shares:
        most, layer = max(shares, key=lambda pair: pair[0])
        mean = sum(share for share, _ in shares) / len(shares)
        text = f"on average {mean:.1f} % of a layer's units are never active in this batch"
        text += f" ({format_count(len(shares), 'layer')} followed by a ReLU"
        sentences.append(text + (f"; most in {layer.layer}, {most:.1f} %)." if most else ")."))
    else:
        sentences.append("no layer is followed by a ReLU, so that no unit counts as never active.")
    return sentences + _derivative_sentences(norms)


def _derivative_sentences(norms: GradientNorms) -> list[str]:
    """Return a sentence about the derivative of the ReLUs, if there are any."""
    shares = [(layer.active_pct, layer) for layer in norms.layers if layer.active_pct is not None]
    if not shares:
        return []
    mean = sum(share for share, _ in shares) / len(shares)
    least, layer = min(shares, key=lambda pair: pair[0])
    text = (
        f"the derivative of a ReLU is 1 at {mean:.1f} % of its values and 0 at the others, on "
        f"average over {format_count(len(shares), 'layer')} (least in {layer.layer}, {least:.1f} %)"
    )
    closed = [layer.layer for share, layer in shares if not share]
    if closed:
        names = ", ".join(closed[:MAX_NAMED_LAYERS])
        more = (
            f" and {len(closed) - MAX_NAMED_LAYERS} more" if len(closed) > MAX_NAMED_LAYERS else ""
        )
        return [f"{text}; it is 0 everywhere after {names}{more}, which no gradient passes."]
    return [f"{text}; no layer has only zeros, so a gradient passes every ReLU."]


ACTIVE_TITLE = "Derivative of the ReLU is 1 (active)"

_PANELS: dict[str, Callable[[LayerNorms], float | None]] = {
    "Gradient of the weights": _weight_gradient,
    "Gradient of the layer's output": lambda layer: layer.response_gradient_norm,
    ACTIVE_TITLE: lambda layer: layer.active_pct,
}


def draw_gradients(networks: Sequence[MeasuredNetwork]) -> str:
    """Return an SVG by layer: norms of weight gradients and of gradients of the outputs, and the
    share of active values.
    """
    import matplotlib as mpl

    settings: Any = {
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "svg.hashsalt": "gradients",
        "svg.fonttype": "none",
    }
    with mpl.rc_context(settings):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13, 3.8), layout="constrained")
        for number, (title, value) in enumerate(_PANELS.items(), 1):
            ax = figure.add_subplot(1, len(_PANELS), number)
            ax.set_title(title, loc="left", fontsize=10)
            _draw_panel(ax, networks, value)
            ax.set_xlabel("layer (1 is the first)")
            ax.grid(alpha=0.3)
            if title == ACTIVE_TITLE:
                ax.set(ylabel="% of the values after the ReLU", ylim=(0, 100))
            else:
                _set_log_scale(ax)
            if number == 1:
                ax.legend(fontsize=8)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _draw_panel(
    ax: Axes, networks: Sequence[MeasuredNetwork], value: Callable[[LayerNorms], float | None]
) -> None:
    for network in networks:
        for norms in network.norms:
            label = network.name
            label += f", epoch {norms.epoch:g}" if len(network.norms) > 1 else ""
            known = [(layer.depth, y) for layer in norms.layers if (y := value(layer))]
            ax.plot(
                [depth for depth, _ in known],
                [norm for _, norm in known],
                marker="o",
                markersize=3,
                linewidth=1.2,
                label=label,
            )


def _set_log_scale(ax: Axes) -> None:
    values = [float(y) for line in ax.lines for y in np.asarray(line.get_ydata(), float)]
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
    if values and max(values) < 10 * min(values):
        ax.yaxis.set_minor_formatter(lambda tick, _: f"{tick:.2g}")
    ax.set_ylabel("Euclidean norm, log scale")
