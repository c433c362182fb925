"""Promise: a table or log that is cut off or damaged ends `judge` with one line and exit code 2, or
costs whole rows, which its counts show: it never gives a number that the file does not have.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.commands import check_error_lines, run_command
from helpers.runs_tables import A, B, long_rows
from imported_runs.test_damaged_tables import database
from resnetlab.analysis.study_data import StudyData
from resnetlab.errors import InputError
from resnetlab.imported_runs.declaration import declare
from resnetlab.imported_runs.imported_study import import_runs
from resnetlab.imported_runs.open_table import open_table
from resnetlab.imported_runs.text_tables import UNFINISHED_LINE

DAMAGES = 1000
"""Damages of each reader in full; half of them cut the file, half change a byte."""

EPOCHS = 4

NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)

CUT_NOTES = (UNFINISHED_LINE, "end within a record")
"""Sentences that name a file whose end is missing."""


@dataclass(frozen=True)
class Reader:
    """Reader with a whole source of it, and the file in the source that is damaged."""

    name: str
    source: Path
    file: Path


def accuracy(model: str, seed: int, epoch: int) -> float:
    return 0.9 + (0.02 if model == "B" else 0.0) + 0.003 * seed - 0.01 * (EPOCHS - epoch)


def write_board(folder: Path) -> None:
    """Write event files by TensorBoard's writer."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for model in "AB":
        for seed in range(2):
            writer = EventFileWriter(str(folder / model / f"seed{seed}"))
            for epoch in range(1, EPOCHS + 1):
                value = Summary.Value(tag="acc", simple_value=accuracy(model, seed, epoch))
                writer.add_event(Event(step=epoch, summary=Summary(value=[value])))
            writer.close()


def write_mlflow(folder: Path) -> None:
    """Write a file store in MLflow's layout."""
    for model in "AB":
        for seed in range(2):
            run = folder / "1" / f"{model}{seed}"
            for kind in ("metrics", "params", "tags"):
                (run / kind).mkdir(parents=True)
            (run / "meta.yaml").write_text(
                f"lifecycle_stage: active\nrun_name: {model}-s{seed}\nstatus: 3\n"
            )
            (run / "params" / "model").write_text(model)
            lines = [
                f"1700000000000 {accuracy(model, seed, e)} {e}\n" for e in range(1, EPOCHS + 1)
            ]
            (run / "metrics" / "acc").write_text("".join(lines))


def chart() -> str:
    """Return an export of a chart as Weights & Biases writes it."""
    runs = [f"{model}-s{seed} - acc" for model in "AB" for seed in range(2)]
    header = ["Step", *(f"{run}{edge}" for run in runs for edge in ("", "__MIN", "__MAX"))]
    lines = [",".join(f'"{name}"' for name in header)]
    for epoch in range(1, EPOCHS + 1):
        values = [accuracy(m, s, epoch) for m in "AB" for s in range(2) for _ in range(3)]
        lines.append(",".join(f'"{cell}"' for cell in (epoch, *values)))
    return "\n".join(lines) + "\n"


def readers(folder: Path) -> Iterator[Reader]:
    """Write a whole source for each reader."""
    json_rows = [
        f'{{"model": "{name}", "seed": {seed}, "accuracy": {value}}}\n'
        for name, values in (("A", A), ("B", B))
        for seed, value in enumerate(values)
    ]
    texts = {"CSV": long_rows(A=A, B=B), "JSON lines": "".join(json_rows), "W&B CSV": chart()}
    for name, text in texts.items():
        path = folder / name / ("runs.jsonl" if "JSON" in name else "runs.csv")
        path.parent.mkdir()
        path.write_text(text)
        yield Reader(name, path, path)
    board = folder / "TensorBoard"
    write_board(board)
    yield Reader("TensorBoard", board, next(iter(sorted(board.rglob("*tfevents*")))))
    store = folder / "MLflow files"
    write_mlflow(store)
    yield Reader("MLflow files", store, store / "1" / "A0" / "metrics" / "acc")
    path = folder / "mlflow.db"
    path.write_bytes(database(folder))
    yield Reader("MLflow SQLite", path, path)


def read(source: Path) -> StudyData:
    declared = declare(claims=()) if source.is_file() else declare(condition=())
    return import_runs(open_table(source), declared)


Point = tuple[str, float]


def points(study_data: StudyData) -> set[Point]:
    """Return each number that was read, with its condition."""
    values = {(row.condition, row.value) for row in study_data.rows if row.value is not None}
    curve = study_data.curve_points
    return values | {(p.condition, p.value) for p in curve if p.value is not None}


def numbers_in(content: bytes) -> set[float]:
    """Return every number that a text has, as it is and in percent."""
    texts = NUMBER.findall(content.decode(errors="replace"))
    values = {float(text) for text in texts}
    return {round(factor * value, 9) for value in values for factor in (1, 100)}


def damaged(content: bytes, number: int, generator: random.Random) -> tuple[str, bytes]:
    if number % 2:
        return "cut off", content[: generator.randrange(len(content))]
    position = generator.randrange(len(content))
    other = bytes([generator.choice([k for k in range(256) if k != content[position]])])
    return "changed", content[:position] + other + content[position + 1 :]


def outcome(reader: Reader, copy: Path, kind: str, content: bytes, expected: set[Point]) -> str:
    """Damage the copy, read it, check the promise, and return what became of it."""
    file = copy if reader.source.is_file() else copy / reader.file.relative_to(reader.source)
    file.write_bytes(content)
    try:
        study_data = read(copy)
    except InputError as error:
        lines = str(error).splitlines()
        assert len(lines) == 1, lines
        assert "Fix: " in lines[0]
        return "refused"
    imported = study_data.study.imported
    assert imported is not None
    values = points(study_data)
    if values == expected:
        return "without effect"
    if any(note in sentence for sentence in imported.reading for note in CUT_NOTES):
        return "named as cut off"
    if values < expected or (kind == "cut off" and not values):
        return "fewer numbers"
    assert kind == "changed", (kind, values - expected)
    assert reader.name != "TensorBoard", "its checksums find every change"
    if reader.name != "MLflow SQLite":
        # A damaged number may change the unit in which all others are shown.
        allowed = numbers_in(content) | {round(value / 100, 9) for _, value in expected}
        strange = [p for p in values - expected if round(p[1], 9) not in allowed]
        assert not strange, (content, strange)
    return "other text, read as it is"


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_source_is_refused_or_gives_only_numbers_that_the_source_contains(
    tmp_path: Path,
    number: int,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    reader = list(readers(tmp_path))[number]
    expected, content = points(read(reader.source)), reader.file.read_bytes()
    assert expected
    copy = tmp_path / "copy" / reader.source.name
    copy.parent.mkdir()
    copier = shutil.copytree if reader.source.is_dir() else shutil.copy
    copier(reader.source, copy)
    generator = random.Random(20)
    counts: Counter[str] = Counter()
    commands = 0
    for trial in range(amount(DAMAGES)):
        kind, bytes_ = damaged(content, trial, generator)
        result = outcome(reader, copy, kind, bytes_, expected)
        counts[result] += 1
        if result == "refused" and commands < 10:
            ended = run_command("judge", copy, folder=tmp_path)
            check_error_lines(ended)
            assert ended.errors.count("resnetlab: error: ") == 1
            commands += 1
    assert counts["refused"]
    parts = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    figures(f"{reader.name}: {counts.total():,} damages: {parts}")


def test_hostile_tables_are_refused_in_one_line(tmp_path: Path) -> None:
    texts = {
        "deep.jsonl": "[" * 100_000,
        "number.csv": f"model,seed,accuracy\nA,0,{'9' * 5000}\nA,1,x\n",
        "zero.csv": "model,seed,accuracy\nA,0,\0\n",
        "wide.csv": ",".join(["x"] * 2000) + "\n",
        "control.csv": "model,seed,accuracy\n\x1b[31m,0,a\n",
        "quote.csv": 'model,seed,accuracy\n"A,0,91\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        ended = run_command("judge", name, folder=tmp_path)
        check_error_lines(ended)
        assert ended.errors.count("resnetlab: error: ") == 1, name
        assert "\x1b" not in ended.errors
