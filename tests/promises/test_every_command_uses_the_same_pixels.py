"""Promise: training, evaluation, `predict`, `explain`, `serve` and an exported model use identical
tensors of a photograph of any mode.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from fastapi.testclient import TestClient

from helpers.bad_photographs import put
from helpers.model_folders import write_model
from helpers.texture_photographs import KINDS
from helpers.texture_photographs import folder as stripes
from resnetlab.api.evaluation import evaluate_images
from resnetlab.data.config import DataConfig
from resnetlab.data.photo_loader import image_from_file
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy.explain.explainer import explain
from resnetlab.deploy.export.network import export
from resnetlab.deploy.inputs import open_labeled_images
from resnetlab.deploy.predict import Classifier, load_model
from resnetlab.deploy.serve.server import create_app
from resnetlab.finetuning.dataset import load_photographs


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Folder of photographs, and the odd ones among them: every mode and orientation."""
    root = stripes(tmp_path_factory.mktemp("odd") / "photos", {"train": 4, "val": 3, "test": 3})
    used, bad = put(root, "test/plain")
    for name in bad:
        (root / "test/plain" / name).unlink()
    return root, [root / "test/plain" / name for name in sorted(used)]


class Seen:
    """Inputs of a network, as it computes."""

    def __init__(self, model: Classifier) -> None:
        self.tensors: list[torch.Tensor] = []
        model.module.register_forward_pre_hook(
            lambda _, inputs: self.tensors.extend(inputs[0].detach().clone())
        )

    def last(self, count: int = 1) -> torch.Tensor:
        """Return the last images (count, C, H, W)."""
        tensors, self.tensors = self.tensors[-count:], []
        return torch.stack(tensors)


def test_the_tensors_of_each_odd_photograph_are_equal_bit_for_bit(
    photos: tuple[Path, list[Path]], tmp_path: Path, figures: Callable[[str], None]
) -> None:
    root, paths = photos
    folder = write_model(tmp_path / "textures", classes=KINDS)
    model = load_model(folder, device="cpu", threads=1)
    seen, transform = Seen(model), model.file.eval_transform

    data = load_photographs(DataConfig(source=str(root)), tmp_path / "cache")
    order = {f"{data.root}/{row.path}": k for k, row in enumerate(data.test.rows)}
    stacked = data.test.stack(lambda image: apply_eval_transform(image, transform))
    trained = model.preprocess(stacked)

    labeled = open_labeled_images(str(root), "test", tmp_path / "cache")
    evaluate_images(model, labeled)
    evaluated = dict(
        zip((image.name for image in labeled.images), seen.last(len(labeled.images)), strict=True)
    )

    with TestClient(create_app(model), base_url="http://localhost") as client:
        for path in paths:
            expected = trained[order[str(path)]]
            prediction = model.predict([path], top=3)[0]
            assert torch.equal(seen.last()[0], expected), path
            assert torch.equal(evaluated[str(path.relative_to(root))], expected), path
            explain(model, image_from_file(path).load())
            assert torch.equal(seen.last()[0], expected), path
            answer = client.post("/predict?top=3", content=path.read_bytes()).json()
            assert torch.equal(seen.last()[0], expected), path
            served = [(item["name"], item["probability"]) for item in answer["classes"]]
            assert served == [(item.label, item.probability) for item in prediction.top_classes]
    figures(f"{len(paths)} modes and orientations, equal tensors in 5 commands")


@pytest.mark.slow
def test_an_exported_model_gives_the_same_probabilities_for_each_odd_photograph(
    photos: tuple[Path, list[Path]], tmp_path: Path, figures: Callable[[str], None]
) -> None:
    _, paths = photos
    model = load_model(write_model(tmp_path / "textures", classes=KINDS), device="cpu", threads=1)
    exported = tmp_path / "textures.onnx"
    export(model, "onnx", exported)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    largest = 0.0
    for path in paths:
        pixels = apply_eval_transform(image_from_file(path).load(), model.file.eval_transform)
        (logits,) = session.run(None, {"images": model.preprocess(pixels[None]).numpy()})
        expected = torch.from_numpy(logits).double().softmax(1)[0].numpy()
        prediction = model.predict([path], top=3)[0]
        of_class = {item.label: item.probability for item in prediction.top_classes}
        difference = np.abs(np.array([of_class[kind] for kind in KINDS]) - expected).max()
        assert difference < 1e-4, path
        largest = max(largest, float(difference))
    figures(f"{len(paths)} modes and orientations, largest difference of ONNX {largest:.1e}")
