"""`predict --watch` predicts each complete photograph once when it arrives, until Ctrl-C."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.commands import check_error_lines, run_command
from helpers.pictures import encoded, picture, save
from helpers.processes import environment
from resnetlab.deploy import watch_folders
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.sorting import UNDO_FILE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command in a process of its own, with its output in files."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(*words: object) -> subprocess.Popen[bytes]:
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            command = [sys.executable, "-m", "resnetlab", "predict", *map(str, words)]
            started.append(subprocess.Popen(command, stdout=out, stderr=err, env=environment()))
        wait_for(lambda: b"Ctrl-C ends it" in (tmp_path / "err").read_bytes())
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def test_each_complete_photograph_is_predicted_once_and_sorted(
    pets: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    inbox, into = tmp_path / "inbox", tmp_path / "sorted"
    save(inbox / "first.png", picture(0, 40, 33))
    process = start(pets, inbox, "--watch", "--csv", "--sort-into", into, "--write")
    content = encoded(picture(1, 300, 200), "BMP")
    (inbox / "deep").mkdir()
    with (inbox / "deep" / "slow.bmp").open("wb", buffering=0) as file:  # a slow copy
        for part in range(5):
            file.write(content[part * len(content) // 5 : (part + 1) * len(content) // 5])
            time.sleep(0.5)
    (inbox / "notes.txt").write_text("no photograph")
    (inbox / "broken.jpg").write_bytes(b"no photograph")
    save(inbox / "last.png", picture(2, 40, 33))

    def rows() -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO((tmp_path / "out").read_text())))

    names = {"first.png", "slow.bmp", "last.png", "broken.jpg"}
    wait_for(lambda: {Path(row["path"]).name for row in rows()} == names)
    time.sleep(2.5)  # two more looks find nothing new
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 3
    errors = (tmp_path / "err").read_text()
    assert "3 photographs predicted, 1 not an image" in errors
    assert "checkpoint" not in errors
    first = [row for row in rows() if row["rank"] == "1"]
    assert sorted(Path(row["path"]).name for row in first) == sorted(names - {"broken.jpg"})
    assert [row for row in rows() if row["error"]] == [row for row in rows() if not row["rank"]]
    paths = [row["path"] for row in first]
    for path, prediction in zip(paths, load_model(pets).predict(paths, top=1), strict=True):
        (row,) = (row for row in first if row["path"] == path)
        assert row["class"] == prediction.top_classes[0].label
    sorted_files = [p for p in into.rglob("*") if p.is_file() and p.name != UNDO_FILE]
    assert sorted(path.name for path in sorted_files) == sorted(names - {"broken.jpg"})
    for copy in sorted_files:
        (source,) = inbox.rglob(copy.name)
        assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_idle_watch_with_the_count(
    pets: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]], number: int
) -> None:
    (tmp_path / "inbox").mkdir()
    process = start(pets, tmp_path / "inbox", "--watch", "--json")
    process.send_signal(number)
    assert process.wait(10) == 0
    assert (tmp_path / "out").read_bytes() == b""
    assert "0 photographs predicted" in (tmp_path / "err").read_text()


def test_a_file_is_yielded_after_two_equal_states_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    looks = [{a: (5, 1)}, {a: (9, 1), b: (4, 1)}, {a: (9, 1), b: (4, 2)}, {a: (9, 1), b: (4, 2)}]
    looks += [{b: (4, 2)}, {a: (7, 8), b: (4, 2)}, {a: (7, 8), b: (4, 2)}]
    remaining = list(looks)
    monkeypatch.setattr(watch_folders, "POLL_SECONDS", 0)
    monkeypatch.setattr(watch_folders, "file_states", lambda *_: remaining.pop(0))
    batches = watch_folders.watch_folders([tmp_path], "no", lambda: not remaining)
    names = [[Path(image.name).name for image in batch] for batch in batches]
    assert names == [["a.png"], ["b.png"], ["a.png"]]


def test_an_impossible_watch_is_refused_in_one_line(
    pets: Path, photos: Path, tmp_path: Path
) -> None:
    for words, message in (
        ((photos / "test" / "cat" / "008.jpg",), "not a folder, which --watch needs"),
        ((photos, "--sheet", "a.html"), "leave one of them out"),
        ((photos, "--sort-into", tmp_path / "x"), "add --write"),
    ):
        ended = run_command("predict", pets, *words, "--watch", folder=tmp_path)
        check_error_lines(ended)
        assert message in ended.errors
    assert list(tmp_path.iterdir()) == []
