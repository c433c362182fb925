"""Test for accuracy at chance level: can luck explain what a run got right?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from resnetlab.translation import deferred

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ChanceDecision = Literal["above chance", "at chance", "cannot be told"]

UNDECIDED = deferred("too few or too uneven images to tell it from chance")
"""Start of the reason of a trained run whose images cannot tell whether it is above chance."""


def is_undecided(reason: str) -> bool:
    """Return True if the reason of a run's status is that its images cannot distinguish it
    from chance.

    `result.json` and `results.csv` have no field for it, only the sentence. No other function looks
    for words in it.
    """
    return UNDECIDED in reason


FALSE_POSITIVE_RATE = 1e-4
"""Probability that a network which learned nothing is called trained, over all evaluations of a
run, and again for its predictions on the test split if they are asked.
"""


def largest_class_share(labels: NDArray[np.int64]) -> float:
    """Return the largest share of one class among labels (N,)."""
    import numpy as np

    return float(np.bincount(labels).max()) / len(labels)


def chance_upper_bound_pct(class_share: float, images: int, evaluations: int) -> float:
    """Return the highest accuracy in percent that a network at chance level reaches by luck.

    A network that always guesses the largest class is correct on a binomial number of `images`,
    with the probability `class_share` (0 to 1). The bound is the quantile of that number at 1 -
    1e-4 / `evaluations`, since the best of so many evaluations is compared with it (Bonferroni).
    Example: it is 11.13 % for ten equal classes, 10,000 images and one evaluation.
    """
    from scipy.special import bdtr, bdtrik

    if class_share >= 1:
        return 100.0
    probability = 1 - FALSE_POSITIVE_RATE / max(1, evaluations)
    hits = math.ceil(
        float(bdtrik(probability, images, class_share))
    )  # the cdf reaches `probability` at this real number
    # Rounding may make it one too high.
    while hits > 0 and bdtr(hits - 1, images, class_share) >= probability:
        hits -= 1
    return 100 * hits / images


def is_at_chance(
    best_accuracy_pct: float, class_share: float, images: int, evaluations: int
) -> bool:
    """Return True if a run never rose above chance: luck explains the best accuracy (in percent) of
    its evaluations.
    """
    return (
        best_accuracy_pct <= chance_upper_bound_pct(class_share, images, evaluations) + 1e-9
    )  # 1e-9 allows for rounding


def is_decidable(class_share: float, images: int, evaluations: int) -> bool:
    """Return True if a number of images can show that a good network is above chance.

    They can if a network with half the errors of a constant guess exceeds the bound of luck. With
    few images, or one class that is nearly all of them, even a perfect network does not.
    """
    return chance_upper_bound_pct(class_share, images, evaluations) < 50 * (1 + class_share)


def agreement_p_value(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return the p-value of the agreement of labels (N,) and predicted classes (N,).

    If the predictions have nothing to do with the images, the number of correct images of a class
    is hypergeometric given how often it occurs and how often it is predicted (Fisher's exact test,
    one-sided). The smallest p-value of a class is multiplied by the number of classes (Bonferroni).
    Unlike accuracy, it is not misled by one class that is nearly all of the images: a constant
    guess has the p-value 1.
    """
    import numpy as np
    from scipy.stats import hypergeom

    classes = np.unique(labels)
    tails = [
        hypergeom.sf(
            int(((labels == k) & (predicted == k)).sum()) - 1,
            len(labels),
            int((labels == k).sum()),
            int((predicted == k).sum()),
        )
        for k in classes
    ]
    return float(min(1.0, len(classes) * min(tails)))


def compare_with_chance(
    best_accuracy_pct: float,
    class_share: float,
    images: int,
    evaluations: int,
    test: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    test_class_share: float | None = None,
    use_test_split: bool = False,
) -> ChanceDecision:
    """Decide whether a run rose above chance.

    It stays undecided if not even a perfect network would have exceeded luck on so few images.

    Args:
        best_accuracy_pct: Best accuracy of the evaluations during training.
        class_share: Largest share of one class among the images of each evaluation, 0 to 1.
        images: Number of images of each evaluation.
        evaluations: Number of evaluations.
        test: Labels (N,) and predicted classes (N,) of the test split at the end. They are asked
            only if `images` cannot tell.
        test_class_share: Largest share of one class of the test split; None if it is `class_share`.
        use_test_split: True if the test split is used also if `images` can tell.
    """
    if not is_at_chance(best_accuracy_pct, class_share, images, evaluations):
        return "above chance"
    if is_decidable(class_share, images, evaluations) and not use_test_split:
        return "at chance"
    labels, predicted = test
    test_share = class_share if test_class_share is None else test_class_share
    test_pct = 100 * float((labels == predicted).mean())
    if (
        not is_at_chance(test_pct, test_share, len(labels), 1)
        or agreement_p_value(labels, predicted) < FALSE_POSITIVE_RATE
    ):
        return "above chance"
    bounds = ((class_share, images, evaluations), (test_share, len(labels), 1))
    decidable = any(chance_upper_bound_pct(*bound) < 100 - 1e-9 for bound in bounds)
    decidable = decidable or agreement_p_value(labels, labels) < FALSE_POSITIVE_RATE
    return "at chance" if decidable and max(best_accuracy_pct, test_pct) < 100 else "cannot be told"


def status_from_chance(
    decision: ChanceDecision, reached: str
) -> tuple[Literal["trained", "at chance"], str]:
    """Return the status of a run that ended with finite numbers, and the reason for it.

    Args:
        decision: Decision of `compare_with_chance`.
        reached: Accuracy that the run reached, with its images, as the reason states it.
    """
    match decision:
        case "above chance":
            return "trained", ""
        case "at chance":
            return "at chance", f"never above chance: {reached}"
        case _:
            return "trained", f"{UNDECIDED}: {reached}"


def chance_note(class_share: float, validation: int, test: int, evaluations: int) -> str:
    """Return a warning before training if its images cannot tell whether a run is above chance.

    Args:
        class_share: Largest share of one class, 0 to 1.
        validation: Number of images of each evaluation during training; 0 without a split.
        test: Number of test images.
        evaluations: Number of evaluations during training.
    """
    if not validation or is_decidable(class_share, validation, evaluations):
        return ""
    bound = chance_upper_bound_pct(class_share, validation, evaluations)
    note = (
        f"luck alone reaches {bound:.1f} % of {validation:,} validation images, which is too much "
        f"to tell a run at chance from a good one; the {test:,} test images decide at the end"
    )
    return (
        note if is_decidable(class_share, test, 1) else f"{note}, and may be too few or too uneven"
    )
