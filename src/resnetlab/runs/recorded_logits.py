"""Recorded logits of the test images: the scores that they give, and a copy in half precision.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.messages import format_count
from resnetlab.runs.paths import LOGITS
from resnetlab.runs.records import Result, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ERROR_TOLERANCE_PCT = 1e-6
LOSS_TOLERANCE = 1e-4
"""Largest differences of a recorded score from the one by the logits: rounding alone."""


@dataclass(frozen=True)
class RecordedLogits:
    """Logits of the test images and their labels, as a run recorded them."""

    logits: NDArray[np.floating]
    """Logits (N, K), in single or half precision."""
    labels: NDArray[np.int64]
    """Labels (N,)."""

    @property
    def top1_error_pct(self) -> float:
        """Share of images whose largest logit is not that of their label, in percent."""
        return 100 * float((self.logits.argmax(1) != self.labels).mean())

    @property
    def loss_nats(self) -> float:
        """Mean cross-entropy of the test images in nats."""
        import numpy as np
        from scipy.special import log_softmax

        log_probabilities = log_softmax(self.logits.astype(np.float64), axis=1)
        return -float(log_probabilities[np.arange(len(self.labels)), self.labels].mean())

    def agree_with(self, scores: Scores) -> bool:
        """Return True if the logits give the recorded test scores, except for rounding."""
        if scores.loss_nats is None or scores.images != len(self.labels):
            return False
        loss = self.loss_nats
        return (
            abs(self.top1_error_pct - scores.top1_error_pct) <= ERROR_TOLERANCE_PCT
            and abs(loss - scores.loss_nats) <= LOSS_TOLERANCE * max(1.0, loss) + self._rounding
        )

    @property
    def _rounding(self) -> float:
        """Largest change of the loss when each logit is rounded to the precision of the array."""
        import numpy as np

        return 2 * float(np.finfo(self.logits.dtype).eps) * float(np.abs(self.logits).max())

    def in_half_precision(self) -> RecordedLogits:
        """Return the logits in half precision, with the same predicted class for each image.

        Logits that half precision cannot hold stay in single precision.
        """
        import numpy as np

        with np.errstate(over="ignore"):
            half = self.logits.astype(np.float16)
        if not np.isfinite(half).all():
            return self
        predicted, rows = self.logits.argmax(1), np.arange(len(half))
        # Rounding keeps the order of two logits, but it can make the two largest ones equal.
        tied = half.argmax(1) != predicted
        half[rows[tied], predicted[tied]] = np.nextafter(
            half[rows[tied], predicted[tied]], np.float16(np.inf)
        )
        return RecordedLogits(half, self.labels)


def read_logits(folder: Path) -> RecordedLogits:
    """Read the recorded logits of a run's folder.

    Raises InputError if they are missing or damaged.
    """
    from resnetlab.models.tensorfile import open_safetensors

    with open_safetensors(folder / LOGITS, "np") as file:
        return RecordedLogits(file.get_tensor("logits"), file.get_tensor("labels"))


def disagreement(folder: Path, result: Result) -> str:
    """Return the reason why the recorded logits do not show the test scores of a result; "" if they
    do.

    A result without test scores has no logits. Raises InputError for a damaged file of logits.
    """
    if result.test is None:
        return ""
    if not (folder / LOGITS).exists():
        return f"it has no {LOGITS}, so its test accuracy cannot be checked"
    recorded = read_logits(folder)
    if recorded.agree_with(result.test):
        return ""
    accuracy, computed = result.test.top1_accuracy_pct, 100 - recorded.top1_error_pct
    return (
        f"result.json says {accuracy:.2f} % test accuracy (loss {result.test.loss_nats}) of "
        f"{format_count(result.test.images, 'image')}, and the recorded logits give "
        f"{computed:.2f} % (loss {recorded.loss_nats:.4g}) of "
        f"{format_count(len(recorded.labels), 'image')}"
    )
