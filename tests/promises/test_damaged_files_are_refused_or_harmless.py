"""Promise: a file of a run, a checkpoint, a model or a report of which a bit changed or the end is
missing is refused by name, or its damage changes no result.
"""

from __future__ import annotations

import json
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl
from helpers.model_folders import add_confidence, write_model
from helpers.outcomes import outcome
from helpers.pictures import picture
from promises.conftest import ShortRun
from resnetlab.analysis import data_files
from resnetlab.deploy.predict import load_model
from resnetlab.errors import ResnetlabError
from resnetlab.runs.damage import check_run
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import encode
from resnetlab.studies.compare import compare

REPORT = Path(__file__).parents[2] / "results" / "fast"
"""A committed report."""

SELECTION = ("--set", "recipe.select=best")
"""Options with which a checkpoint also has the best weights so far."""


@dataclass(frozen=True)
class Kind:
    """Folder of files, and the function that reads it as a command does and returns the result."""

    name: str
    folder: Path
    read: Callable[[Path], Any]
    files: tuple[str, ...]


def without_clocks(value: Any) -> Any:
    """Return a value without its times."""
    if isinstance(value, dict):
        clocks = ("seconds", "time", "images_per_second", "folder")
        return {
            name: without_clocks(item) for name, item in value.items() if not name.endswith(clocks)
        }
    if isinstance(value, list | tuple):
        return [without_clocks(item) for item in value]
    return value


def read_finished(folder: Path) -> Any:
    """Read a finished run as `compare`, `predict` and a report do."""
    run_folder = RunFolder(folder)
    record = run_folder.record()
    assert record is not None
    probabilities = run_folder.read_test_probabilities()
    assert probabilities is not None
    compare(str(folder), str(folder))
    return encode(record), [array.tolist() for array in probabilities], read_model(folder)


def read_model(folder: Path) -> Any:
    """Read a model folder as `predict` does."""
    model = load_model(folder, device="cpu", threads=1)
    prediction = model.predict([picture(3, 30, 30, mode="L")], top=6)
    return encode(model.file), [
        (item.label, item.probability) for item in prediction[0].top_classes
    ]


def read_unfinished(folder: Path) -> Any:
    """Resume a run to its end."""
    rl.resume(folder)
    weights, lines, result = outcome(folder)
    run = json.loads((folder / "run.json").read_text())
    return weights, without_clocks(lines), without_clocks(result), run


def read_report(folder: Path) -> Any:
    """Read the values of a report as `study report` does."""
    return encode(data_files.load_study_data(folder))


def files_of(folder: Path) -> tuple[str, ...]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(name for name in names if not name.endswith("lock")))


@pytest.fixture(scope="module")
def kinds(
    tmp_path_factory: pytest.TempPathFactory,
    short_run: ShortRun,
) -> tuple[Kind, ...]:
    """Return a folder of each kind."""
    root = tmp_path_factory.mktemp("damaged")
    counted = short_run.train(root / "finished", *SELECTION, root=root / "finished")
    assert counted.code == 0, counted.output
    last = next(i for i, name in enumerate(counted.operations) if "result.json" in name)
    killed = short_run.train(
        root / "unfinished", *SELECTION, root=root / "unfinished", fault="kill before", at=last
    )
    assert killed.code == -9, killed.output
    finished = short_run.folder(root / "finished")
    unfinished = short_run.folder(root / "unfinished")
    for leftover in (*unfinished.glob(".*.part"), *unfinished.glob("*.safetensors")):
        leftover.unlink()
    assert len(list(unfinished.glob("checkpoints/*/best.safetensors"))) == 2
    model = add_confidence(write_model(root / "model" / "pets"))
    return (
        Kind("finished run", finished, read_finished, files_of(finished)),
        Kind("unfinished run", unfinished, read_unfinished, files_of(unfinished)),
        Kind("model", model, read_model, files_of(model)),
        Kind("report", REPORT, read_report, (*data_files.DATA_FILES[:3], "checksums.json")),
    )


def damages(kinds: tuple[Kind, ...], count: int) -> Iterator[tuple[Kind, str, bool, random.Random]]:
    """Yield a kind, a file and whether a bit of it flips, so that each file has as many turns."""
    turns = [(kind, name) for kind in kinds for name in kind.files]
    generator = random.Random(0)
    generator.shuffle(turns)
    for number in range(count):
        yield *turns[number % len(turns)], number // len(turns) % 3 != 2, generator


def test_flipped_bits_and_missing_ends_change_no_result(
    kinds: tuple[Kind, ...],
    tmp_path: Path,
    amount: Callable[[int], int],
    figures: Callable[[str], None],
) -> None:
    rights, counts = {}, Counter[str]()
    for kind in kinds:
        copy = tmp_path / "right" / "runs" / kind.folder.name
        shutil.copytree(kind.folder, copy)
        rights[kind.name] = without_clocks(kind.read(copy))
        shutil.rmtree(tmp_path / "right")
    for kind, name, flips, generator in damages(kinds, amount(1000)):
        copy = tmp_path / "copy" / "runs" / kind.folder.name
        shutil.copytree(kind.folder, copy)
        content = bytearray((copy / name).read_bytes())
        at = generator.randrange(len(content))
        where = f"{kind.name}, {name}, {'bit of' if flips else 'cut at'} byte {at} "
        if flips:
            content[at] ^= 1 << generator.randrange(8)
            where += repr(bytes(content[max(0, at - 30) : at + 10]))
        else:
            del content[at:]
        (copy / name).write_bytes(content)
        if "run" in kind.name:
            check_run(copy)  # `doctor` names damage and never fails
        try:
            value = without_clocks(kind.read(copy))
        except ResnetlabError as error:
            if not names_the_file(str(error), name):
                pytest.fail(f"{where}: {error}")
            counts["refused"] += 1
        except Exception:
            pytest.fail(f"{where}: {traceback.format_exc()}")
        else:
            assert value == rights[kind.name], where
            counts["without effect"] += 1
        shutil.rmtree(tmp_path / "copy")
    files = sum(len(kind.files) for kind in kinds)
    figures(
        f"{counts.total():,} damages of {files} files: {counts['refused']} refused by name, "
        f"{counts['without effect']} without effect, 0 other results, 0 tracebacks"
    )


def names_the_file(error: str, name: str) -> bool:
    """Return True if the error names the file or, for a checkpoint, its folder."""
    checkpoint = name.startswith("checkpoints/")
    names = (Path(name).name, "checksums.json", *(("checkpoints",) if checkpoint else ()))
    return any(item in error for item in names)
