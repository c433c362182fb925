"""Photographs that arrive together go through the network as one batch, and each gets its own
answer.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from helpers.pictures import encoded, picture
from resnetlab.deploy.predict import Classifier, load_model
from resnetlab.deploy.serve.batching import BatchedNetwork
from resnetlab.deploy.serve.server import create_app
from resnetlab.models.photo_predictions import PhotoOutputs


def views(level: int, side: int = 4) -> NDArray[np.uint8]:
    return np.full((1, side, side, 3), level, np.uint8)


class SlowNetwork:
    """Network whose first batch waits until it is released. Its output is the level of an image."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()

    def __call__(self, images: NDArray[np.uint8]) -> PhotoOutputs:
        levels = images[:, 0, 0, 0, 0].astype(np.float64)
        self.batches.append(levels.astype(int).tolist())
        self.threads.add(threading.current_thread().name)
        self.started.set()
        assert self.release.wait(20)
        if 13 in levels:
            raise ValueError("13 is refused")
        return PhotoOutputs(levels[:, None], levels[:, None])


def submit_all(
    network: BatchedNetwork, slow: SlowNetwork, images: list[NDArray[np.uint8]]
) -> list[Future[tuple[PhotoOutputs, int]]]:
    """Submit one image, wait until the network works on it, submit the others, and release it."""
    first = network.submit(images[0])
    assert slow.started.wait(20)
    others = [network.submit(image) for image in images[1:]]
    slow.release.set()
    wait([first, *others])
    return [first, *others]


def level_of(future: Future[tuple[PhotoOutputs, int]]) -> float:
    outputs, row = future.result()
    return float(outputs.logits[row, 0])


def test_waiting_photographs_are_one_batch_and_each_gets_its_own_row() -> None:
    slow = SlowNetwork()
    network = BatchedNetwork(slow, max_batch_size=4)
    futures = submit_all(network, slow, [views(level) for level in range(8)])
    assert slow.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert [level_of(future) for future in futures] == list(range(8))
    assert len(slow.threads) == 1
    network.close()


def test_a_photograph_alone_does_not_wait_for_others() -> None:
    slow = SlowNetwork()
    slow.release.set()
    network = BatchedNetwork(slow)
    for level in range(3):
        outputs, row = network.predict(views(level))
        assert (row, outputs.logits.shape) == (0, (1, 1))
    assert slow.batches == [[0], [1], [2]]
    network.close()


def test_photographs_of_different_shapes_are_in_different_batches() -> None:
    slow = SlowNetwork()
    network = BatchedNetwork(slow)
    images = [views(0), views(1), views(2, side=6), views(3, side=6), views(4)]
    futures = submit_all(network, slow, images)
    assert slow.batches == [[0], [1], [2, 3], [4]]
    assert [level_of(future) for future in futures] == [0, 1, 2, 3, 4]
    network.close()


def test_the_error_of_a_photograph_does_not_affect_the_others() -> None:
    slow = SlowNetwork()
    network = BatchedNetwork(slow)
    futures = submit_all(network, slow, [views(level) for level in (1, 12, 13, 14)])
    assert slow.batches == [[1], [12, 13, 14], [12], [13], [14]]
    assert [level_of(futures[number]) for number in (0, 1, 3)] == [1, 12, 14]
    with pytest.raises(ValueError, match="13 is refused"):
        futures[2].result()
    network.close()


def test_a_function_that_uses_the_network_runs_between_two_batches() -> None:
    slow = SlowNetwork()
    slow.release.set()
    network = BatchedNetwork(slow)
    network.predict(views(1))
    name = network.run_alone(lambda: threading.current_thread().name)
    assert {name} == slow.threads
    network.close()


def test_many_clients_at_once_get_the_answers_of_one_client(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    predict = Classifier.predict_outputs

    def counted(self: Classifier, images: NDArray[np.uint8]) -> PhotoOutputs:
        sizes.append(len(images))
        time.sleep(0.02)  # so that requests gather
        return predict(self, images)

    monkeypatch.setattr(Classifier, "predict_outputs", counted)
    photographs = [encoded(picture(seed, 60, 50)) for seed in range(24)]
    app = create_app(load_model(pets, accept_license=True))
    with TestClient(app, base_url="http://localhost") as client:

        def probabilities(raw: bytes) -> dict[str, float]:
            response = client.post("/predict", content=raw)
            assert response.status_code == 200
            return {item["name"]: item["probability"] for item in response.json()["classes"]}

        alone = [probabilities(raw) for raw in photographs]
        assert set(sizes) == {1}
        with ThreadPoolExecutor(12) as clients:
            together = list(clients.map(probabilities, photographs))
    assert max(sizes) > 1
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=1e-6)
