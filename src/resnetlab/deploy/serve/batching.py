"""Batches of the photographs that arrive together: one thread runs the network on all that wait.

No photograph waits for others to arrive. While the network works on a batch, the next one gathers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resnetlab.models.photo_predictions import PhotoOutputs, PredictOutputs

MAX_BATCH_SIZE = 16

Result = TypeVar("Result")

Waiting = tuple[NDArray[np.uint8], "Future[tuple[PhotoOutputs, int]]"]
"""Views (V, H, W, C) of a photograph, and the future of a batch's outputs and its row there."""


class BatchedNetwork:
    """Network in a thread of its own, which takes all photographs that wait as one batch.

    Args:
        predict_outputs: Function from the views of N photographs to the network's outputs.
        max_batch_size: Maximum number of photographs in a batch.
    """

    def __init__(
        self, predict_outputs: PredictOutputs, max_batch_size: int = MAX_BATCH_SIZE
    ) -> None:
        self._predict_outputs, self._max_batch_size = predict_outputs, max_batch_size
        self._waiting: deque[Waiting] = deque()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self.seconds_per_image = 0.1
        """Duration of the last batch, divided by the number of its photographs."""

    def predict(self, views: NDArray[np.uint8]) -> tuple[PhotoOutputs, int]:
        """Wait for the outputs of the batch of a photograph; return them and its row there.

        Args:
            views: Views (V, H, W, C) of the photograph.

        Raises:
            Exception: The error of the network for this photograph alone.
        """
        return self.submit(views).result()

    def submit(self, views: NDArray[np.uint8]) -> Future[tuple[PhotoOutputs, int]]:
        """Let a photograph wait for the next batch; return the future of what `predict` returns."""
        future: Future[tuple[PhotoOutputs, int]] = Future()
        with self._lock:
            self._waiting.append((views, future))
        self._thread.submit(self._run_batch)
        return future

    def run_alone(self, function: Callable[[], Result]) -> Result:
        """Call a function that uses the network, between two batches."""
        return self._thread.submit(function).result()

    def close(self) -> None:
        """Let the thread end after the photographs that wait. Returns before."""
        self._thread.shutdown(wait=False)

    def _run_batch(self) -> None:
        """Predict the photographs that wait. An earlier batch may have taken all of them."""
        with self._lock:
            batch: list[Waiting] = []
            while (
                self._waiting
                and len(batch) < self._max_batch_size
                and (not batch or self._waiting[0][0].shape == batch[0][0].shape)
            ):
                batch.append(self._waiting.popleft())
        if batch:
            start = time.monotonic()
            self._answer(batch)
            self.seconds_per_image = (time.monotonic() - start) / len(batch)

    def _answer(self, batch: Sequence[Waiting]) -> None:
        """Set the results of a batch. After an error, each photograph is predicted alone."""
        try:
            outputs = self._predict_outputs(np.stack([views for views, _ in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                for item in batch:
                    self._answer([item])
            return
        for row, (_, future) in enumerate(batch):
            future.set_result((outputs, row))
