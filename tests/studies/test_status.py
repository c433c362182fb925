"""A look at a study of many runs: at once, as the careful reader counts, at a cost that is linear
in runs.
"""

from __future__ import annotations

import fcntl
import json
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from resnetlab.analysis.collect import collect
from resnetlab.errors import InputError
from resnetlab.reports.study.assemble import build_report
from resnetlab.studies.run import read_plan, read_record
from resnetlab.studies.status import study_status

FABRICATE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "fabricate.py"))[
    "fabricate"
]


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of a study of fifty runs."""
    folder: Path = FABRICATE(tmp_path_factory.mktemp("fifty"), 50)
    return folder


@pytest.fixture(scope="module")
def two_hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = FABRICATE(tmp_path_factory.mktemp("many"), 200)
    return folder


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = FABRICATE(tmp_path_factory.mktemp("eight"), 8)
    return folder


@pytest.fixture
def few(eight: Path, tmp_path: Path) -> Path:
    """A copy of the eight runs, to be harmed."""
    shutil.copytree(eight.parents[1], tmp_path, dirs_exist_ok=True)
    return tmp_path / eight.relative_to(eight.parents[1])


def test_runs_in_every_state_are_counted_as_the_careful_reader_counts_them(few: Path) -> None:
    root = few.parents[1]
    runs = [root / "runs" / run.id for run in read_plan(few).runs]
    for run in runs[1:6]:
        (run / "result.json").unlink()
    with (runs[2] / "provenance.jsonl").open("a") as file:
        file.write(json.dumps({"event": "gave up", "reason": "its process was killed"}) + "\n{torn")
    (runs[3] / "run.json").unlink()
    runs[4].rename(runs[4].with_name(runs[4].name.replace("digits-", "other-")))
    result = json.loads((runs[6] / "result.json").read_text())
    (runs[6] / "result.json").write_text(json.dumps(result | {"status": "at chance"}))
    with (runs[5] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found, record = study_status(few, root), read_record(read_plan(few), root)
    careful: dict[str, Counter[str]] = {}
    for cell in record.runs:
        result = cell.record.result if cell.record else None
        careful.setdefault(cell.run.condition, Counter())[
            result.status if result else cell.state
        ] += 1
    assert found.counts == careful
    assert sum(careful.values(), Counter()) == {
        "trained": 2,
        "at chance": 1,
        "missing": 1,
        "running": 1,
        "waiting": 3,
    }
    assert (found.finished, found.planned) == (3, 8)
    assert found.command == "resnetlab study run fabricated.toml"


def test_a_run_with_a_checkpoint_that_nobody_trains_is_interrupted(few: Path) -> None:
    root = few.parents[1]
    runs = [root / "runs" / run.id for run in read_plan(few).runs]
    for run, step in zip(runs[:3], ("100", "200", "300"), strict=True):
        (run / "result.json").unlink()
        (run / "checkpoints" / step).mkdir(parents=True)
        if step != "300":  # a checkpoint without a manifest is not complete
            (run / "checkpoints" / step / "MANIFEST.json").write_text("{}")
    with (runs[1] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = study_status(few, root)
    assert sum(status.counts.values(), Counter()) == {
        "trained": 5,
        "interrupted": 1,
        "running": 1,
        "waiting": 1,
    }
    assert status.finished == 5


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("plan", "{", "plan.json: not JSON"),
        ("plan", "[]", "plan.json: not a table"),
        ("plan", '{"study": {}, "runs": []}', "plan.json: study.name: missing"),
        ("result", "{", "result.json: not JSON"),
        ("result", "{}", "result.json: schema: missing"),
        (
            "result",
            '{"schema": 2, "status": "fine", "step": 1, "selected_step": 1}',
            "result.json: status: unknown value",
        ),
    ],
)
def test_a_damaged_file_is_reported_by_name_and_field(
    few: Path, place: str, text: str, words: str
) -> None:
    root = few.parents[1]
    path = (
        few / "plan.json"
        if place == "plan"
        else root / "runs" / read_plan(few).runs[0].id / "result.json"
    )
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        study_status(few, root)


def test_the_status_of_a_study_that_was_begun_loads_no_library_for_it(fifty: Path) -> None:
    code = (
        "import sys; from resnetlab.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('resnetlab.schema', 'numpy', 'torch', 'rich') if name in "
        "sys.modules])"
    )
    root = fifty.parents[1]
    for source in (str(fifty), str(root / "fabricated.toml")):
        words = [sys.executable, "-c", code, "study", "status", source, "--output", str(root)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-2:] == ["50 of 50 runs finished", "[]"], done.stderr


def test_a_study_file_that_was_changed_since_is_planned_anew(
    few: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from resnetlab.cli.main import main

    file = few.parents[1] / "fabricated.toml"
    (few / "report.json").write_text("{}")
    for seeds, counts in (("[0, 1, 2, 3]", "8 of 8"), ("[0, 1, 2]", "6 of 6")):
        if counts != "8 of 8":
            file.write_text(file.read_text().replace("[0, 1, 2, 3]", seeds))
        monkeypatch.setattr(
            "sys.argv", ["resnetlab", "study", "status", str(file), "--output", str(file.parent)]
        )
        with pytest.raises(SystemExit):
            main()
        assert f"{counts} runs finished" in capfd.readouterr().out


def test_four_times_the_runs_take_no_more_than_five_times_the_work(
    fifty: Path, two_hundred: Path, calls: Callable[[Callable[[], object]], int]
) -> None:
    """A cost in the square of the runs would be sixteen times."""
    folders = fifty, two_hundred
    fewer, more = (
        calls(lambda folder=folder: study_status(folder, folder.parents[1])) for folder in folders
    )
    assert more < 5 * fewer
    fewer, more = (calls(lambda folder=folder: weighed(folder)) for folder in folders)
    assert more < 5 * fewer


def weighed(folder: Path) -> None:
    """Read the runs and build all of a report but its figures and files."""
    build_report(collect(read_record(read_plan(folder), folder.parents[1])))
