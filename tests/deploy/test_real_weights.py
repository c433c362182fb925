"""A network with real weights classifies real photographs. The tests run if both are on this
machine.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy.explain.explainer import explain
from resnetlab.deploy.export.network import export
from resnetlab.deploy.inputs import LazyImage, find_images
from resnetlab.deploy.predict import Classifier, load_model
from resnetlab.model_folder.model_file import License, ModelFile
from resnetlab.model_folder.store import save_model_folder
from resnetlab.models.build import build_model
from resnetlab.models.configs import ExternalConfig

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WEIGHTS = (
    Path(os.environ.get("RESNETLAB_TEST_WEIGHTS") or SHARED_DATA / "weights")
    / "mobilenetv2_100.safetensors"
)
DOGS = SHARED_DATA / "dogs" / "test"
BREEDS = {
    "n02086240": 155,
    "n02087394": 159,
    "n02088364": 162,
    "n02089973": 167,
    "n02093754": 182,
    "n02096294": 193,
    "n02099601": 207,
    "n02105641": 229,
    "n02111889": 258,
    "n02115641": 273,
}
"""ImageNet class indices in these weights: they are one larger, since class 0 is background."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, list[LazyImage]]:
    """Return the network as a model's folder, and the first three test photographs of each
    breed.
    """
    pytest.importorskip("timm", reason="the extra [timm] is not installed")
    if not WEIGHTS.is_file() or not DOGS.is_dir():
        pytest.skip(
            "the weights or the photographs lie neither beside this repository nor where "
            "RESNETLAB_TEST_WEIGHTS says"
        )
    kwargs = {"num_classes": 1001, "pad_type": "same"}
    config = ExternalConfig(source="timm/mobilenetv2_100", kwargs=kwargs, weights=str(WEIGHTS))
    file = ModelFile(
        name="mobilenetv2_100",
        model=config,
        classes=tuple(f"{k}" for k in range(1001)),
        eval_transform=EvalTransform(size=224, mean=(0.5,) * 3, std=(0.5,) * 3),
        license=License(name="Apache-2.0"),
    )
    folder = tmp_path_factory.mktemp("real") / "mobilenet"
    save_model_folder(folder, build_model(config, 3, 1001, lambda _: torch.Generator()), file)
    images = [one for breed in sorted(DOGS.iterdir()) for one in find_images([breed])[0][:3]]
    return load_model(folder, device="cpu"), images


def test_a_pretrained_network_classifies_real_photographs(
    real: tuple[Classifier, list[LazyImage]],
) -> None:
    """77.7 % on 600 images of this kind, by the file that came with the weights; thirty must not be
    far below.
    """
    model, images = real
    truth = [str(BREEDS[Path(one.name).parent.name.split("-")[0]] + 1) for one in images]
    labels = [model.top_k(seen, 1).top_classes[0].label for seen in model.predict_images(images)]
    assert sum(a == b for a, b in zip(labels, truth, strict=True)) >= 18


def test_a_pretrained_network_is_explained_and_exported(
    real: tuple[Classifier, list[LazyImage]], tmp_path: Path
) -> None:
    model, images = real
    explained = explain(model, images[0].load())
    assert (explained.layer, explained.heat_map.shape) == ("bn2", (224, 224))
    assert export(model, "onnx", tmp_path / "m.onnx", DOGS).image_kind == "photographs"
