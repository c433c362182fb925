"""Check of the runs of a lesson: which run belongs to which exercise, and what its files show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnetlab.course.assignment import MIN_SIMILARITY, assign_runs
from resnetlab.course.findings import CheckFinding, CheckResult, failed, not_checked
from resnetlab.course.lessons import Exercise, Lesson
from resnetlab.course.reference_runs import accepted_data, reference_runs
from resnetlab.course.run_checks import (
    RunFiles,
    check_accuracy,
    check_configuration,
    check_run_files,
    check_scores,
    read_run,
)
from resnetlab.course.texts import Text
from resnetlab.errors import InputError, ResnetlabError, input_error
from resnetlab.messages import Notify, silent
from resnetlab.torch_check import has_torch
from resnetlab.translation import Language

if TYPE_CHECKING:
    from resnetlab.course.recompute import DatasetCache

ComputedChecks = Callable[[RunFiles], Iterable[CheckFinding]]

RANK: dict[CheckResult, int] = {"passed": 0, "unusual": 1, "not checked": 2, "failed": 3}
"""Results from the best to the worst."""


@dataclass(frozen=True)
class CheckedRun:
    """Exercise with its run and the findings about it."""

    exercise: Exercise
    folder: Path | None
    findings: tuple[CheckFinding, ...]
    run: RunFiles | None = None

    @property
    def result(self) -> CheckResult:
        """Worst result of the findings."""
        return max((finding.result for finding in self.findings), key=RANK.__getitem__)

    @property
    def test_accuracy_pct(self) -> float | None:
        """Recorded test accuracy in percent, or None without a run."""
        scores = self.run.result.test if self.run else None
        return None if scores is None else scores.top1_accuracy_pct

    @property
    def train_accuracy_pct(self) -> float | None:
        """Recorded train accuracy in percent, or None without a run."""
        scores = self.run.result.train if self.run else None
        return None if scores is None else scores.top1_accuracy_pct

    def with_finding(self, finding: CheckFinding) -> CheckedRun:
        """Return the run with one more finding."""
        return replace(self, findings=(*self.findings, finding))

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain values, for `--json`."""
        return {
            "exercise": self.exercise.name,
            "run": str(self.folder) if self.folder else None,
            "result": self.result,
            "train_accuracy_pct": self.train_accuracy_pct,
            "test_accuracy_pct": self.test_accuracy_pct,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_lesson(
    lesson: Lesson,
    folders: Sequence[Path],
    root: Path,
    *,
    seed: int | None = None,
    pack: Path | None = None,
    datasets: DatasetCache | None = None,
    data: str = "",
    notify: Notify = silent,
) -> list[CheckedRun]:
    """Check the runs of a lesson's exercises.

    Args:
        lesson: Lesson.
        folders: Folders of runs; none for all runs in `root`/runs.
        root: Folder of the student.
        seed: Seed of the student; None if the name is not known.
        pack: Folder of `resnetlab data pack` with the data sets of the class.
        datasets: Data sets that are open already.
        data: Present location of the data; empty for that of the exercise.
        notify: Function that gets a line about slow work.

    Returns:
        A checked run for each exercise, and one for each further folder in `folders`. A bonus
        exercise without a run has none.

    Raises:
        InputError: A folder is not that of a run.
    """
    for folder in folders:
        if not (folder / "run.json").is_file():
            raise input_error(
                str(folder), "not the folder of a run", "give a folder such as runs/NAME"
            )
    if not lesson.exercise:
        return []
    listed = folders or sorted(path.parent for path in (root / "runs").glob("*/run.json"))
    pairs = assign_runs(lesson.exercise, listed, 0 if folders else MIN_SIMILARITY)
    checked = []
    for exercise, path in pairs:
        if path is None:
            checked += [] if exercise.bonus else [_absent(exercise)]
            continue
        notify(f"checking {path}")
        computed = _computed_checks(exercise, root, datasets, data, pack, notify)
        checked.append(check_exercise_run(exercise, path, seed, pack, computed))
    return checked


def check_exercise_run(
    exercise: Exercise,
    folder: Path,
    seed: int | None,
    pack: Path | None,
    computed: ComputedChecks,
) -> CheckedRun:
    """Check one run of an exercise. A file that cannot be read is a failed check.

    Args:
        exercise: Exercise.
        folder: Folder of the run.
        seed: Seed of the student; None if the name is not known.
        pack: Folder of `resnetlab data pack` with the data sets of the class.
        computed: Function that yields the checks which need the data.
    """
    findings: list[CheckFinding] = []
    try:
        findings.append(check_run_files(folder))
        run = read_run(folder)
        if run is None:
            finding = failed("files", "the run is not finished", "l'essai n'est pas terminé")
            return CheckedRun(exercise, folder, (finding,))
        accepted = accepted_data(exercise.name, exercise.data, pack)
        findings += check_configuration(run, exercise, accepted, seed)
        findings.append(check_scores(run))
        if not _has_failed(findings, ("network", "data")):
            findings += computed(run)
            findings.append(check_accuracy(run, reference_runs().get(exercise.name)))
    except ResnetlabError as error:
        message = str(error).splitlines()[0]
        findings.append(failed("files", message, message))
        return CheckedRun(exercise, folder, tuple(findings))
    return CheckedRun(exercise, folder, tuple(findings), run)


def _has_failed(findings: Iterable[CheckFinding], checks: Sequence[str]) -> bool:
    return any(item.result == "failed" and item.check in checks for item in findings)


def _absent(exercise: Exercise) -> CheckedRun:
    finding = not_checked(
        "files",
        f"no run of this exercise; command: {exercise.command('SEED')}",
        f"aucun essai de cet exercice ; commande : {exercise.command('SEED')}",
    )
    return CheckedRun(exercise, None, (finding,))


def _computed_checks(
    exercise: Exercise,
    root: Path,
    datasets: DatasetCache | None,
    data: str,
    pack: Path | None,
    notify: Notify,
) -> ComputedChecks:
    """Return the function that computes logits and initial weights again, if the data are here.

    Without torch its findings are that nothing was computed.
    """
    if not has_torch():
        return _without_torch
    from resnetlab.course.recompute import DatasetCache, check_by_computation

    cache = datasets or DatasetCache(root / "cache", notify)
    source = data or _packed_file(exercise.data, pack) or exercise.data

    def compute(run: RunFiles) -> Iterable[CheckFinding]:
        config = replace(run.file.data, source=source)
        try:
            dataset = cache.load(config)
        except InputError as error:
            reason = str(error).splitlines()[0]
            return [
                not_checked(
                    "logits",
                    f"the data are not here: {reason}",
                    f"les données ne sont pas là : {reason}",
                )
            ]
        if dataset.identity.sha256 != run.file.run.data.sha256:
            return [
                failed(
                    "logits",
                    f"{source} here has the SHA-256 {dataset.identity.sha256[:12]}..., the run "
                    f"has another; give --data or --pack",
                    f"{source} a ici le SHA-256 {dataset.identity.sha256[:12]}..., l'essai en a "
                    f"un autre ; donnez --data ou --pack",
                )
            ]
        return list(check_by_computation(run, dataset))

    return compute


def _without_torch(_: RunFiles) -> Iterable[CheckFinding]:
    en = 'torch is not installed; pip install "resnetlab[train]"'
    fr = 'torch n\'est pas installé ; pip install "resnetlab[train]"'
    return [not_checked(check, en, fr) for check in ("logits", "initial weights")]


def _packed_file(data: str, pack: Path | None) -> str:
    """Return the file of a data set in a pack, or an empty string."""
    if pack is None:
        return ""
    folder = pack if pack.is_dir() else pack.parent
    path = folder / f"{data}.npz"
    return str(path) if path.is_file() else ""


def format_checks(checked: Sequence[CheckedRun], language: Language) -> list[str]:
    """Return the findings as lines, each run with a heading."""
    no_run = Text("no run", "pas d'essai").in_language(language)
    lines = []
    for item in checked:
        lines.append(f"{item.exercise.name}: {item.folder.name if item.folder else no_run}")
        lines += [finding.line(language) for finding in item.findings]
    return lines
