"""Public Python API: load, run and report studies, train and resume single runs.

Each command of the command line calls one of these functions.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.interim import next_seed_counts, with_looks
from resnetlab.analysis.study_data import collect
from resnetlab.bundle.licenses import check_commercial_use, find_license
from resnetlab.data.config import DataConfig
from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, Tta
from resnetlab.data.sources import SOURCE_NAMES
from resnetlab.errors import Problem, ResnetlabError, input_error
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.messages import ItemCallback, Notify, silent
from resnetlab.models.configs import ModelConfig
from resnetlab.models.flops import model_cost
from resnetlab.recipes.finetune import AnyRecipe
from resnetlab.recipes.numerics import Placement
from resnetlab.reports.render.latex import write_latex
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import write
from resnetlab.runs.config import RunConfig, run_id
from resnetlab.runs.directory import RunDirectory
from resnetlab.runs.records import RunRecord
from resnetlab.schema import decode, encode
from resnetlab.shell import command_line, resume_command, strip_folders
from resnetlab.studies.executors.base import Executor, Job, RunEvent
from resnetlab.studies.executors.here import run_in_process
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study as read_study
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.plan import Plan, PlannedRun, StudyRecord, folder_name, make_plan
from resnetlab.studies.run import (
    execute_runs,
    load_data_facts,
    pending_runs,
    plan_study,
    read_plan,
    read_record,
    save_plan,
)
from resnetlab.studies.study import Study
from resnetlab.training.resolve import resolve_numerics

if TYPE_CHECKING:
    from resnetlab.deploy.inputs import LabeledImages, SplitName
    from resnetlab.deploy.predict import Classifier
    from resnetlab.deploy.results import EvaluationResult

MAX_REPORTED_MISTAKES = 24
"""Number of misclassified images on the page of an evaluation."""

REPORT_TIME_FRACTION = 0.02
"""Largest share of the time since the last partial report that writing the next one may take."""

ShouldStop = Callable[[], bool]


def _never() -> bool:
    return False


class UnfinishedError(ResnetlabError):
    """Error of a run that was started and has no result; `problems` give the reasons."""

    exit_code = 3


@dataclass(frozen=True)
class StudyOutcome:
    """Outcome of a study: its runs, the answer to its question, and its report."""

    record: StudyRecord
    answer: str
    """Answer to the study's question, in one or two sentences."""
    report: Path
    """Path of the HTML report."""
    claims: tuple[dict[str, Any], ...] = ()
    """Text and verdict of each claim."""

    @property
    def finished(self) -> bool:
        """Return True if every planned run has a result."""
        return all(cell.state == "finished" for cell in self.record.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values, for `--json`."""
        states = [cell.state for cell in self.record.runs]
        return {
            "study": self.record.study.name,
            "answer": self.answer,
            "report": str(self.report),
            "folder": str(self.report.parent),
            "runs": len(states),
            "finished": states.count("finished"),
            "missing": states.count("missing"),
            "claims": self.claims,
        }


@dataclass(frozen=True)
class LoadedStudy:
    """Study that was read and checked, ready to run: `rl.load_study("digits").run()`."""

    study: Study
    command: str = ""
    """Command line that repeats the study; the report prints it."""
    resume_command: str = ""
    """Command line that continues the study on this machine, with all paths."""

    def plan(
        self,
        output: str | Path = ".",
        notify: Notify = silent,
        executor: Executor | None = None,
        download: bool = True,
    ) -> Plan:
        """Open the data and list the runs of the study. Trains and writes nothing.

        Args:
            output: Folder that contains `runs` and `studies`.
            notify: Function that receives notes about the data.
            executor: Machines of the runs, which resolve `auto` in the numerics; None for this
                machine.
            download: Download data that are not on this machine. Otherwise the ids of their runs
                are not final.

        Returns:
            The plan: every run with its id.

        Raises:
            InputError: The data cannot be read, or a network does not fit them.
        """
        return plan_study(
            self.study,
            Path(output),
            executor or _local_executor(output),
            notify,
            self.command,
            resume_command=_with_output(self.resume_command, output),
            download=download,
        )

    def plan_rounds(
        self,
        output: str | Path = ".",
        notify: Notify = silent,
        max_seeds: int | None = None,
        executor: Executor | None = None,
        accept_license: bool = False,
    ) -> Iterator[Plan]:
        """Yield the plans of the study. The caller executes each plan before it asks for the next.

        Without `max_seeds` there is one plan. With it there is one plan for each interim analysis,
        at 3, 5 and 10 seeds per condition: only conditions of claims that are still undecided get
        more seeds.

        Args:
            output: Folder that contains `runs` and `studies`.
            notify: Function that receives notes about the data.
            max_seeds: Largest number of seeds per condition; None for the seeds of the study.
            executor: Machines of the runs; None for this machine.
            accept_license: Accept pre-trained weights whose license forbids commercial use.

        Raises:
            InputError: The data are invalid, or a license was not accepted.
        """
        if not accept_license:
            _check_licenses(self.study)
        if max_seeds is None:
            yield self.plan(output, notify, executor)
            return
        study = with_looks(self.study, max_seeds)
        counts: dict[str, int] | None = {
            condition.label: study.looks[0] for condition in study.conditions
        }
        while counts is not None:
            extra = f" --until-decided --max-seeds {max_seeds}"
            resume = _with_output(self.resume_command, output)
            plan = plan_study(
                study,
                Path(output),
                executor or _local_executor(output),
                notify,
                self.command + extra,
                counts,
                resume if "--until-decided" in resume else resume + extra,
            )
            yield plan
            record = read_record(plan, Path(output))
            if any(cell.state != "finished" and cell.state != "missing" for cell in record.runs):
                return
            counts = next_seed_counts(study, counts, analyze(collect(record)).verdicts)

    def execute(
        self,
        plan: Plan,
        output: str | Path = ".",
        executor: Executor | None = None,
        should_stop: ShouldStop = _never,
        pending: Sequence[PlannedRun] | None = None,
    ) -> Iterator[RunEvent]:
        """Execute the missing runs of a plan, yield their events, and keep the report up to date.

        A partial report follows each run, unless writing it would take more than 2 % of the time
        since the last one. Another thread writes it, so that no worker waits for its next run.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.
            executor: Machines of the runs; None for worker processes on this machine.
            should_stop: Function that is called between steps. If it returns True, each run writes
                a checkpoint and the iterator ends.
            pending: Missing runs of the plan, if the caller has determined them.

        Yields:
            Progress, ends and failures of the runs.

        Raises:
            ResourceError: The disk is full. Finished runs are not lost.
        """
        root, written, cost = Path(output), time.monotonic(), 0.0
        save_plan(plan, root)

        def timed() -> tuple[float, float]:
            start = time.monotonic()
            self.report(plan, root)
            return time.monotonic(), time.monotonic() - start

        with ThreadPoolExecutor(1) as pool:
            report: Future[tuple[float, float]] | None = None
            runs = pending_runs(plan, root) if pending is None else pending
            for event in execute_runs(runs, executor or _local_executor(root), should_stop):
                yield event
                if report is not None and report.done():
                    (written, cost), report = report.result(), None
                affordable = cost <= REPORT_TIME_FRACTION * (time.monotonic() - written)
                if event.kind in ("finished", "missing") and affordable and report is None:
                    report = pool.submit(timed)

    def report(self, plan: Plan, output: str | Path = ".") -> StudyOutcome:
        """Write the report of the runs that are finished now.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.

        Returns:
            The outcome: the state of every run, the answer, the claims and the path of the report.
        """
        root = Path(output)
        record = read_record(plan, root)
        evidence = collect(record, plan.command)
        report = build_report(evidence)
        folder = root / "studies" / folder_name(plan)
        if not (folder / "plan.json").exists():
            save_plan(plan, root)
        page = write(evidence, folder, report)
        claims = tuple(
            encode(verdict) | {"explanation": item.note}
            for verdict, item in zip(report.claim_verdicts, report.verdicts, strict=True)
        )
        return StudyOutcome(record, report.answer, page, claims)

    def latex(self, plan: Plan, output: str | Path = ".") -> Path:
        """Write the report as LaTeX with booktabs tables and PDF figures.

        Args:
            plan: Plan of this study.
            output: Folder that contains `runs` and `studies`.

        Returns:
            Path of the .tex file.
        """
        root = Path(output)
        return write_latex(
            collect(read_record(plan, root), plan.command), root / "studies" / folder_name(plan)
        )

    def run(
        self,
        output: str | Path = ".",
        *,
        workers: int = 0,
        should_stop: ShouldStop = _never,
        max_seeds: int | None = None,
        executor: Executor | None = None,
        accept_license: bool = False,
    ) -> StudyOutcome:
        """Run the missing runs of the study under `output`/runs and write its report under
        `output`/studies.

        Finished runs are read, not run again. An interrupted run continues from its last
        checkpoint.

        Args:
            output: Folder that contains `runs` and `studies`.
            workers: Number of processes on this machine; 0 chooses it from the number of cores.
            should_stop: Function that is called between steps; training ends with a checkpoint once
                it returns True.
            max_seeds: Largest number of seeds per condition. Seeds are added at interim analyses
                until every claim is decided.
            executor: Machines of the runs, instead of processes on this machine.
            accept_license: Accept pre-trained weights whose license forbids commercial use.

        Returns:
            The outcome: the state of every run, the answer, the claims and the path of the report.

        Raises:
            InputError: The study, its data or an option is invalid.
            ResourceError: The disk is full.
        """
        executor = executor or LocalExecutor(Path(output), Placement(workers=workers))
        for plan in self.plan_rounds(
            output, max_seeds=max_seeds, executor=executor, accept_license=accept_license
        ):
            for _ in self.execute(plan, output, executor, should_stop):
                pass
            outcome = self.report(plan, output)
        return outcome


def _local_executor(output: str | Path) -> Executor:
    return LocalExecutor(Path(output), Placement())


def load_study(
    source: str | Path,
    *,
    data: str | None = None,
    settings: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
) -> LoadedStudy:
    """Load a study by its catalog name (`digits`) or from a TOML file.

    Args:
        source: Name in the catalog, or path of a TOML file.
        data: Data that replace those of the study: a name, an .npz file or a folder.
        settings: Values for single fields, such as `"recipe.epochs=2"`.
        seeds: Seeds that replace those of the study; the number 3 stands for the seeds 0, 1 and 2.

    Returns:
        The study, ready to run.

    Raises:
        InputError: The study or an argument is invalid. The error lists every mistake.
    """
    numbers = (
        tuple(range(seeds))
        if isinstance(seeds, int)
        else tuple(seeds)
        if seeds is not None
        else None
    )
    study = read_study(source, Overrides(data=data, settings=tuple(settings), seeds=numbers))
    seed_words = []
    if numbers is not None:
        consecutive = numbers == tuple(range(len(numbers)))
        seed_words = ["--seeds", str(len(numbers)) if consecutive else ",".join(map(str, numbers))]

    def command(name: str, data: str | None, settings: Iterable[str]) -> str:
        words = ["resnetlab", "study", "run", name, *(["--data", data] if data else [])]
        words += [word for setting in settings for word in ("--set", setting)]
        return command_line([*words, *seed_words])

    # A report prints this command, and an absolute path of this machine does not help its reader.
    name = strip_folders(str(source)) if Path(source).is_absolute() else str(source)
    return LoadedStudy(
        study,
        command(name, strip_folders(data) if data else None, map(_without_folder, settings)),
        command(str(source), data, settings),
    )


def _with_output(command: str, output: str | Path) -> str:
    """Return a command with the option --output, unless it has it or does not need it."""
    if not command or Path(output) == Path() or "--output" in command:
        return command
    return f"{command} {command_line(['--output', str(output)])}"


def _check_licenses(study: Study) -> None:
    for condition in study.conditions:
        if condition.kind.uses_photos:
            check_commercial_use(condition.model, find_license(condition.model))


def _without_folder(setting: str) -> str:
    """Return a setting without the folder of the file that it names."""
    key, _, value = setting.partition("=")
    return (
        f"{key}={strip_folders(value.strip())}"
        if value.strip().endswith((".toml", ".csv"))
        else setting
    )


def open_study(folder: str | Path) -> tuple[LoadedStudy, Plan]:
    """Open a started study from the folder of its report.

    Args:
        folder: Folder of the report, for example `studies/digits`.

    Returns:
        The study and its plan.

    Raises:
        InputError: The folder contains no plan.
    """
    plan = read_plan(Path(folder))
    return LoadedStudy(plan.study, plan.command, plan.resume_command), plan


def plan_run(
    model: str | ModelConfig,
    data: str | DataConfig,
    recipe: str | AnyRecipe,
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    diagnostics: DiagnosticsConfig | None = None,
    output: str | Path = ".",
    notify: Notify = silent,
    download: bool = True,
) -> Plan:
    """Return the plan of one run on all cores of this machine; `train` has the same arguments.

    Without `download`, the id of a run whose data are not on this machine is not final.
    """
    parts = {"model": model, "data": data, "recipe": recipe}
    tables = {name: part if isinstance(part, str) else encode(part) for name, part in parts.items()}
    tables |= {
        "name": "train",
        "question": "",
        "seeds": [seed],
        "diagnostics": encode(diagnostics or DiagnosticsConfig()),
    }
    study = parse_study(tables, "", Overrides(settings=tuple(settings)))
    _check_licenses(study)
    return make_plan(
        study,
        load_data_facts(study, Path(output), notify, download=download),
        partial(resolve_numerics, single_run=True),
        model_cost,
    )


def train(
    model: str | ModelConfig,
    data: str | DataConfig,
    recipe: str | AnyRecipe = "cifar",
    *,
    seed: int = 0,
    settings: Sequence[str] = (),
    diagnostics: DiagnosticsConfig | None = None,
    output: str | Path = ".",
    should_stop: ShouldStop = _never,
) -> RunRecord:
    """Train one network and return its record: `rl.train("cifar-resnet20", "digits",
    "digits").result.test`.

    A finished run is read, not run again.

    Args:
        model: Name in the catalog, TOML file, or config of the network.
        data: Name of a data set, path of an .npz file or a folder, or a `DataConfig`.
        recipe: Name in the catalog, TOML file, or config of the training recipe.
        seed: Seed of the initial weights, the order of the images and the augmentation.
        settings: Values for single fields, such as `"recipe.epochs=2"` or
            `"numerics.precision=fp32"`.
        diagnostics: Measurements during and after training.
        output: Folder that contains `runs`.
        should_stop: Function that is called between steps; training ends with a checkpoint once it
            returns True.

    Returns:
        The record of the run: its config, its metrics by epoch and its result.

    Raises:
        InputError: An argument or the data are invalid.
        ResourceError: The disk is full.
        UnfinishedError: The run has no result.
    """
    plan = plan_run(
        model, data, recipe, seed=seed, settings=settings, diagnostics=diagnostics, output=output
    )
    return _run_job(Job(plan.runs[0].id, plan.runs[0].file), Path(output), should_stop)


def resume_job(
    folder: str | Path,
    *,
    from_step: int | None = None,
    data: str | None = None,
    epochs: int | None = None,
) -> tuple[Job, Path]:
    """Return the job that resumes the run in `folder`, and the output folder of the run.

    With another number of `epochs` it is the job of another run, from the start: the learning rate
    of each step depends on the length of the run. Raises InputError.
    """
    directory = RunDirectory(Path(folder))
    if not (directory.path / "run.json").exists():
        raise input_error(
            str(folder),
            "not a run's folder",
            "give a folder such as runs/digits-cifar-resnet56-s0-...",
        )
    file, root = directory.file(), directory.path.resolve().parent.parent
    if epochs is not None and epochs != file.run.recipe.epochs:
        run = encode(file.run)
        run["recipe"]["epochs"] = epochs
        file = replace(file, run=decode(RunConfig, run, str(folder)))
        directory, from_step = RunDirectory.find(root, run_id(file.run, file.data_name)), None
    finished = not directory.needs_work(file)
    if from_step is not None and finished:
        fix = resume_command(folder, "--epochs", str(2 * (file.run.recipe.epochs or 1)))
        what = "the run is finished, so it has no checkpoint to go on from"
        raise input_error(str(folder), what, f"for another run with more epochs: {fix}")
    source = data or file.data.source
    if not finished and source not in SOURCE_NAMES and not Path(source).exists():
        if data is not None or not (root / source).exists():
            fix = resume_command(folder, "--data", "PATH")
            raise input_error(
                str(folder),
                "its data are not in their place",
                f"{fix}, with their new path",
                got=source,
            )
        source = str(root / source)  # given from the folder of runs/; their hash is compared
    file = replace(file, data=replace(file.data, source=source))
    return Job(directory.path.name, file, from_step), root


def resume(
    folder: str | Path,
    *,
    from_step: int | None = None,
    data: str | None = None,
    should_stop: ShouldStop = _never,
) -> RunRecord:
    """Resume an interrupted run.

    Args:
        folder: Folder of the run.
        from_step: Step of the checkpoint to resume from; None for the last one, 0 for a new start.
        data: Present path of the data, if it has changed.
        should_stop: Function that is called between steps; training ends with a checkpoint once it
            returns True.

    Returns:
        The record of the run.

    Raises:
        InputError: The folder contains no run, or the data are invalid.
        ResourceError: The disk is full.
        UnfinishedError: The run has no result.
    """
    job, root = resume_job(folder, from_step=from_step, data=data)
    return _run_job(job, root, should_stop)


def _run_job(job: Job, root: Path, should_stop: ShouldStop) -> RunRecord:
    reasons = ["it was stopped"]

    def note_reason(event: RunEvent) -> None:
        if event.kind == "missing":
            reasons.append(event.reason)

    directory = RunDirectory.find(root, job.id)
    with _interrupt_as_stop() as interrupted:
        if directory.needs_work(job.file):
            run_in_process(
                job, root, Placement(), lambda: interrupted() or should_stop(), note_reason
            )
    record = directory.record()
    if record is None or record.result is None:
        if interrupted():
            raise KeyboardInterrupt
        path = str(directory.path)
        raise UnfinishedError(Problem(path, reasons[-1], resume_command(path)))
    return record


@contextlib.contextmanager
def _interrupt_as_stop() -> Iterator[ShouldStop]:
    """End training with a checkpoint at the first Ctrl-C, and at once at the second.

    Yields a function that returns True after the first one.
    """
    count = 0

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: count > 0
    finally:
        signal.signal(signal.SIGINT, previous)


def evaluate(
    model: Classifier,
    data: str,
    *,
    split: SplitName = "test",
    manifest: Path | None = None,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    cache: str | Path = "cache",
    out: str | Path | None = None,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> EvaluationResult:
    """Evaluate a trained network: `rl.evaluate(rl.load_model("pets"), "photos").top1`.

    Args:
        model: Network from `load_model`.
        data: Folder of photographs, an `.npz` file or a named data set.
        split: Split of the data to evaluate on.
        manifest: Manifest that defines the splits of a folder.
        tta: Test-time augmentation.
        batch_size: Number of photographs in a batch.
        cache: Folder of the manifest of a folder without a test split.
        out: Folder for a page with the most confident mistakes and its tables; None writes no page.
        notify: Function that gets a line about each step.
        on_item: Callback for the progress of long steps.

    Raises:
        InputError: The data are invalid, or the model lacks one of their classes.
    """
    from resnetlab.deploy.inputs import open_labeled_images

    labeled = open_labeled_images(data, split, Path(cache), notify, manifest_path=manifest)
    return evaluate_images(
        model, labeled, tta=tta, batch_size=batch_size, out=out, notify=notify, on_item=on_item
    )


def evaluate_images(
    model: Classifier,
    images: LabeledImages,
    *,
    tta: Tta = "none",
    batch_size: int = LOADER_BATCH_SIZE,
    out: str | Path | None = None,
    notify: Notify = silent,
    on_item: ItemCallback = silent,
) -> EvaluationResult:
    """Evaluate a trained network on labeled images that are already listed; see `evaluate`."""
    from resnetlab.deploy.evaluate import evaluate, predict_all
    from resnetlab.deploy.mistakes import draw_mistakes
    from resnetlab.reports import evaluation as page

    predictions = predict_all(model, images, tta=tta, batch_size=batch_size, on_item=on_item)
    result = evaluate(model, images, predictions, tta)
    if out is not None:
        mistakes = result.mistakes[:MAX_REPORTED_MISTAKES]
        drawings = draw_mistakes(model, mistakes, predictions, notify, on_item)
        uris = {
            name: page.MistakeImages(
                page.data_uri(drawing.image),
                page.data_uri(drawing.heatmap) if drawing.heatmap else "",
            )
            for name, drawing in drawings.items()
        }
        page.write(result, uris, Path(out))
    return result
