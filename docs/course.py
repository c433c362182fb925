"""Write the course: its values, its reference runs, its pictures and its pages.

    python docs/course.py values            run the commands of values.toml, write values.json
    python docs/course.py train NAME        train the reference runs (no NAME: of all exercises)
    python docs/course.py references        write the reference runs of all exercises as CSV
    python docs/course.py pictures          draw the pictures of the lessons
    python docs/course.py pages             write docs/course from the catalog

Reference runs are trained in the folder .course (not committed), from a clean commit, with the
data in its .data folder. Their seeds are 0, 1, ...; a seed is never replaced. All of them take
about half an hour on two cores.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import sys
from contextlib import chdir, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from resnetlab.cli.main import build_command
from resnetlab.course.lessons import Exercise, lessons
from resnetlab.course.pages import index_page, lesson_page, page_name, solution_page
from resnetlab.course.reference_runs import COLUMNS, reference_runs
from resnetlab.course.report import first_loss
from resnetlab.course.values import declared_values, extract_number
from resnetlab.files import read_json, write_json, write_text
from resnetlab.runs.run_folder import RunFolder
from resnetlab.translation import LANGUAGES

ROOT = Path(__file__).resolve().parents[1]
CATALOG = ROOT / "src" / "resnetlab" / "catalog" / "course"
PAGES = ROOT / "docs" / "course"
WORK = ROOT / ".course"

REFERENCE_SEEDS = range(6)
"""Seeds of the reference runs, trained in this order."""
MIN_REFERENCE_RUNS = 3
"""Smallest number of reference runs of an exercise."""


built_command = cache(build_command)


def run_command(command: str) -> str:
    """Run a command of resnetlab in this process and return its standard output."""
    output = io.StringIO()
    with redirect_stdout(output):
        built_command()(shlex.split(command)[1:], prog_name="resnetlab", standalone_mode=False)
    return output.getvalue()


def json_of(source: str) -> Any:
    """Return the JSON that a command prints or a committed file has."""
    if source.startswith("resnetlab "):
        return json.loads(run_command(source))
    return read_json(ROOT / source)


def compute_values(skip_slow: bool = False) -> dict[str, float]:
    """Run the commands of all values, each once, in the folder of the repository."""
    printed: dict[str, Any] = {}
    numbers: dict[str, float] = {}
    with chdir(ROOT):
        for value in declared_values().values():
            if value.slow and skip_slow:
                continue
            source = value.command or value.file
            if source not in printed:
                printed[source] = json_of(source)
            number = extract_number(printed[source], value)
            numbers[value.name] = number - numbers[value.minus] if value.minus else number
    return numbers


def exercise_row(exercise: Exercise, seed: int, folder: Path) -> dict[str, Any]:
    """Return the row of a finished reference run."""
    record = RunFolder(folder).record()
    assert record is not None
    assert record.result is not None
    result, event = record.result, record.provenance[0]
    if event["dirty"] or not event["commit"]:
        raise SystemExit(f"{folder}: trained from files that are not committed")
    assert result.test is not None
    assert result.train is not None
    return {
        "exercise": exercise.name,
        "seed": seed,
        "run": record.id,
        "data": record.file.data_name,
        "data_sha256": record.file.run.data.sha256,
        "parameters": record.file.parameters,
        "status": result.status,
        "train_accuracy_pct": 100 - result.train.top1_error_pct,
        "test_accuracy_pct": 100 - result.test.top1_error_pct,
        "test_loss_nats": result.test.loss_nats,
        "first_loss_nats": first_loss(record.metrics),
        "train_seconds": round(result.train_seconds, 2),
        "processor": event["processor"],
        "torch": event["packages"]["torch"],
        "commit": event["commit"],
    }


def train_references(names: list[str]) -> None:
    """Train the missing reference runs of the exercises in `names` (none: all), seed by seed."""
    WORK.mkdir(exist_ok=True)
    with chdir(WORK):
        for seed in REFERENCE_SEEDS:
            for exercise in exercises(names):
                words = [*shlex.split(exercise.command(seed)), "--json", "--quiet"]
                printed = json.loads(run_command(shlex.join(words)))
                keys = ("test_accuracy_pct", "train_accuracy_pct", "train_seconds")
                line = " ".join(str(printed[key]) for key in keys)
                print(exercise.name, seed, line, file=sys.stderr, flush=True)


def exercises(names: list[str]) -> list[Exercise]:
    """Return the exercises in `names`, or all, in the order of the lessons."""
    listed = [exercise for lesson in lessons() for exercise in lesson.exercise]
    return [exercise for exercise in listed if not names or exercise.name in names]


def write_references() -> None:
    """Write the CSV of the finished reference runs of all exercises."""
    rows = []
    folders = sorted(path.parent for path in (WORK / "runs").glob("*/result.json"))
    for exercise in exercises([]):
        finished = []
        for seed in REFERENCE_SEEDS:
            found = [folder for folder in folders if is_run_of(exercise, seed, folder)]
            if not found:
                break  # a later seed would be a choice
            finished.append(exercise_row(exercise, seed, found[0]))
        if len(finished) < MIN_REFERENCE_RUNS:
            raise SystemExit(f"{exercise.name}: {len(finished)} finished runs")
        rows += finished
    output = io.StringIO()
    writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(CATALOG / "reference-runs.csv", output.getvalue())


def is_run_of(exercise: Exercise, seed: int, folder: Path) -> bool:
    """Return True if a folder has the run of an exercise with a seed."""
    run, protocol = RunFolder(folder).file().run, exercise.protocol
    same = (run.model, run.recipe) == (protocol.model, protocol.recipe)
    return same and run.seed == seed and run.data == protocol.data.identity(run.data.sha256)


def draw_pictures() -> None:
    """Draw the pictures of all lessons."""
    folder = PAGES / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with chdir(ROOT):
        for lesson in lessons():
            for picture in lesson.picture:
                run_command(picture.command.replace("{file}", str(folder / picture.file)))


def measured(result: str, number: str) -> dict[str, str] | None:
    """Return the answer of a committed result to a question, by language."""
    path = ROOT / "results" / result / "report.json"
    if not path.exists():
        return None
    answers = read_json(path, max_bytes=500_000_000)["answers"]
    found = [answer["measured"] for answer in answers if answer["number"]["en"] == number]
    return found[0] if found else None


def pages() -> dict[str, str]:
    """Return the text of each page by its path in docs/course."""
    texts = {}
    for language in LANGUAGES:
        texts[f"{language}/README.md"] = index_page(language)
        for lesson in lessons():
            texts[f"{language}/{page_name(lesson)}"] = lesson_page(lesson, language)
            path = f"solutions/{language}/{page_name(lesson)}"
            texts[path] = solution_page(lesson, language, measured)
    return texts


def main() -> None:
    """Run the step that the command line names."""
    step, *names = sys.argv[1:] or ["pages"]
    if step == "values":
        write_json(CATALOG / "values.json", compute_values())
    elif step == "train":
        os.environ.setdefault("RESNETLAB_OFFLINE", "1")
        train_references(names)
    elif step == "references":
        write_references()
    elif step == "pictures":
        draw_pictures()
    elif step == "pages":
        for path, text in pages().items():
            write_text(PAGES / path, text)
    else:
        raise SystemExit(__doc__)
    print(f"{step}: {len(reference_runs())} exercises with reference runs")


if __name__ == "__main__":
    main()
