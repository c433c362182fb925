"""Scalars of TensorBoard event files, read without TensorBoard.

An event file is a sequence of records (TFRecord): the length, its checksum, the bytes of an `Event`
message and their checksum. Only the fields of scalars are read: `Event.step` (2), `Event.summary`
(5), `Summary.value` (1) with `tag` (1), `simple_value` (2) or `tensor` (8).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from resnetlab.errors import InputError, input_error, suggest
from resnetlab.imported_runs.raw_table import RUN_COLUMN, RawTable, Row, folder_sha256
from resnetlab.messages import format_count

EVENT_FILES = "*tfevents*"

STEP_COLUMN = "step"

MAX_CHECKED_BYTES = 65_536
"""Largest record whose checksum is computed; larger ones have images, which are not read."""

_FLOAT, _DOUBLE, _INT32, _INT64 = 1, 2, 3, 9
"""Types of a tensor with a scalar."""


class Scalar(NamedTuple):
    """Value of a tag at a step."""

    tag: str
    step: int
    value: float


@dataclass(frozen=True)
class _Message:
    """Fields of a protobuf message: numbers of fixed size as bytes, the others as integers."""

    fields: tuple[tuple[int, int | bytes], ...]

    def all(self, number: int) -> Iterator[int | bytes]:
        return (value for key, value in self.fields if key == number)

    def last(self, number: int, default: int | bytes = b"") -> int | bytes:
        return next(reversed([*self.all(number)]), default)


def read_event_folder(folder: Path, tag: str = "") -> RawTable:
    """Read the scalars of a tag from all event files below a folder. Each of its folders is a run.

    Args:
        folder: Folder of event files.
        tag: Tag of the scalar; empty if there is only one.

    Raises:
        InputError: A file is damaged, or no run has the tag.
    """
    paths = sorted(path for path in folder.rglob(EVENT_FILES) if path.is_file())
    by_run: dict[str, list[Scalar]] = {}
    incomplete = 0
    for path in paths:
        name = path.parent.relative_to(folder).as_posix()
        scalars, complete = read_scalars(path)
        by_run.setdefault(name if name != "." else folder.resolve().name, []).extend(scalars)
        incomplete += not complete
    tags = sorted({scalar.tag for scalars in by_run.values() for scalar in scalars})
    chosen = choose_metric(str(folder), tag, tags)
    rows = []
    for run, scalars in by_run.items():
        # A run that was restarted writes a step again: the last value counts, as in TensorBoard.
        curve = {scalar.step: scalar.value for scalar in scalars if scalar.tag == chosen}
        points: list[tuple[object, object]] = [*sorted(curve.items())] or [(None, None)]
        rows += [
            Row(f"run {run}", {RUN_COLUMN: run, STEP_COLUMN: step, chosen: value}, run)
            for step, value in points
        ]
    files, runs = format_count(len(paths), "file"), format_count(len(by_run), "run")
    reading = [f"TensorBoard event files: {files} of {runs}, tag {chosen}."]
    if incomplete:
        reading.append(
            f"{incomplete} of the files end within a record, as those of a killed run do."
        )
    return RawTable(
        where=str(folder),
        columns=(RUN_COLUMN, STEP_COLUMN, chosen),
        rows=tuple(rows),
        files=folder_sha256(folder, paths),
        reading=tuple(reading),
        value_column=chosen,
        epoch_column=STEP_COLUMN,
    )


def choose_metric(where: str, name: str, known: list[str]) -> str:
    """Return the metric with a name, or the only one.

    Raises InputError if there is none or there are several.
    """
    if name in known:
        return name
    if not name and len(known) == 1:
        return known[0]
    if not known:
        raise input_error(where, "no scalars in it", "give a folder whose runs wrote scalars")
    fix = suggest(name, known) or f"--value {known[0]}"
    message = "no such metric" if name else "several metrics"
    raise input_error(where, message, fix, field="--value", got=name, allowed=", ".join(known))


def read_scalars(path: Path) -> tuple[list[Scalar], bool]:
    """Return the scalars of an event file, and whether the file ends with a complete record.

    Raises InputError if a checksum does not fit.
    """
    content, start = path.read_bytes(), 0
    scalars: list[Scalar] = []
    while start < len(content):
        head = content[start : start + 12]
        if len(head) < 12:
            return scalars, False
        (length,) = struct.unpack_from("<Q", head)
        if struct.unpack_from("<I", head, 8)[0] != masked_crc32c(head[:8]):
            raise _damaged(path, start)
        end = start + 12 + length
        data = content[start + 12 : end]
        if end + 4 > len(content):
            return scalars, False
        (checksum,) = struct.unpack_from("<I", content, end)
        if length <= MAX_CHECKED_BYTES and checksum != masked_crc32c(data):
            raise _damaged(path, start)
        try:
            scalars += _event_scalars(data)
        except (ValueError, IndexError, struct.error):
            raise _damaged(path, start) from None
        start = end + 4
    return scalars, True


def _damaged(path: Path, position: int) -> InputError:
    fix = "copy the file again, or move it out of the folder"
    return input_error(str(path), f"damaged at byte {position:,}: a checksum does not fit", fix)


def _event_scalars(data: bytes) -> Iterator[Scalar]:
    event = _parse(data)
    step = event.last(2, 0)
    summary = event.last(5)
    if not isinstance(step, int) or not isinstance(summary, bytes):
        raise ValueError("not an event")
    for value in _parse(summary).all(1):
        fields = _parse(_bytes(value))
        tag = _bytes(fields.last(1)).decode(errors="replace")
        number = _scalar_value(fields)
        if number is not None:
            yield Scalar(tag, _signed(step), number)


def _scalar_value(fields: _Message) -> float | None:
    """Return the number of a value: a float, or a tensor with one element. None for others."""
    simple = fields.last(2)
    if simple:
        return float(struct.unpack("<f", _bytes(simple))[0])
    if not (tensor_bytes := _bytes(fields.last(8))):
        return None
    tensor = _parse(tensor_bytes)
    kind = tensor.last(1, 0)
    layouts = {_FLOAT: ("<f", 5), _DOUBLE: ("<d", 6), _INT32: ("<i", 7), _INT64: ("<q", 10)}
    if kind not in layouts:
        return None
    layout, repeated = layouts[int(kind)]
    content = tensor.last(4) or tensor.last(repeated)
    if isinstance(content, int):
        return float(_signed(content))
    if kind in (_INT32, _INT64) and not tensor.last(4):
        return None
    return (
        float(struct.unpack(layout, content)[0])
        if len(content) == struct.calcsize(layout)
        else None
    )


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _parse(data: bytes) -> _Message:
    """Split a protobuf message into its fields. Raises ValueError if it is none."""
    fields: list[tuple[int, int | bytes]] = []
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(data, position)
            fields.append((number, value))
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("an unknown kind of field")
        if position + length > len(data):
            raise ValueError("a field longer than its message")
        fields.append((number, data[position : position + length]))
        position += length
    return _Message(tuple(fields))


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


@cache
def _crc_table() -> tuple[int, ...]:
    """Return the table of CRC-32C (Castagnoli), reflected polynomial 0x82F63B78."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def masked_crc32c(data: bytes) -> int:
    """Return the masked CRC-32C of bytes of a TFRecord: rotated by 15 bits, plus a constant.

    The format has it after the length of a record and after its data.
    """
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
