"""`course check` and `course class` detect every planted fake and accept honest runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy import stats

from helpers.course import SHORT, lesson_of, run_folder, train_exercise
from resnetlab.checksums import renew_checksum
from resnetlab.course.check import CheckedRun, check_lesson
from resnetlab.course.classroom import read_class
from resnetlab.course.lessons import Exercise
from resnetlab.course.reference_runs import ReferenceRuns
from resnetlab.course.student import read_student, register_student, student_seed
from resnetlab.files import sha256
from resnetlab.runs.config import RunConfig
from resnetlab.schema import decode

pytestmark = pytest.mark.usefixtures("reference")


def checked(submission: Path, *folders: Path, exercise: Exercise = SHORT) -> CheckedRun:
    student = read_student(submission)
    assert student is not None
    (result,) = check_lesson(lesson_of(exercise), folders, submission, seed=student.seed)
    return result


def failures(run: CheckedRun) -> set[str]:
    return {finding.check for finding in run.findings if finding.result == "failed"}


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def edit_result(folder: Path, **changes: Any) -> None:
    """Edit the test scores, and the checksum too, as a careful cheat would."""
    edit_json(folder / "result.json", lambda table: table["test"].update(changes))
    renew_checksum(folder, "result.json")


def use_weights(folder: Path, other: Path) -> None:
    """Put the weights of another run into a run, with all checksums that name them."""
    shutil.copy(other / "weights.safetensors", folder / "weights.safetensors")
    digest = sha256(folder / "weights.safetensors")
    edit_json(folder / "result.json", lambda table: table.update(weights_sha256=digest))
    for name in ("weights.safetensors", "result.json"):
        renew_checksum(folder, name)


def relabel(folder: Path, seed: int) -> Path:
    """Give a run another seed, in run.json and in the name of its folder."""
    path = folder / "run.json"
    edit_json(path, lambda table: table["run"].update(seed=seed))
    run: RunConfig = decode(RunConfig, json.loads(path.read_text())["run"], "run")
    renew_checksum(folder, "run.json")
    name = folder.name.rsplit("-s", 1)[0]
    return folder.rename(folder.with_name(f"{name}-s{seed}-{run.hash}"))


def test_an_honest_run_passes_every_check(submissions: Path) -> None:
    run = checked(submissions / "Ada-Lovelace")
    assert run.result == "passed", [f.text.en for f in run.findings]
    assert [finding.check for finding in run.findings] == [
        *("files", "network", "training", "data", "seed"),
        *("scores", "logits", "initial weights", "accuracy"),
    ]


def test_an_edited_result_is_detected_with_and_without_its_checksum(submissions: Path) -> None:
    ada = submissions / "Ada-Lovelace"
    edit_json(run_folder(ada) / "result.json", lambda t: t["test"].update(top1_error_pct=1.0))
    assert failures(checked(ada)) == {"files", "scores"}
    renew_checksum(run_folder(ada), "result.json")
    assert failures(checked(ada)) == {"scores"}
    emmy = submissions / "Emmy-Noether"
    (run_folder(emmy) / "checksums.json").unlink()
    assert failures(checked(emmy)) == {"files"}


def test_an_edited_train_accuracy_is_detected_with_the_weights(submissions: Path) -> None:
    folder = run_folder(submissions / "Ada-Lovelace")
    edit_json(folder / "result.json", lambda table: table["train"].update(top1_error_pct=0.0))
    renew_checksum(folder, "result.json")
    assert failures(checked(submissions / "Ada-Lovelace")) == {"logits"}


def test_edited_logits_are_detected_although_the_scores_follow_from_them(submissions: Path) -> None:
    folder = run_folder(submissions / "Ada-Lovelace")
    path = folder / "logits-test.safetensors"
    tensors = load_file(path)
    labels = tensors["labels"]
    tensors["logits"][np.arange(len(labels)), labels] += 50
    save_file(tensors, path)
    renew_checksum(folder, path.name)
    logits = tensors["logits"].astype("float64")
    loss = float(
        -(logits - np.logaddexp.reduce(logits, 1, keepdims=True))[
            np.arange(len(labels)), labels
        ].mean()
    )
    error = 100 * float((logits.argmax(1) != labels).mean())
    edit_result(folder, top1_error_pct=error, loss_nats=loss)
    assert failures(checked(submissions / "Ada-Lovelace")) == {"logits"}


def test_swapped_weights_are_detected_by_the_logits_and_by_the_seed(submissions: Path) -> None:
    ada, emmy = (run_folder(submissions / name) for name in ("Ada-Lovelace", "Emmy-Noether"))
    use_weights(ada, emmy)
    assert failures(checked(submissions / "Ada-Lovelace")) == {"logits", "initial weights"}


def test_a_copied_run_has_another_seed_and_a_relabeled_copy_has_other_initial_weights(
    submissions: Path,
) -> None:
    ada, emmy = submissions / "Ada-Lovelace", run_folder(submissions / "Emmy-Noether")
    first = run_folder(ada)
    shutil.copytree(emmy, ada / "runs" / emmy.name)
    shutil.rmtree(first)
    assert failures(checked(ada)) == {"seed"}
    relabel(run_folder(ada), student_seed("Ada Lovelace"))
    assert failures(checked(ada)) == {"initial weights"}


def test_other_data_another_network_and_another_training_are_detected(
    submissions: Path, tmp_path: Path
) -> None:
    ada = submissions / "Ada-Lovelace"
    seed = student_seed("Ada Lovelace")
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "digits.npz",
        x_train=generator.integers(0, 256, (400, 8, 8), dtype=np.uint8),
        y_train=np.arange(400) % 10,
        x_test=generator.integers(0, 256, (100, 8, 8), dtype=np.uint8),
        y_test=np.arange(100) % 10,
        classes=np.array([str(digit) for digit in range(10)]),
    )
    variants = {
        "data": replace(SHORT, data=str(tmp_path / "digits.npz")),
        "network": replace(SHORT, model="cifar-plain8"),
        "training": replace(SHORT, settings=(*SHORT.settings, "recipe.batch_size=32")),
    }
    for name, exercise in variants.items():
        record = train_exercise(exercise, seed, tmp_path / name)
        assert failures(checked(ada, Path(record.folder))) == {name}


def test_an_accuracy_outside_the_prediction_interval_is_unusual_and_not_a_failure(
    submissions: Path, reference: Callable[..., None]
) -> None:
    reference(98.0, 98.5, 99.0)
    run = checked(submissions / "Ada-Lovelace")
    assert failures(run) == set()
    assert run.result == "unusual"


def test_the_prediction_interval_equals_its_formula(reference: Callable[..., None]) -> None:
    from resnetlab.course import check

    values = [40.0, 45.0, 47.0, 52.0]
    reference(*values)
    reference_runs: ReferenceRuns = check.reference_runs()["short"]
    half = stats.t.ppf(0.995, 3) * np.std(values, ddof=1) * np.sqrt(1 + 1 / 4)
    assert reference_runs.interval() == pytest.approx(
        (np.mean(values) - half, np.mean(values) + half)
    )


def test_weights_of_another_seed_have_a_normal_score() -> None:
    import torch

    from resnetlab.course.recompute import initial_weights_score

    generator = torch.Generator().manual_seed(0)
    trained = {
        "a": torch.rand(40, 30, generator=generator),
        "b": torch.rand(9, generator=generator),
    }
    scores = [
        initial_weights_score(
            trained,
            {
                "a": torch.randn(40, 30, generator=generator) * 0.3,
                "b": torch.zeros(9),
            },
        )
        for _ in range(400)
    ]
    assert stats.kstest(scores, "norm").pvalue > 0.001
    assert initial_weights_score(trained, {"a": trained["a"] * 2 - 1}) > 10


def test_a_class_with_forged_runs_is_graded_without_training(
    submissions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier = submissions / "Copier"
    emmy = submissions / "Emmy-Noether"
    register_student("A Copier", copier)
    shutil.copytree(run_folder(emmy), copier / "runs" / run_folder(emmy).name)
    relabel(run_folder(copier), student_seed("A Copier"))
    edited = run_folder(submissions / "Sophie-Germain")
    edit_result(edited, top1_error_pct=2.0)
    monkeypatch.setattr(
        "resnetlab.training.training_step.train_on_batch",
        lambda *_: pytest.fail("a step was taken"),
    )
    submitted = {item.name: item for item in read_class(submissions, [lesson_of(SHORT)])}
    assert {name: item.result for name, item in submitted.items()} == {
        "A Copier": "failed",
        "Ada Lovelace": "passed",
        "Emmy Noether": "unusual",
        "Sophie Germain": "failed",
    }
    copies = {name: failures(item.checked[0]) for name, item in submitted.items()}
    assert copies["A Copier"] == {"initial weights", "copies"}
    assert copies["Emmy Noether"] == set()
    assert (
        "come from this student's seed" in submitted["Emmy Noether"].checked[0].findings[-1].text.en
    )
    assert copies["Sophie Germain"] == {"scores"}


def test_nearly_equal_runs_count_as_copies(submissions: Path) -> None:
    from resnetlab.course.copies import find_copies

    ada, emmy = (run_folder(submissions / name) for name in ("Ada-Lovelace", "Emmy-Noether"))
    assert {finding.result for finding in find_copies({"a": ada, "e": emmy}).values()} == {"passed"}
    tensors = load_file(ada / "weights.safetensors")
    generator = np.random.default_rng(0)
    noisy = {
        name: np.asarray(t + 0.01 * t.std() * generator.normal(size=t.shape), dtype=t.dtype)
        for name, t in tensors.items()
    }
    save_file(noisy, emmy / "weights.safetensors")
    assert {finding.result for finding in find_copies({"a": ada, "e": emmy}).values()} == {"failed"}


def test_a_run_of_another_exercise_is_not_used_for_this_lesson(
    submissions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = submissions / "Ada-Lovelace"
    other = replace(SHORT, name="other", settings=(*SHORT.settings, "recipe.batch_size=32"))
    assert checked(ada, exercise=other).result == "failed"  # nearly this exercise
    monkeypatch.setattr("resnetlab.course.assignment.lessons", lambda: (lesson_of(SHORT),))
    assert checked(ada, exercise=other).folder is None
