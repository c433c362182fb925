"""`compare` reports the effect between two sets of runs, its test, and warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import stats

import resnetlab as rl
from resnetlab.data.config import DataIdentity
from resnetlab.files import write_json
from resnetlab.runs.config import RunConfig, run_id
from resnetlab.runs.records import Result, RunFile, Status
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import SCHEMA, encode
from resnetlab.studies.compare import compare, format_lines

SPEC = RunConfig(
    algorithm_version=1,
    model=rl.cifar_config(8),
    data=DataIdentity(sha256="ab" * 32),
    recipe=rl.Recipe(epochs=1),
    numerics=rl.Numerics(device="cpu", precision="fp32", memory_format="contiguous", threads=1),
    seed=0,
)


def write(
    root: Path, config: RunConfig, accuracy_pct: float | None, status: Status = "trained"
) -> Path:
    """Return a finished run, or with None one that is not."""
    file = RunFile(
        schema=SCHEMA,
        run=config,
        data_name="digits",
        data=rl.DataConfig(source="digits"),
        classes=("a", "b"),
        train_images=10,
        class_share=0.5,
    )
    run_folder = RunFolder(root / "runs" / run_id(config, "digits"))
    write_json(run_folder.path / "run.json", encode(file))
    if accuracy_pct is not None:
        scores = rl.Scores(images=4, loss_nats=0.5, top1_error_pct=100 - accuracy_pct)
        run_folder.commit(
            Result(schema=SCHEMA, status=status, step=1, selected_step=1, test=scores)
        )
    return run_folder.path


def test_a_run_whose_attempts_all_failed_counts_as_missing(tmp_path: Path) -> None:
    many(tmp_path / "a", PLAIN, [50.0, 52.0])
    many(tmp_path / "b", SPEC, [60.0, 61.0])
    lost = write(tmp_path / "a", replace(PLAIN, seed=7), None)
    RunFolder(lost).log_event({"event": "gave up", "reason": "the worker was killed"})
    comparison = compare(tmp_path / "a" / "runs" / "*", tmp_path / "b" / "runs" / "*")
    counts = comparison.a.summary.counts
    assert (counts.trained, counts.missing, counts.waiting) == (2, 1, 0)


def many(root: Path, config: RunConfig, values: list[float]) -> None:
    for seed, value in enumerate(values):
        write(root, replace(config, seed=seed), value)


PLAIN = replace(SPEC, model=rl.cifar_config(8, "none"))


def test_the_effect_equals_welch(tmp_path: Path) -> None:
    a, b = [91.0, 92.5, 90.4, 93.0, 91.9], [88.0, 90.1, 87.5, 89.9, 88.2]
    many(tmp_path, SPEC, a)
    many(tmp_path, PLAIN, b)
    comparison = compare(f"{tmp_path}/runs/*resnet8*", f"{tmp_path}/runs/*plain8*")
    oracle = stats.ttest_ind(a, b, equal_var=False)
    assert comparison.effect is not None
    assert comparison.effect.estimate == pytest.approx(np.mean(a) - np.mean(b))
    assert (comparison.p, comparison.effect.df) == (
        pytest.approx(oracle.pvalue),
        pytest.approx(oracle.df),
    )
    assert tuple(comparison.effect.interval()) == pytest.approx(tuple(oracle.confidence_interval()))
    assert comparison.differing_fields == ("model.shortcut: A against none",)
    assert any(line.startswith("A - B: +3.0 points") for line in format_lines(comparison))
    assert comparison.warnings == (
        "no claim was declared before the comparison, so this is an exploration and no verdict",
    )


def test_each_warning_is_given_in_its_case(tmp_path: Path) -> None:
    many(tmp_path, SPEC, [90.0, 91.0])
    write(tmp_path, replace(SPEC, seed=2), 50.0, "at chance")
    write(tmp_path, replace(SPEC, seed=3), None)
    other = replace(SPEC, data=DataIdentity(sha256="cd" * 32), recipe=rl.Recipe(epochs=2))
    many(tmp_path, replace(other, numerics=replace(SPEC.numerics, threads=2)), [90.0, 91.5, 92.0])
    first = f"{tmp_path}/runs/*"
    with pytest.raises(rl.InputError, match=r"differ in more than their seed: data\.sha256"):
        compare(first, first)
    hashes = [run_id(replace(SPEC, seed=seed), "digits") for seed in range(4)]
    for name in hashes:
        (tmp_path / "runs" / name).rename(tmp_path / "runs" / f"first-{name}")
    warnings = " ".join(compare(f"{tmp_path}/runs/first-*", f"{tmp_path}/runs/digits-*").warnings)
    for words in (
        "the data differ",
        "2 of 3 runs",
        "1 run of",
        "fewer than 5 trained",
        "initial weights",
        "numerics",
    ):
        assert words in warnings


def test_two_networks_are_compared_image_by_image(tmp_path: Path) -> None:
    paths = [write(tmp_path, SPEC, 75.0), write(tmp_path, PLAIN, 50.0)]
    labels = np.zeros(35, dtype=np.int64)
    right = [
        np.r_[np.ones(10), np.ones(10), np.zeros(3), np.zeros(12)],
        np.r_[np.ones(10), np.zeros(10), np.ones(3), np.zeros(12)],
    ]
    for path, hits in zip(paths, right, strict=True):
        save_file(
            {"logits": np.stack([hits, 1 - hits], 1).astype(np.float32), "labels": labels},
            path / "logits-test.safetensors",
        )
    comparison = compare(str(paths[0]), str(paths[1]))
    assert comparison.effect is None
    assert comparison.disagreement is not None
    assert (comparison.disagreement.only_a, comparison.disagreement.only_b) == (10, 3)
    assert comparison.disagreement.p == pytest.approx(stats.binomtest(3, 13, 0.5).pvalue)
    assert (
        "of 35 test images only A is correct on 10 and only B on 3: McNemar, exact, p = 0.0923. "
        "The test compares these two networks, not their recipes"
    ) in format_lines(comparison)


def test_a_path_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    write(tmp_path, SPEC, None)
    for pattern in (f"{tmp_path}/runs/*", f"{tmp_path}/nothing", f"{tmp_path}"):
        with pytest.raises(rl.InputError, match="no finished run there"):
            compare(pattern, pattern)


def test_two_constant_sets_have_a_difference_and_no_p_value(tmp_path: Path) -> None:
    many(tmp_path, SPEC, [90.0, 90.0])
    many(tmp_path, PLAIN, [80.0, 80.0])
    comparison = compare(f"{tmp_path}/runs/*resnet8*", f"{tmp_path}/runs/*plain8*")
    assert comparison.p is None
    assert (
        "A - B: +10.0 points: both sets are constant, so the difference is deterministic"
    ) in format_lines(comparison)
