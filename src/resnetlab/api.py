"""What a person calls from Python; each command of the command line calls one of these."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from resnetlab.bundle.licences import licence_of, refuse_unaccepted
from resnetlab.codec import encode
from resnetlab.data.spec import Data
from resnetlab.errors import Problem, ResnetlabError, mistake
from resnetlab.inspection.measured import Instruments
from resnetlab.models.count import cost
from resnetlab.models.spec import Model
from resnetlab.reports.build import assemble, weigh
from resnetlab.reports.evidence import gather
from resnetlab.reports.latex import write_latex
from resnetlab.reports.write import write
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.record import RunRecord
from resnetlab.shell import command_line, last_part, resume_command
from resnetlab.studies.backends.here import run_here
from resnetlab.studies.backends.jobs import Backend, Event, Job
from resnetlab.studies.backends.local import LocalBackend
from resnetlab.studies.looks import next_counts, with_looks
from resnetlab.studies.overrides import Overrides
from resnetlab.studies.plan import Plan, StudyRecord, expand, folder_name
from resnetlab.studies.run import opened_facts, plan_study, read_plan, read_record, run_plan
from resnetlab.studies.spec import Study, parse_study
from resnetlab.studies.spec import load_study as read_study
from resnetlab.training.numerics import Placement
from resnetlab.training.resolve import resolve
from resnetlab.training.tuning import AnyRecipe, Tuning

REPORT_SHARE = 0.02
"""Of the time since the last report, that writing a partial one may take."""

Stop = Callable[[], bool]


def _never() -> bool:
    return False


def _quiet(line: str) -> None:
    """Say nothing."""


class UnfinishedError(ResnetlabError):
    """A run was tried and has no result; `problems` say why."""

    exit_code = 3


@dataclass(frozen=True)
class Outcome:
    """What has come of a study."""

    record: StudyRecord
    answer: str
    """In a sentence or two."""
    report: Path
    """The page that was written."""
    claims: tuple[dict[str, Any], ...] = ()
    """What each claim says and its verdict."""

    @property
    def finished(self) -> bool:
        """Whether every planned run has a result."""
        return all(cell.state == "finished" for cell in self.record.cells)

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for `--json`."""
        states = [cell.state for cell in self.record.cells]
        return {
            "study": self.record.study.name, "answer": self.answer, "report": str(self.report),
            "folder": str(self.report.parent), "runs": len(states), "finished": states.count("finished"),
            "missing": states.count("missing"), "claims": self.claims,
        }  # fmt: skip


@dataclass(frozen=True)
class LoadedStudy:
    """A study that was read and checked: `rl.load_study("digits").run()`."""

    study: Study
    command: str = ""
    """What a person types to repeat it; the report says it."""

    def plan(
        self, output: str | Path = ".", say: Callable[[str], None] = _quiet, backend: Backend | None = None
    ) -> Plan:
        """Open the data and lay out the runs under `output`; trains nothing. Raises InputError."""
        return plan_study(self.study, Path(output), backend or _local(output), say, self.command)

    def stages(
        self, output: str | Path = ".", say: Callable[[str], None] = _quiet, most_seeds: int | None = None,
        backend: Backend | None = None, accept_licence: bool = False,
    ) -> Iterator[Plan]:  # fmt: skip
        """The plans of a study, one after another as the caller does them: one, or with `most_seeds` one a look.

        Pre-trained weights whose licence rules out commercial use need `accept_licence`.

        Looks are at 3, 5 and 10 seeds a condition; the arms of claims that a look left undecided get more. Raises
        InputError.
        """
        if not accept_licence:
            _refuse_unaccepted(self.study)
        if most_seeds is None:
            yield self.plan(output, say, backend)
            return
        study = with_looks(self.study, most_seeds)
        counts: dict[str, int] | None = {condition.label: study.looks[0] for condition in study.conditions}
        while counts is not None:
            command = f"{self.command} --until-decided --max-seeds {most_seeds}"
            plan = plan_study(study, Path(output), backend or _local(output), say, command, counts)
            yield plan
            record = read_record(plan, Path(output))
            if any(cell.state != "finished" and cell.state != "missing" for cell in record.cells):
                return
            counts = next_counts(study, counts, weigh(gather(record)).verdicts)

    def events(
        self, plan: Plan, output: str | Path = ".", backend: Backend | None = None, stop: Stop = _never
    ) -> Iterator[Event]:
        """Do what is missing of `plan`, tell of it as it happens, and keep the report up to date.

        A partial report follows each run, unless writing it would take more than a fiftieth of the time since the last;
        it is written aside, so that no worker waits for its next run. Raises ResourceError when the disk is full; what
        was finished stays.
        """
        root, written, cost = Path(output), time.monotonic(), 0.0

        def timed() -> tuple[float, float]:
            began = time.monotonic()
            self.report(plan, root)
            return time.monotonic(), time.monotonic() - began

        with ThreadPoolExecutor(1) as aside:
            report: Future[tuple[float, float]] | None = None
            for event in run_plan(plan, root, backend or _local(root), stop):
                yield event
                if report is not None and report.done():
                    (written, cost), report = report.result(), None
                due = event.kind in ("finished", "missing") and cost <= REPORT_SHARE * (time.monotonic() - written)
                if due and report is None:
                    report = aside.submit(timed)

    def report(self, plan: Plan, output: str | Path = ".") -> Outcome:
        """Write the report of what the runs' folders hold now, and give it."""
        root = Path(output)
        record = read_record(plan, root)
        evidence = gather(record, plan.command)
        page = write(evidence, root / "studies" / folder_name(plan))
        report = assemble(evidence)
        claims = tuple({"says": one.text, "verdict": one.badge, "in_full": one.note} for one in report.verdicts)
        return Outcome(record, report.answer, page, claims)

    def latex(self, plan: Plan, output: str | Path = ".") -> Path:
        """Write the report as LaTeX, with booktabs and figures as PDF, and give the path of its .tex file."""
        root = Path(output)
        return write_latex(gather(read_record(plan, root), plan.command), root / "studies" / folder_name(plan))

    def run(
        self, output: str | Path = ".", *, workers: int = 0, stop: Stop = _never, most_seeds: int | None = None,
        backend: Backend | None = None, accept_licence: bool = False,
    ) -> Outcome:  # fmt: skip
        """Do what is missing of the study under `output`/runs and write its report under `output`/studies.

        On `workers` processes of this machine, 0 for as many as the cores carry, or on `backend`. Finished runs are
        read, not run again; an interrupted one goes on from its checkpoint. With `most_seeds`, seeds are added at looks
        until every claim is decided. `accept_licence` as `stages` has it. Raises InputError and ResourceError.
        """
        backend = backend or LocalBackend(Path(output), Placement(workers=workers))
        for plan in self.stages(output, most_seeds=most_seeds, backend=backend, accept_licence=accept_licence):
            for _ in self.events(plan, output, backend, stop):
                pass
            outcome = self.report(plan, output)
        return outcome


def _local(output: str | Path) -> Backend:
    return LocalBackend(Path(output), Placement())


def load_study(
    source: str | Path,
    *,
    data: str | None = None,
    settings: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
) -> LoadedStudy:
    """The study of a catalog name (`digits`) or a TOML file, ready to run.

    `data` replaces its data (a name, an .npz, a folder), `settings` single fields (`"recipe.epochs=2"`), `seeds` its
    seeds (3 is 0, 1, 2). Raises InputError with every mistake.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds) if seeds is not None else None
    study = read_study(source, Overrides(data=data, settings=tuple(settings), seeds=chosen))
    # In a report, a path of this machine would say nothing to its reader.
    words = ["resnetlab", "study", "run", last_part(str(source)) if Path(source).is_absolute() else str(source)]
    words += ["--data", last_part(data)] if data else []
    words += [word for setting in settings for word in ("--set", _bare(setting))]
    if chosen is not None:
        words += ["--seeds", str(len(chosen)) if chosen == tuple(range(len(chosen))) else ",".join(map(str, chosen))]
    return LoadedStudy(study, command_line(words))


def _refuse_unaccepted(study: Study) -> None:
    for condition in study.conditions:
        if isinstance(condition.recipe, Tuning):
            refuse_unaccepted(condition.model, licence_of(condition.model))


def _bare(setting: str) -> str:
    """A setting without the folder of a file that it names."""
    key, _, value = setting.partition("=")
    return f"{key}={last_part(value.strip())}" if value.strip().endswith((".toml", ".csv")) else setting


def open_study(folder: str | Path) -> tuple[LoadedStudy, Plan]:
    """A study that was begun, from its report's folder. Raises InputError."""
    plan = read_plan(Path(folder))
    return LoadedStudy(plan.study, plan.command), plan


def plan_run(
    model: str | Model, data: str | Data, recipe: str | AnyRecipe, *, seed: int = 0, settings: Sequence[str] = (),
    instruments: Instruments | None = None, output: str | Path = ".", say: Callable[[str], None] = _quiet,
) -> Plan:  # fmt: skip
    """A plan of one run, which takes all cores and measures on its way what `instruments` ask. Raises InputError."""
    parts = {"model": model, "data": data, "recipe": recipe}
    tables = {name: part if isinstance(part, str) else encode(part) for name, part in parts.items()}
    tables |= {"name": "train", "question": "", "seeds": [seed], "instruments": encode(instruments or Instruments())}
    study = parse_study(tables, "", Overrides(settings=tuple(settings)))
    _refuse_unaccepted(study)
    return expand(study, opened_facts(study, Path(output), say), partial(resolve, single=True), cost)


def train(
    model: str | Model, data: str | Data, recipe: str | AnyRecipe = "cifar", *, seed: int = 0,
    settings: Sequence[str] = (), instruments: Instruments | None = None, output: str | Path = ".", stop: Stop = _never,
) -> RunRecord:  # fmt: skip
    """Train one network and give its record: `rl.train("cifar-resnet20", "digits", "digits").result.test`.

    `settings` change single fields, as `"recipe.epochs=2"` or `"numerics.precision=fp32"`. A finished run is read, not
    run again. Raises InputError, ResourceError, and UnfinishedError when it has no result.
    """
    plan = plan_run(model, data, recipe, seed=seed, settings=settings, instruments=instruments, output=output)
    return _train(Job(plan.runs[0].id, plan.runs[0].file), Path(output), stop)


def resume_job(folder: str | Path, *, from_step: int | None = None, data: str | None = None) -> tuple[Job, Path]:
    """The job that goes on with the run in `folder`, and the root that holds it. Raises InputError."""
    directory = RunDirectory(Path(folder))
    if not (directory.path / "run.json").exists():
        raise mistake(str(folder), "not a run's folder", "give a folder such as runs/digits-cifar-resnet56-s0-...")
    file = directory.file()
    if data is not None:
        file = replace(file, data=replace(file.data, source=data))
    return Job(directory.path.name, file, from_step), directory.path.resolve().parent.parent


def resume(
    folder: str | Path, *, from_step: int | None = None, data: str | None = None, stop: Stop = _never
) -> RunRecord:
    """Go on with the run in `folder` from its last checkpoint, or that of `from_step` (0: from the start).

    `data` says where the data lie now. Raises as `train` does.
    """
    job, root = resume_job(folder, from_step=from_step, data=data)
    return _train(job, root, stop)


def _train(job: Job, root: Path, stop: Stop) -> RunRecord:
    reasons = ["it was stopped"]

    def see(event: Event) -> None:
        if event.kind == "missing":
            reasons.append(event.reason)

    directory = RunDirectory.of(root, job.id)
    with _interrupt_as_stop() as interrupted:
        if directory.lacks(job.file):
            run_here(job, root, Placement(), lambda: interrupted() or stop(), see)
    record = directory.record()
    if record is None or record.result is None:
        if interrupted():
            raise KeyboardInterrupt
        where = str(directory.path)
        raise UnfinishedError(Problem(where, reasons[-1], resume_command(where)))
    return record


@contextlib.contextmanager
def _interrupt_as_stop() -> Iterator[Stop]:
    """Let a first Ctrl-C end training with a checkpoint; a second one ends it at once. Gives whether one came."""
    count = 0

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, take)
    try:
        yield lambda: count > 0
    finally:
        signal.signal(signal.SIGINT, before)
