"""The status of a run follows from its evaluations: trained, or never above chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from resnetlab.data.device_images import DeviceImages
from resnetlab.runs.evaluator import RunEvaluator
from resnetlab.runs.records import Evaluation
from resnetlab.training.evaluate import SplitEvaluation

LABELS = torch.arange(10_000) % 10


def status(correct: int, *, best_of_part_pct: float, num_part: int) -> tuple[str, str]:
    """Return the status of a run with so many correct test images at the end, whose best evaluation
    of `num_part` test images during training had an accuracy of `best_of_part_pct`.
    """
    test = DeviceImages(torch.zeros(10_000, 1, 1, 1, dtype=torch.uint8), LABELS)
    part = DeviceImages(test.pixels[:num_part], LABELS[:num_part])
    predicted = torch.where(torch.arange(10_000) < correct, LABELS, (LABELS + 1) % 10)
    logits = torch.nn.functional.one_hot(predicted, 10).float()
    evaluator: Any = SimpleNamespace(
        splits={"test": test},
        curve_splits={"test": part},
        test=test,
        file=SimpleNamespace(class_share=0.1),
    )
    curve = [
        Evaluation(
            step=step,
            epoch=step,
            split="test",
            loss_nats=2.3,
            top1_error_pct=100 - accuracy,
            seconds=1.0,
        )
        for step, accuracy in enumerate((10.0, best_of_part_pct), 1)
    ]
    end = SplitEvaluation(logits, 2.3, 100 - correct / 100)
    return RunEvaluator.status(cast("RunEvaluator", evaluator), curve, end)


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        (1_114, "trained"),  # luck reaches 11.13 % of 10,000 images of ten classes
        (1_113, "at chance"),
        (900, "at chance"),
    ],
)
def test_all_test_images_at_the_end_count_if_only_a_part_of_them_was_evaluated_each_epoch(
    correct: int, expected: str
) -> None:
    result, reason = status(correct, best_of_part_pct=13.2, num_part=1_000)
    assert result == expected
    at_best = "never above chance: at best 13.2 % of 1,000 test images"
    assert reason == ("" if expected == "trained" else at_best)


def test_a_run_that_was_above_chance_during_training_is_trained_whatever_its_end() -> None:
    assert status(1_000, best_of_part_pct=16.0, num_part=1_000) == ("trained", "")


def test_if_all_test_images_were_evaluated_each_epoch_the_best_evaluation_decides() -> None:
    assert status(1_000, best_of_part_pct=11.0, num_part=10_000)[0] == "at chance"
    assert status(1_000, best_of_part_pct=11.4, num_part=10_000)[0] == "trained"
