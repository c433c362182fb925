"""Files are written whole or not at all, commits happen once, and no acknowledged line is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab import files
from resnetlab.errors import ResourceError

FAULTS = ["open", "write", "flush", "fsync", "rename", "fsync of the folder"]


class Broken:
    """A file one of whose calls fails."""

    def __init__(self, file: Any, call: str, error: OSError) -> None:
        self.file, self.call, self.error = file, call, error

    def __getattr__(self, name: str) -> Any:
        if name == self.call:
            self._fail()
        return getattr(self.file, name)

    def _fail(self) -> None:
        raise self.error

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.fixture
def break_call(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, OSError], None]:
    """Make one call of the system fail from now on."""

    def install(call: str, error: OSError) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        real_open, real_sync = open, os.fsync
        if call == "open":
            monkeypatch.setattr(files, "open", fail, raising=False)
        elif call in ("write", "flush"):
            monkeypatch.setattr(
                files,
                "open",
                lambda *a, **k: Broken(real_open(*a, **k), call, error),
                raising=False,
            )
        elif call == "fsync":
            monkeypatch.setattr(os, "fsync", fail)
        elif call == "rename":
            monkeypatch.setattr(Path, "replace", fail)
        else:
            monkeypatch.setattr(
                os,
                "fsync",
                lambda handle: (
                    fail() if stat.S_ISDIR(os.fstat(handle).st_mode) else real_sync(handle)
                ),
            )

    return install


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_files_are_read_back_unchanged(tmp_path: Path) -> None:
    files.write_text(tmp_path / "new" / "a.txt", "höhe\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "höhe\n".encode()
    with files.atomic_write(tmp_path / "b", "wb") as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"


def test_a_writer_that_raises_leaves_the_old_file_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half() -> None:
        with files.atomic_write(path) as file:
            file.write("new, but not al")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", FAULTS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_after_any_fault_the_file_is_old_or_new_and_a_full_disk_is_reported(
    tmp_path: Path, break_call: Callable[[str, OSError], None], call: str, number: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    break_call(call, OSError(number, os.strerror(number)))
    with pytest.raises(ResourceError) as caught:
        files.write_text(path, "new")
    assert path.read_text() == ("new" if call == "fsync of the folder" else "old")
    assert names(tmp_path) == ["a.txt"], "no temporary file stays"
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)
    fix = "check the disk" if number == errno.EIO else "free some space"
    assert f"Fix: {fix}, then give the same command again" in str(caught.value)


@pytest.mark.parametrize("call", [fault for fault in FAULTS if fault != "rename"])
def test_a_write_once_that_fails_leaves_no_partial_file(
    tmp_path: Path, break_call: Callable[[str, OSError], None], call: str
) -> None:
    path = tmp_path / "result.json"
    break_call(call, OSError(errno.ENOSPC, "full"))
    with pytest.raises(ResourceError):
        files.write_once(path, "whole")
    assert not path.exists() or path.read_text() == "whole"
    assert set(names(tmp_path)) <= {"result.json"}


def test_a_reader_never_reads_a_partly_written_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0" * 200_000)
    code = (
        "import sys; from pathlib import Path; from resnetlab.files import write_text\n"
        "for n in range(40): write_text(Path(sys.argv[1]), str(n % 10) * 200_000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
        while writer.poll() is None:
            content = path.read_bytes()
            assert len(content) == 200_000
            assert len(set(content)) == 1
    assert writer.returncode == 0


def test_a_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


RACER = """
import os, sys, time
from pathlib import Path
from resnetlab.files import write_once
place, me = Path(sys.argv[1]), sys.argv[2]
(place / f"ready-{me}").touch()
while not (place / "go").exists():
    time.sleep(0.001)
print([index for index in range(25) if write_once(place / f"result-{index}", me)])
"""


def test_eight_racing_processes_write_each_file_once_and_one_of_them_reports_it(
    tmp_path: Path,
) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), str(me)], stdout=subprocess.PIPE, text=True
        )
        for me in range(8)
    ]
    deadline = time.monotonic() + 60
    while sum((tmp_path / f"ready-{me}").exists() for me in range(8)) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / "go").touch()
    won = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sorted(index for numbers in won for index in numbers) == list(range(25))
    for me, numbers in enumerate(won):
        assert all((tmp_path / f"result-{index}").read_text() == str(me) for index in numbers)
    assert not list(tmp_path.glob(".*.part"))


def test_write_once_does_not_replace_the_first_text(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert files.write_once(path, "first")
    assert not files.write_once(path, "second")
    assert path.read_text() == "first"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_write_once_works_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A FAT stick says EINVAL on Windows and EPERM on Linux."""

    def no_links(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "result.json"
    assert files.write_once(path, "first")
    assert not files.write_once(path, "second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["result.json"]


def in_use(*_: object) -> None:
    """Refuse an operation as Windows does for a file that another program has open."""
    error = PermissionError(
        errno.EACCES, "The process cannot access the file because it is being used"
    )
    error.winerror = 32  # type: ignore[attr-defined]
    raise error


def test_a_file_that_another_program_has_open_briefly_is_replaced_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tries, real = tmp_path / "a.txt", [], Path.replace
    path.write_text("old")

    def refused_twice(source: Path, target: Path) -> Path:
        tries.append(target)
        if len(tries) <= 2:
            in_use()
        return real(source, target)

    monkeypatch.setattr(Path, "replace", refused_twice)
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert tries == [path] * 3


def test_a_file_that_stays_open_is_not_changed_and_the_error_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(files, "IN_USE_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(Path, "replace", in_use)
    with pytest.raises(PermissionError):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_forbidden_operation_is_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    def forbidden(*arguments: object) -> None:
        tries.append(arguments)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", forbidden)
    with pytest.raises(PermissionError):
        files.write_text(tmp_path / "a.txt", "new")
    assert len(tries) == 1


def test_a_file_is_closed_before_it_is_renamed_or_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows renames no file that is open."""
    opened: list[Any] = []
    real_open, real_link, real_replace = open, os.link, Path.replace

    def noted(*arguments: Any, **keywords: Any) -> Any:
        opened.append(real_open(*arguments, **keywords))
        return opened[-1]

    def linked(source: str, target: Path) -> None:
        assert all(file.closed for file in opened)
        real_link(source, target)

    def replaced(source: Path, target: Path) -> Path:
        assert all(file.closed for file in opened)
        return real_replace(source, target)

    monkeypatch.setattr(files, "open", noted, raising=False)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(Path, "replace", replaced)
    files.write_text(tmp_path / "a", "1")
    assert files.write_once(tmp_path / "b", "2")
    assert len(opened) == 2


def test_files_are_written_on_a_system_that_cannot_open_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refused(path: Any, *arguments: Any, **keywords: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refused)
    files.write_text(tmp_path / "a", "1")
    assert (tmp_path / "a").read_text() == "1"


def test_a_text_has_the_same_bytes_on_every_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "linesep", "\r\n")
    files.write_text(tmp_path / "a", "one\ntwo\n")
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


HOLDER = """
import sys, time
from pathlib import Path
from resnetlab.files import try_lock
with try_lock(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(600)
"""


def test_a_lock_excludes_other_processes_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not files.is_locked(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        assert files.is_locked(path)
        with files.try_lock(path) as acquired:
            assert not acquired
        assert files.is_locked(path), "who asked in vain took nothing away"
        holder.send_signal(signal.SIGKILL)
    assert path.exists()
    with files.try_lock(path) as acquired:
        assert acquired
        assert files.is_locked(path), "nor is it lent twice within a process"
    assert not files.is_locked(path)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
records = st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=4)


@given(
    before=st.lists(records, max_size=4),
    incomplete=records,
    cut=st.floats(0, 1),
    after=st.lists(records, min_size=1),
)
def test_an_incomplete_last_line_does_not_remove_an_acknowledged_line(
    before: list[dict[str, Any]],
    incomplete: dict[str, Any],
    cut: float,
    after: list[dict[str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        for record in before:
            files.append_jsonl(path, record)
        line = json.dumps(incomplete, ensure_ascii=False).encode(errors="backslashreplace")
        tail = line[: int(cut * len(line))]
        with path.open("ab") as file:
            file.write(tail)
        assert files.read_jsonl(path) in ([*before], [*before, incomplete])
        for record in after:
            files.append_jsonl(path, record)
        collected = [incomplete] if tail == line else []
        assert files.read_jsonl(path) == [*before, *collected, *after]


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\n\n",
        b"\0\0\0\n",
        b"[1, 2]\n",
        b"3\n",
        b"\xff\xfe\n",
        b'{"a": \n',
        b'{"a": 1}{"b": 2}\n',
    ],
)
def test_a_line_that_is_not_a_record_is_skipped(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + noise + b'{"step": 2}\n')
    assert files.read_jsonl(path) == [{"step": 1}, {"step": 2}]


def test_an_absent_file_has_no_records(tmp_path: Path) -> None:
    assert files.read_jsonl(tmp_path / "none.jsonl") == []


def test_a_name_that_is_not_utf8_is_read_back_unchanged(tmp_path: Path) -> None:
    record = {"path": os.fsdecode(b"caf\xe9.png")}
    files.append_jsonl(tmp_path / "a.jsonl", record)
    files.write_json(tmp_path / "a.json", record)
    assert files.read_jsonl(tmp_path / "a.jsonl") == [record]
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == record


def test_a_full_disk_while_appending_is_reported_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "metrics.jsonl"
    files.append_jsonl(path, {"step": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        files.append_jsonl(path, {"step": 2})
    assert files.read_jsonl(path)[0] == {"step": 1}


APPENDER = """
import itertools, sys
from pathlib import Path
from resnetlab.files import append_jsonl
for step in itertools.count(int(sys.argv[2])):
    append_jsonl(Path(sys.argv[1]), {"step": step, "words": "w" * 5000})
    print(step, flush=True)
"""


def test_killed_writers_lose_no_acknowledged_line(tmp_path: Path) -> None:
    path, acknowledged, first = tmp_path / "metrics.jsonl", [], 0
    for kill in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(path), str(first)], stdout=subprocess.PIPE
        )
        assert writer.stdout
        assert writer.stdout.readline().strip() == str(first).encode()
        time.sleep(0.003 * kill)
        writer.send_signal(signal.SIGKILL)
        messages = [
            first,
            *(
                int(line)
                for line in writer.stdout.read().splitlines(keepends=True)
                if line.endswith(b"\n")
            ),
        ]
        writer.stdout.close()
        writer.wait()
        acknowledged += messages
        first = messages[-1] + 1000
    steps = {record["step"] for record in files.read_jsonl(path)}
    assert set(acknowledged) <= steps


def test_sha256_equals_hashlib(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 100_000)
    assert files.sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
