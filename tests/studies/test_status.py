"""The status of a study of many runs has the counts of the full reader, at a cost that is linear in
runs.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fabricate import fabricate

from resnetlab.analysis.collect import collect_study_data
from resnetlab.errors import InputError
from resnetlab.reports.study.assemble import build_report
from resnetlab.studies import status_index
from resnetlab.studies.execution import past_runs, read_plan, read_record
from resnetlab.studies.status import study_status
from resnetlab.studies.timing.forecast import forecast
from resnetlab.studies.timing.time_estimate import PastSpeeds


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the report of a study of fifty runs."""
    return fabricate(tmp_path_factory.mktemp("fifty"), 50)


@pytest.fixture(scope="module")
def two_hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("many"), 200)


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("eight"), 8)


@pytest.fixture
def few(eight: Path, tmp_path: Path) -> Path:
    """Return a copy of the eight runs, to be harmed."""
    shutil.copytree(eight.parents[1], tmp_path, dirs_exist_ok=True)
    return tmp_path / eight.relative_to(eight.parents[1])


def test_runs_in_every_state_have_the_counts_of_the_full_reader(few: Path) -> None:
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
    (runs[6] / "checksums.json").unlink()
    with (runs[5] / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, record = study_status(few, root), read_record(read_plan(few), root)
    careful: dict[str, Counter[str]] = {}
    for study_run in record.runs:
        result = study_run.record.result if study_run.record else None
        careful.setdefault(study_run.planned.condition, Counter())[
            result.status if result else study_run.state
        ] += 1
    assert status.counts == careful
    assert sum(careful.values(), Counter()) == {
        "trained": 2,
        "at chance": 1,
        "missing": 1,
        "running": 1,
        "waiting": 3,
    }
    assert (status.finished, status.planned) == (3, 8)
    assert status.command == "resnetlab study run fabricated.toml"


def test_an_unlocked_run_with_a_checkpoint_is_interrupted(few: Path) -> None:
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
    ("name", "text", "words"),
    [
        ("plan", "{", "plan.json: not JSON"),
        ("plan", "[]", "plan.json: not a table"),
        ("plan", '{"study": {}, "runs": []}', "plan.json: study.name: missing"),
        ("result", "{", "result.json: not JSON"),
        ("result", "{}", "result.json: schema: written by an older resnetlab"),
        (
            "result",
            '{"schema": 2, "status": "fine", "step": 1, "selected_step": 1}',
            "result.json: status: unknown value",
        ),
    ],
)
def test_a_damaged_file_is_reported_by_name_and_field(
    few: Path, name: str, text: str, words: str
) -> None:
    root = few.parents[1]
    path = (
        few / "plan.json"
        if name == "plan"
        else root / "runs" / read_plan(few).runs[0].id / "result.json"
    )
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        study_status(few, root)


def test_the_status_of_a_started_study_imports_no_library(fifty: Path) -> None:
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


def test_a_study_file_that_changed_since_its_start_is_planned_again(
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


NEVER, AT_ONCE = 10**18, 0
"""Ages in nanoseconds from which files are indexed."""


@pytest.mark.parametrize("min_age", [NEVER, AT_ONCE])
def test_the_work_of_a_status_is_proportional_to_the_number_of_runs(
    fifty: Path,
    two_hundred: Path,
    calls: Callable[[Callable[[], object]], int],
    monkeypatch: pytest.MonkeyPatch,
    min_age: int,
) -> None:
    """A cost in the square of the runs would be sixteen times."""
    monkeypatch.setattr(status_index, "MIN_AGE_NS", min_age)
    folders = fifty, two_hundred
    fewer, more = (
        calls(lambda folder=folder: study_status(folder, folder.parents[1])) for folder in folders
    )
    assert more < 5 * fewer


def test_the_work_of_a_report_and_of_a_plan_is_proportional_to_the_number_of_runs(
    fifty: Path, two_hundred: Path, calls: Callable[[Callable[[], object]], int]
) -> None:
    folders = fifty, two_hundred
    fewer, more = (calls(lambda folder=folder: weighed(folder)) for folder in folders)
    assert more < 5 * fewer
    fewer, more = (calls(expecting(folder)) for folder in folders)
    assert more < 5 * fewer


def weighed(folder: Path) -> None:
    """Read the runs and build all of a report but its figures and files."""
    build_report(collect_study_data(read_record(read_plan(folder), folder.parents[1])))


def expecting(folder: Path) -> Callable[[], object]:
    """Return the estimate of the time of a study, whose runs are read before."""
    plan, past = read_plan(folder), past_runs(folder.parents[1])
    record = read_record(plan, folder.parents[1])
    return lambda: forecast(plan, record, PastSpeeds(past), {run.id for run in plan.runs}, 1)


def test_each_file_of_a_run_is_read_a_fixed_number_of_times_and_not_again_for_a_status(
    fifty: Path, two_hundred: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = io.open
    paths: list[Path] = []

    def counting(file: Any, *values: Any, **options: Any) -> Any:
        paths.append(Path(file))
        return opened(file, *values, **options)

    def reads(action: Callable[[], object]) -> int:
        paths.clear()
        action()
        return sum("runs" in path.parts and path.name != "lock" for path in paths)

    monkeypatch.setattr(io, "open", counting)
    for folder, runs in ((fifty, 50), (two_hundred, 200)):
        root = folder.parents[1]
        monkeypatch.setattr(status_index, "MIN_AGE_NS", NEVER)
        assert reads(lambda: study_status(folder, root)) == 4 * runs  # noqa: B023
        assert reads(lambda: read_record(read_plan(folder), root)) == 9 * runs  # noqa: B023
        monkeypatch.setattr(status_index, "MIN_AGE_NS", AT_ONCE)
        study_status(folder, root)
        assert reads(lambda: study_status(folder, root)) == 0  # noqa: B023
        assert folder / "plan.json" not in paths


@pytest.fixture
def indexed(few: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Path]]:
    """Return a study of eight runs with an index, and the folders of its runs."""
    monkeypatch.setattr(status_index, "MIN_AGE_NS", AT_ONCE)
    assert study_status(few, few.parents[1]).finished == 8
    return few, [few.parents[1] / "runs" / run.id for run in read_plan(few).runs]


@pytest.mark.parametrize("name", ["result.json", "run.json", "checksums.json"])
def test_a_changed_file_of_an_indexed_run_is_detected_despite_equal_size_and_date(
    indexed: tuple[Path, list[Path]], name: str
) -> None:
    folder, runs = indexed
    path = runs[3] / name
    before, content = path.stat(), path.read_bytes()
    changed = content.replace(b"1", b"2")
    assert changed != content
    with path.open("r+b") as file:
        file.write(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="differs from its SHA-256"):
        study_status(folder, folder.parents[1])


def test_indexed_runs_that_were_removed_or_restarted_are_not_finished(
    indexed: tuple[Path, list[Path]],
) -> None:
    folder, runs = indexed
    shutil.rmtree(runs[0])
    (runs[1] / "result.json").unlink()
    (runs[2] / "run.json").unlink()
    for path in runs[3].iterdir():
        path.unlink()
    status = study_status(folder, folder.parents[1])
    assert sum(status.counts.values(), Counter()) == {"trained": 4, "waiting": 4}


def test_a_changed_plan_is_read_again(indexed: tuple[Path, list[Path]]) -> None:
    folder, _ = indexed
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"runs": plan["runs"][:5]}))
    assert study_status(folder, folder.parents[1]).planned == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("trained", "at chance"),
        lambda text: text[: len(text) // 2],
        lambda text: text[:0],
        lambda text: "\0" * len(text),
        lambda text: text.replace(": 1,", ": 2,"),
    ],
)
def test_a_damaged_index_is_built_again(
    indexed: tuple[Path, list[Path]], damage: Callable[[str], str]
) -> None:
    folder, _ = indexed
    (path,) = (folder.parents[1] / "cache" / "status").glob("*.json")
    text = path.read_text()
    path.write_text(damage(text))
    status = study_status(folder, folder.parents[1])
    assert sum(status.counts.values(), Counter()) == {"trained": 8}
    assert path.read_text() == text


def test_a_run_that_ended_less_than_two_seconds_ago_is_not_indexed(few: Path) -> None:
    """It might change within the same step of the clock of the file system."""
    study_status(few, few.parents[1])
    assert not list((few.parents[1] / "cache" / "status").glob("*.json"))


def test_the_status_of_a_read_only_folder_is_printed(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_index, "MIN_AGE_NS", AT_ONCE)
    (few.parents[1] / "cache").mkdir(exist_ok=True)
    (few.parents[1] / "cache" / "status").write_text("a file, where a folder should be")
    assert study_status(few, few.parents[1]).finished == 8
