"""The page of a fine-tuning lists only doubtful labels, with the most certain ones first."""

from __future__ import annotations

from types import SimpleNamespace

from resnetlab.deploy.results import Misclassification
from resnetlab.reports.finetuning import doubtful_table


def mistake(name: str, probability: float, label_probability: float) -> Misclassification:
    return Misclassification(
        name=name,
        label="cat",
        predicted="dog",
        probability=probability,
        label_probability=label_probability,
    )


def test_labels_far_below_the_predicted_class_are_doubtful() -> None:
    mistakes = (
        mistake("sure.jpg", 0.95, 0.05),
        mistake("unsure.jpg", 0.5, 0.4),
        mistake("surest.jpg", 0.99, 0.001),
        mistake("nearly.jpg", 0.85, 0.06),
    )
    table = doubtful_table(SimpleNamespace(mistakes=mistakes))  # type: ignore[arg-type]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["surest.jpg", "cat", "dog"],
        ["sure.jpg", "cat", "dog"],
    ]
    assert table.rows[0][1].note == "0.1 %"
    assert table.note == ""


def test_a_long_list_is_truncated_with_a_note() -> None:
    mistakes = tuple(mistake(f"{number:02}.jpg", 0.99, 0.0) for number in range(30))
    table = doubtful_table(SimpleNamespace(mistakes=mistakes))  # type: ignore[arg-type]
    assert len(table.rows) == 20
    assert "The first 20 of 30" in table.note
