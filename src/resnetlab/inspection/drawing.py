"""A network as a picture: its layers down a column by stage, and beside it the ways around them. SVG; free of torch.

Down the column goes the longest way from the image to the output. What is not on it, a projection say, stands on the
way around that it belongs to. A way that changes the size or the number of maps is dashed (He et al. 2016, fig. 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import groupby

from resnetlab.inspection.layer_rows import Layer, Layers
from resnetlab.inspection.render_table import by_size, square

HIGH, STEP, WIDE = 20, 32, 236
"""Pixels: of a box, from one box to the next, across a box."""
LEFT, TOP, LANE, SIDE = 176, 58, 26, 196
"""Pixels: before the column, above it, from lane to lane, across a box beside the column with its gap."""
LEGEND = 540
"""Pixels across the words below the picture, at least."""
JOINS = {"add": "+", "concatenate": "c"}

STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1c1e21}
.muted{fill:#5b626b;font-size:11px}.strong{font-weight:600}.mid{text-anchor:middle}.end{text-anchor:end}
.band{fill:#f3f5f7}.layer rect{fill:#d9e9f6;stroke:#0072b2}.layer.strided rect{fill:#9ecae1}.layer.bare rect{fill:#fff}
.side rect{fill:#fbe3d3;stroke:#c2540a}.join circle{fill:#fff;stroke:#1c1e21;stroke-width:1.5}
path{fill:none;stroke:#5b626b;stroke-width:1.3}.shortcut{stroke:#c2540a;stroke-width:1.8}
.changes{stroke-dasharray:5 3}"""


@dataclass(frozen=True)
class Way:
    """A way around part of the column: from row `first` to row `last`, with the rows that stand on it, in a lane."""

    first: int
    last: int
    rows: tuple[int, ...]
    lane: int = 0


def draw(layers: Layers) -> str:
    """The network as SVG, on a white card, legible on a light page and on a dark one."""
    rows = layers.rows
    column = longest(rows)
    place = {row: at for at, row in enumerate(column)} | {-1: -1}
    ways = in_lanes(ways_around(rows, column), place)
    boxed = any(way.rows for way in ways)
    lanes = 1 + max((way.lane for way in ways), default=-1)
    spread = SIDE if boxed and lanes > 1 else LANE
    width = LEFT + WIDE + 20 + spread * max(0, lanes - 1) + (LANE + SIDE if boxed else LANE if lanes else 0)
    high = TOP + STEP * len(column) + 74
    width = max(width, LEGEND)
    size = f'width="{width}" height="{high}"'
    title = f"{layers.name} for {by_size(layers.image)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {high}" {size} role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect {size} rx="6" fill="#fff"/>',
        f'<text class="strong" x="16" y="24">{escape(title)}</text>',
        f'<text class="muted" x="16" y="41">{layers.parameters:,} parameters, {layers.macs:,} multiply-adds</text>',
        *_bands(rows, column, width),
        *(_way(rows, way, place, spread) for way in ways),
    ]
    for at, row in enumerate(column):
        y = _middle(at)
        radius = 8 if rows[row].kind in JOINS else HIGH // 2
        above = (8 if at and rows[column[at - 1]].kind in JOINS else HIGH // 2) - STEP
        parts.append(f'<path d="M{_centre()},{y + above}V{y - radius}"/>')
        parts.append(_join(rows[row], y) if rows[row].kind in JOINS else _box(rows[row], LEFT, y, WIDE, "layer"))
    return "\n".join([*parts, *_legend(rows, ways, high), "</svg>"]) + "\n"


def longest(rows: list[Layer]) -> list[int]:
    """The rows on the longest way from the image to the last row."""
    length: list[int] = []
    for row in rows:
        length.append(1 + max((length[taken] for taken in row.takes if taken >= 0), default=0))
    at, found = len(rows) - 1, []
    while at >= 0:
        found.append(at)
        at = max(rows[at].takes, key=lambda taken: (length[taken] if taken >= 0 else 0, taken), default=-1)
    return found[::-1]


def ways_around(rows: list[Layer], column: list[int]) -> list[Way]:
    """Every edge that is not in the column; rows beside it that follow one another are one way."""
    inside = set(column)
    following = set(zip([-1, *column], column, strict=False))
    users: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        for taken in row.takes:
            users.setdefault(taken, []).append(number)
    found = []
    for number, row in enumerate(rows):
        for taken in row.takes:
            if number in inside:
                if taken in inside | {-1} and (taken, number) not in following:
                    found.append(Way(taken, number, ()))
            elif taken in inside | {-1}:
                chain = [number]
                while len(users.get(chain[-1], [])) == 1 and users[chain[-1]][0] not in inside:
                    chain.append(users[chain[-1]][0])
                ends = [user for user in users.get(chain[-1], []) if user in inside]
                found += [Way(taken, end, tuple(chain)) for end in ends]
    return found


def in_lanes(ways: list[Way], place: dict[int, int]) -> list[Way]:
    """The ways, each in the first lane where it crosses no other; short ones first, to lie within long ones."""
    taken: list[list[tuple[int, int]]] = []
    held = []
    for way in sorted(ways, key=lambda way: (place[way.last] - place[way.first], place[way.first])):
        low, high = place[way.first], place[way.last]
        free = [all(high <= a or b <= low for a, b in lane) for lane in taken]
        lane = free.index(True) if True in free else len(taken)
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        held.append(Way(way.first, way.last, way.rows, lane))
    return held


def _middle(at: int) -> int:
    return TOP + STEP * at + STEP // 2


def _centre() -> int:
    return LEFT + WIDE // 2


def _bands(rows: list[Layer], column: list[int], width: int) -> list[str]:
    """Stages, every other one on a grey band: its name, what it gives, its parameters."""
    parts, at, begun = [], 0, 0
    for number, (name, held) in enumerate(_stages([rows[row] for row in column])):
        top, tall = TOP + STEP * at, STEP * len(held)
        if number % 2 == 0:
            parts.append(f'<rect class="band" x="8" y="{top}" width="{width - 16}" height="{tall}" rx="4"/>')
        y = top + 13
        parts.append(f'<text class="strong" x="16" y="{y}">{escape(name)}</text>')
        below = [by_size(held[-1].output)] if name != by_size(held[-1].output) else []
        ended = column[at + len(held) - 1] + 1
        counted = sum(row.parameters for row in rows[begun:ended])  # what stands beside the column among them
        below += [f"{counted:,} parameters"] if counted and len(held) > 1 else []
        parts += [f'<text class="muted" x="16" y="{y + 14 * (n + 1)}">{line}</text>' for n, line in enumerate(below)]
        at, begun = at + len(held), ended
    return parts


def _stages(layers: list[Layer]) -> list[tuple[str, list[Layer]]]:
    """By the names of the modules, `stages.1`; where these name single layers, by the size of what comes out."""

    def named(layer: Layer) -> str:
        parts = layer.name.split(".")
        return ".".join(parts[:2] if len(parts) > 2 and parts[1].isdigit() else parts[:1])

    def sized(layer: Layer) -> str:
        return by_size(layer.output[1:]) if len(layer.output) == 3 else "vector"

    found = [(name, list(held)) for name, held in groupby(layers, named)]
    if 2 * len(found) > len(layers):
        found = [(name, list(held)) for name, held in groupby(layers, sized)]
    return found


def _said(layer: Layer) -> str:
    """`3x3 conv, 64, /2`."""
    kernel = f"{square(layer.kernel)}x{square(layer.kernel)} " if layer.kernel and len(set(layer.kernel)) == 1 else ""
    kernel = kernel or (f"{by_size(layer.kernel)} " if layer.kernel else "")
    kind, _, more = layer.kind.partition(", ")
    parts = [kernel + kind, str(layer.output[0]) if layer.weights else "", more]
    if layer.stride and max(layer.stride) > 1:
        parts.append(f"/{square(layer.stride)}")
    return ", ".join(part for part in parts if part)


def _told(layer: Layer) -> str:
    """All that the table says of it, for a pointer that rests on it."""
    field = f", receptive field {square(layer.paths.size)}" if layer.paths else ""
    held = f"{layer.name}: {_said(layer)}; gives {by_size(layer.output)}"
    return f"<title>{escape(held)}; {layer.parameters:,} parameters, {layer.macs:,} multiply-adds{field}</title>"


def _box(layer: Layer, x: int, y: int, wide: int, name: str) -> str:
    strided = layer.stride is not None and max(layer.stride) > 1
    name += " strided" if strided else "" if layer.weights else " bare"
    then = " " + ", ".join(layer.then) if layer.then and len(layer.then) < 4 else ""
    muted = f'<tspan class="muted">{escape(then)}</tspan>' if then and len(_said(layer) + then) < 40 else ""
    return (
        f'<g class="{name}">{_told(layer)}<rect x="{x}" y="{y - HIGH // 2}" width="{wide}" height="{HIGH}" rx="4"/>'
        f'<text class="mid" x="{x + wide // 2}" y="{y + 4}">{escape(_said(layer))}{muted}</text></g>'
    )


def _join(layer: Layer, y: int) -> str:
    said = [f"{layer.output[0]} maps"] if layer.kind == "concatenate" else []
    note = ", ".join([*said, *layer.then[:3]])
    return (
        f'<g class="join">{_told(layer)}<circle cx="{_centre()}" cy="{y}" r="8"/>'
        f'<text class="mid" x="{_centre()}" y="{y + 4}">{JOINS[layer.kind]}</text>'
        f'<text class="muted end" x="{_centre() - 16}" y="{y + 4}">{escape(note)}</text></g>'
    )


def _way(rows: list[Layer], way: Way, place: dict[int, int], spread: int) -> str:
    start = _middle(place[way.first]) + STEP // 2  # between two boxes
    end = _middle(place[way.last])
    right = LEFT + WIDE + 20 + spread * way.lane
    edge = _centre() + 8 if rows[way.last].kind in JOINS else LEFT + WIDE
    changes = way.first >= 0 and rows[way.first].output != rows[way.last].output
    name = "shortcut changes" if changes and rows[way.last].kind != "concatenate" else "shortcut"
    turn = 7
    line = (
        f'<path class="{name}" d="M{_centre()},{start}H{right - turn}q{turn},0 {turn},{turn}'
        f'V{end - turn}q0,{turn} {-turn},{turn}H{edge}"/><path class="shortcut" d="M{edge + 6},{end - 4}l-6,4l6,4"/>'
    )
    gap = (end - start) / (len(way.rows) + 1)
    boxes = [
        _box(rows[row], right - 12, round(start + gap * (at + 1)), SIDE - 16, "side") for at, row in enumerate(way.rows)
    ]
    return "\n".join([line, *boxes])


def _legend(rows: list[Layer], ways: list[Way], high: int) -> list[str]:
    """What the marks mean, of those that are there."""
    joins = [f"{sign} {kind}" for kind, sign in JOINS.items() if any(row.kind == kind for row in rows)]
    lines = ["A box: window, kind, maps that it gives, /stride; darker where it strides. " + ", ".join(joins)]
    if ways:
        said = "Orange: ways around; dashed where they change size or maps"
        lines.append(said + (", boxed where they project." if any(way.rows for way in ways) else "."))
    return [f'<text class="muted" x="16" y="{high - 40 + 16 * n}">{line}</text>' for n, line in enumerate(lines)]
