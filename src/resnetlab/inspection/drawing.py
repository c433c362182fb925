"""Drawing of a network as SVG: its layers in a column by stage, with the shortcuts beside it.

Free of torch. The column shows the longest path from the image to the output, with each operation
in the order of a forward pass. A layer off that path, such as a projection or the padding of
shortcut option A, is drawn on its shortcut. A shortcut that changes the size or the number
of maps is dashed (He et al. 2016, fig. 3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from resnetlab.inspection.layer_rows import Layer, LayerTrace
from resnetlab.inspection.table_format import format_size, format_square_size

BOX_HEIGHT, ROW_HEIGHT, BOX_WIDTH = 20, 32, 236
"""Sizes in pixels: height of a box, distance from one box to the next, width of a box."""
LEFT_MARGIN, TOP_MARGIN, LANE_WIDTH, SIDE_BOX_WIDTH = 176, 58, 26, 196
"""Sizes in pixels: space left of the column and above it, distance between lanes, width of a box
beside the column with its gap.
"""
GAP = 24
"""Space in pixels between networks side by side."""
MIN_WIDTH = 540
"""Minimum width in pixels of the text below the drawing."""
JOIN_SYMBOLS = {"add": "+", "concatenate": "c"}

STYLE = """
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1c1e21}
.muted{fill:#5b626b;font-size:11px}.strong{font-weight:600}.mid{text-anchor:middle}.end{text-anchor:end}
.band{fill:#f3f5f7}.layer rect{fill:#d9e9f6;stroke:#0072b2}
.layer.strided rect{fill:#9ecae1}.layer.bare rect{fill:#fff}
.side rect{fill:#fbe3d3;stroke:#c2540a}.join circle{fill:#fff;stroke:#1c1e21;stroke-width:1.5}
path{fill:none;stroke:#5b626b;stroke-width:1.3}.shortcut{stroke:#c2540a;stroke-width:1.8}
.changes{stroke-dasharray:5 3}"""


@dataclass(frozen=True)
class ShortcutPath:
    """Path around part of the column, from row `first` to row `last`, with its rows, in a lane."""

    first: int
    last: int
    rows: tuple[int, ...]
    lane: int = 0


def draw_network(layers: LayerTrace) -> str:
    """Return the network as SVG, on a white card that is legible on light and dark pages."""
    rows = layers.rows
    column = longest_path(rows)
    position_of = {row: position for position, row in enumerate(column)} | {-1: -1}
    shortcuts = assign_lanes(find_shortcuts(rows, column), position_of)
    has_boxes = any(shortcut.rows for shortcut in shortcuts)
    lanes = 1 + max((shortcut.lane for shortcut in shortcuts), default=-1)
    lane_width = SIDE_BOX_WIDTH if has_boxes and lanes > 1 else LANE_WIDTH
    last_lane = SIDE_BOX_WIDTH * has_boxes + LANE_WIDTH * bool(lanes)
    beside = lane_width * max(0, lanes - 1) + last_lane
    width = max(LEFT_MARGIN + BOX_WIDTH + 20 + beside, MIN_WIDTH)
    height = TOP_MARGIN + ROW_HEIGHT * len(column) + 74
    size = f'width="{width}" height="{height}"'
    title = f"{layers.name} for {format_size(layers.image_shape)}"
    box = f'viewBox="0 0 {width} {height}" {size}'
    cost = f"{layers.parameters:,} parameters, {layers.macs:,} multiply-adds"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect {size} rx="6" fill="#fff"/>',
        f'<text class="strong" x="16" y="24">{escape(title)}</text>',
        f'<text class="muted" x="16" y="41">{cost}</text>',
        *_draw_stages(rows, column, width),
        *(_draw_shortcut(rows, shortcut, position_of, lane_width) for shortcut in shortcuts),
    ]
    start = TOP_MARGIN - (ROW_HEIGHT - BOX_HEIGHT) // 2  # of the line into the next layer
    for position, row in enumerate(column):
        y = _row_center(position)
        joins = rows[row].kind in JOIN_SYMBOLS
        radius = 8 if joins else BOX_HEIGHT // 2
        parts.append(f'<path d="M{_column_center()},{start}V{y - radius}"/>')
        parts.append((_join if joins else _layer_box)(rows[row], y))
        start = y + radius
    return "\n".join([*parts, *_legend(rows, shortcuts, height), "</svg>"]) + "\n"


def draw_networks(networks: Sequence[LayerTrace]) -> str:
    """Return networks side by side as one SVG, their first layers at the same height."""
    drawings = [draw_network(layers) for layers in networks]
    if len(drawings) == 1:
        return drawings[0]
    sizes = [re.search(r'width="(\d+)" height="(\d+)"', drawing) for drawing in drawings]
    widths = [int(size[1]) for size in sizes if size]
    height = max(int(size[2]) for size in sizes if size)
    lefts = [sum(widths[:number]) + GAP * number for number in range(len(widths))]
    size = f'width="{lefts[-1] + widths[-1]}" height="{height}"'
    placed = [
        drawing.replace("<svg ", f'<svg x="{left}" y="0" ', 1).rstrip()
        for left, drawing in zip(lefts, drawings, strict=True)
    ]
    title = " beside ".join(escape(layers.name) for layers in networks)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{title}</title>'
    return "\n".join([head, f'<rect {size} rx="6" fill="#fff"/>', *placed, "</svg>"]) + "\n"


def longest_path(rows: list[Layer]) -> list[int]:
    """Return the rows on the longest path from the image to the last row."""
    length: list[int] = []
    for row in rows:
        length.append(1 + max((length[source] for source in row.inputs if source >= 0), default=0))
    row_index, path = len(rows) - 1, []
    while row_index >= 0:
        path.append(row_index)
        sources = rows[row_index].inputs
        inputs = [(length[source] if source >= 0 else 0, source) for source in sources]
        row_index = max(inputs, default=(0, -1))[1]
    return path[::-1]


def find_shortcuts(rows: list[Layer], column: list[int]) -> list[ShortcutPath]:
    """Return every edge that is not in the column; rows beside the column form one path."""
    in_column = set(column)
    column_edges = set(zip([-1, *column], column, strict=False))
    users: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        for source in row.inputs:
            users.setdefault(source, []).append(number)
    shortcuts = []
    for number, row in enumerate(rows):
        for source in row.inputs:
            if number in in_column:
                if source in in_column | {-1} and (source, number) not in column_edges:
                    shortcuts.append(ShortcutPath(source, number, ()))
            elif source in in_column | {-1}:
                chain = [number]
                while len(users.get(chain[-1], [])) == 1 and users[chain[-1]][0] not in in_column:
                    chain.append(users[chain[-1]][0])
                ends = [user for user in users.get(chain[-1], []) if user in in_column]
                shortcuts += [ShortcutPath(source, end, tuple(chain)) for end in ends]
    return shortcuts


def assign_lanes(shortcuts: list[ShortcutPath], position_of: dict[int, int]) -> list[ShortcutPath]:
    """Return the paths, each in its first free lane; short paths come first and lie inside."""
    lanes: list[list[tuple[int, int]]] = []
    placed = []

    def span(shortcut: ShortcutPath) -> tuple[int, int]:
        return position_of[shortcut.first], position_of[shortcut.last]

    def by_length(shortcut: ShortcutPath) -> tuple[int, int]:
        low, high = span(shortcut)
        return high - low, low

    for shortcut in sorted(shortcuts, key=by_length):
        low, high = span(shortcut)
        free = [all(high <= a or b <= low for a, b in lane) for lane in lanes]
        lane = free.index(True) if True in free else len(lanes)
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((low, high))
        placed.append(ShortcutPath(shortcut.first, shortcut.last, shortcut.rows, lane))
    return placed


def _row_center(position: int) -> int:
    return TOP_MARGIN + ROW_HEIGHT * position + ROW_HEIGHT // 2


def _column_center() -> int:
    return LEFT_MARGIN + BOX_WIDTH // 2


def _draw_stages(rows: list[Layer], column: list[int], width: int) -> list[str]:
    """Draw the stages, every other one on a gray band: name, output size, parameters."""
    parts, position, first_row = [], 0, 0
    for number, (name, layers) in enumerate(_stages([rows[row] for row in column])):
        top, height = TOP_MARGIN + ROW_HEIGHT * position, ROW_HEIGHT * len(layers)
        if number % 2 == 0:
            size = f'width="{width - 16}" height="{height}"'
            parts.append(f'<rect class="band" x="8" y="{top}" {size} rx="4"/>')
        y = top + 13
        parts.append(f'<text class="strong" x="16" y="{y}">{escape(name)}</text>')
        lines = [format_size(layers[-1].output)] if name != format_size(layers[-1].output) else []
        end_row = column[position + len(layers) - 1] + 1
        # Layers beside the column are included.
        parameters = sum(row.parameters for row in rows[first_row:end_row])
        lines += [f"{parameters:,} parameters"] if parameters and len(layers) > 1 else []
        parts += [
            f'<text class="muted" x="16" y="{y + 14 * (n + 1)}">{line}</text>'
            for n, line in enumerate(lines)
        ]
        position, first_row = position + len(layers), end_row
    return parts


def _stages(layers: list[Layer]) -> list[tuple[str, list[Layer]]]:
    """Return the stages: layers by module name, `stages.1`, else by output size."""

    def by_name(layer: Layer) -> str:
        parts = layer.name.split(".")
        return ".".join(parts[:2] if len(parts) > 2 and parts[1].isdigit() else parts[:1])

    def by_output_size(layer: Layer) -> str:
        return format_size(layer.output[1:]) if len(layer.output) == 3 else "vector"

    stages = [(name, list(group)) for name, group in groupby(layers, by_name)]
    if 2 * len(stages) > len(layers):
        stages = [(name, list(group)) for name, group in groupby(layers, by_output_size)]
    return stages


def _label(layer: Layer) -> str:
    """Return a label such as `3x3 conv, 64, /2`."""
    kernel = ""
    if layer.kernel and len(set(layer.kernel)) == 1:
        kernel = f"{format_square_size(layer.kernel)}x{format_square_size(layer.kernel)} "
    kernel = kernel or (f"{format_size(layer.kernel)} " if layer.kernel else "")
    kind, _, detail = layer.kind.partition(", ")
    has_maps = layer.layer_parameters or layer.kind == "pad"
    parts = [kernel + kind, str(layer.output[0]) if has_maps else "", detail]
    if layer.stride and max(layer.stride) > 1:
        parts.append(f"/{format_square_size(layer.stride)}")
    return ", ".join(part for part in parts if part)


def _tooltip(layer: Layer) -> str:
    """Return a tooltip with all values of the layer's table row."""
    field = ""
    if layer.receptive_field:
        field = f", receptive field {format_square_size(layer.receptive_field.size)}"
    operations = ", then ".join([_label(layer), *layer.followed_by])
    summary = f"{layer.name}: {operations}; output {format_size(layer.output)}"
    return (
        f"<title>{escape(summary)}; {layer.parameters:,} parameters, {layer.macs:,} "
        f"multiply-adds{field}</title>"
    )


def _box(layer: Layer, x: int, y: int, width: int, name: str) -> str:
    if layer.stride is not None and max(layer.stride) > 1:
        name += " strided"
    elif not layer.layer_parameters:
        name += " bare"
    then = ""
    if layer.followed_by and len(layer.followed_by) < 4:
        then = " " + ", ".join(layer.followed_by)
    muted = ""
    if then and len(_label(layer) + then) < 40:
        muted = f'<tspan class="muted">{escape(then)}</tspan>'
    return (
        f'<g class="{name}">{_tooltip(layer)}<rect x="{x}" y="{y - BOX_HEIGHT // 2}" '
        f'width="{width}" height="{BOX_HEIGHT}" rx="4"/>'
        f'<text class="mid" x="{x + width // 2}" '
        f'y="{y + 4}">{escape(_label(layer))}{muted}</text></g>'
    )


def _layer_box(layer: Layer, y: int) -> str:
    return _box(layer, LEFT_MARGIN, y, BOX_WIDTH, "layer")


def _join(layer: Layer, y: int) -> str:
    labels = [f"{layer.output[0]} maps"] if layer.kind == "concatenate" else []
    note = ", ".join([*labels, *layer.followed_by[:3]])
    return (
        f'<g class="join">{_tooltip(layer)}<circle cx="{_column_center()}" cy="{y}" r="8"/>'
        f'<text class="mid" x="{_column_center()}" y="{y + 4}">{JOIN_SYMBOLS[layer.kind]}</text>'
        f'<text class="muted end" x="{_column_center() - 16}" y="{y + 4}">{escape(note)}</text></g>'
    )


def _draw_shortcut(
    rows: list[Layer], shortcut: ShortcutPath, position_of: dict[int, int], lane_width: int
) -> str:
    start = _row_center(position_of[shortcut.first]) + ROW_HEIGHT // 2  # between two boxes
    end = _row_center(position_of[shortcut.last])
    right = LEFT_MARGIN + BOX_WIDTH + 20 + lane_width * shortcut.lane
    last = rows[shortcut.last]
    edge = _column_center() + 8 if last.kind in JOIN_SYMBOLS else LEFT_MARGIN + BOX_WIDTH
    changes = shortcut.first >= 0 and rows[shortcut.first].output != last.output
    name = "shortcut changes" if changes and last.kind != "concatenate" else "shortcut"
    radius = 7
    line = (
        f'<path class="{name}" d="M{_column_center()},{start}H{right - radius}q{radius},0 '
        f"{radius},{radius}"
        f'V{end - radius}q0,{radius} {-radius},{radius}H{edge}"/>'
        f'<path class="shortcut" d="M{edge + 6},{end - 4}l-6,4l6,4"/>'
    )
    gap = (end - start) / (len(shortcut.rows) + 1)
    boxes = [
        _box(rows[row], right - 12, round(start + gap * (index + 1)), SIDE_BOX_WIDTH - 16, "side")
        for index, row in enumerate(shortcut.rows)
    ]
    return "\n".join([line, *boxes])


def _legend(rows: list[Layer], shortcuts: list[ShortcutPath], height: int) -> list[str]:
    """Return the legend for the marks that occur in the drawing."""
    kinds = {row.kind for row in rows}
    joins = [f"{sign} {kind}" for kind, sign in JOIN_SYMBOLS.items() if kind in kinds]
    lines = [
        "A box: window, kind, number of output maps, /stride; darker if the stride is above 1. "
        + ", ".join(joins)
    ]
    if shortcuts:
        text = "Orange: shortcuts; dashed where they change the size or the number of maps"
        boxes = ", with a box where they have layers" * any(path.rows for path in shortcuts)
        lines.append(f"{text}{boxes}.")
    return [
        f'<text class="muted" x="16" y="{height - 40 + 16 * n}">{line}</text>'
        for n, line in enumerate(lines)
    ]
