"""The metrics other than accuracy equal those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from resnetlab.deploy.metrics import average_precision, average_scores, f1_by_class, roc_auc


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=3))
def test_metrics_equal_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    labels, predicted, levels = (np.array(column) for column in zip(*rows, strict=True))
    present = np.unique(labels)
    averages = average_scores(labels, predicted)
    recalls = oracle.recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    assert averages.balanced_accuracy_pct == pytest.approx(100 * recalls.mean())
    for average, score in (
        ("macro", averages.macro_f1_pct),
        ("weighted", averages.weighted_f1_pct),
    ):
        expected = oracle.f1_score(
            labels, predicted, labels=present, average=average, zero_division=0
        )
        assert score == pytest.approx(100 * expected)
    by_class = oracle.f1_score(labels, predicted, labels=range(4), average=None, zero_division=0)
    assert f1_by_class(labels, predicted, 4) == pytest.approx(100 * by_class)
    is_class, scores = labels == 0, levels / 5  # many ties
    if is_class.any() and not is_class.all():
        assert roc_auc(is_class, scores) == pytest.approx(oracle.roc_auc_score(is_class, scores))
        assert average_precision(is_class, scores) == pytest.approx(
            oracle.average_precision_score(is_class, scores)
        )
    else:
        assert roc_auc(is_class, scores) is average_precision(is_class, scores) is None
