"""Prediction of the classes of images with a trained network. All inference uses this module.

Threads decode and transform the images one batch ahead of the network. No image stays in memory
after its batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resnetlab.bundle.spec import ModelFile
from resnetlab.bundle.store import Bundle, load_bundle
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.decode_cache import default_workers
from resnetlab.data.transforms.augment import normalize
from resnetlab.data.transforms.eval_transform import EvalTransform, apply_eval_transform, ten_crops
from resnetlab.deploy.inputs import LazyImage, image_from_file
from resnetlab.deploy.request import Tta, check_model, check_tta
from resnetlab.errors import InputError, Problem, ResourceError
from resnetlab.recipes.numerics import Numerics, parse_device
from resnetlab.training.device import setup_device
from resnetlab.training.resolve import resolve_numerics

PREDICT_BATCH_SIZE = 32


@dataclass(frozen=True)
class ClassProbability:
    """Predicted class with its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image: the most probable classes in descending order."""

    name: str
    top_classes: tuple[ClassProbability, ...]


@dataclass(frozen=True)
class ImagePrediction:
    """Image with the probability of each class (K,), or the reason why it cannot be decoded."""

    image: LazyImage
    probabilities: NDArray[np.float64] | None
    reason: str = ""


class Classifier:
    """Trained network for images: `load_model("pets").predict(["cat.jpg"])`."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.file: ModelFile = bundle.file
        kind, index = parse_device(device)
        self.numerics = resolve_numerics(Numerics(device=kind, precision="fp32"), single_run=True)  # type: ignore[arg-type]
        self.device = setup_device(self.numerics, index)
        self.module = bundle.module.to(self.device)
        self._mean, self._std = (
            torch.tensor(values, device=self.device)
            for values in (bundle.file.eval_transform.mean, bundle.file.eval_transform.std)
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names in the order of the network's outputs."""
        return self.file.classes

    def predict(
        self, images: Iterable[str | Path | Image.Image], *, top: int = 5, tta: Tta = "none"
    ) -> list[Prediction]:
        """Predict the `top` most probable classes of each file or Pillow image.

        Raises InputError that names each input that is not an image.
        """
        inputs = [_to_lazy_image(item, number) for number, item in enumerate(images)]
        results = list(self.predict_images(inputs, tta=tta))
        fix = "replace it, or leave it out"
        bad = [
            Problem(result.image.name, result.reason, fix) for result in results if result.reason
        ]
        if bad:
            raise InputError(*bad)
        return [self.top_k(result, top) for result in results]

    def top_k(self, result: ImagePrediction, top: int) -> Prediction:
        """Return the `top` most probable classes of an image from its probabilities."""
        assert result.probabilities is not None, result.reason
        order = np.argsort(-result.probabilities, kind="stable")[:top]
        guesses = tuple(
            ClassProbability(self.classes[k], float(result.probabilities[k])) for k in order
        )
        return Prediction(result.image.name, guesses)

    def predict_images(
        self,
        images: Iterable[LazyImage],
        *,
        tta: Tta = "none",
        batch_size: int = PREDICT_BATCH_SIZE,
    ) -> Iterator[ImagePrediction]:
        """Yield the probabilities of each image, or the reason why it cannot be decoded, in order.

        Raises InputError if `tta` does not suit the model, and ResourceError if a batch does not
        fit in memory.
        """
        check_tta(self.file.eval_transform, tta)
        for chunk in _prefetch(images, self.file.eval_transform, tta, batch_size):
            by_shape = defaultdict(list)  # whole photographs differ in shape
            for index, (_, views) in enumerate(chunk):
                if not isinstance(views, str):
                    by_shape[views.shape].append(index)
            probabilities: dict[int, NDArray[np.float64]] = {}
            for indices in by_shape.values():
                stacked = np.stack(
                    [views for index in indices if not isinstance(views := chunk[index][1], str)]
                )
                probabilities |= zip(indices, self.predict_proba(stacked), strict=True)
            for index, (image, views) in enumerate(chunk):
                yield ImagePrediction(
                    image, probabilities.get(index), views if isinstance(views, str) else ""
                )

    def predict_proba(self, views: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probabilities (N, K), averaged over the V views of each image (N, V, H, W, C)
        uint8.
        """
        count, per_picture = views.shape[:2]
        try:
            with torch.inference_mode():
                logits = self.module(self.preprocess(views.reshape(-1, *views.shape[2:])))
                mean = logits.double().softmax(1).view(count, per_picture, -1).mean(1)
                return mean.cpu().numpy()  # type: ignore[no-any-return]
        except torch.OutOfMemoryError as error:
            what = f"a batch of {count} pictures does not fit in the device's memory"
            raise ResourceError(
                Problem(self.file.name, what, "a smaller --batch-size, or --device cpu")
            ) from error

    def preprocess(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Convert uint8 pixels (B, H, W, C) to normalized fp32 images (B, C, H, W) on the model's
        device.
        """
        return normalize(torch.from_numpy(pixels).to(self.device), self._mean, self._std)


def load_model(
    folder: str | Path, *, device: str = "auto", accept_license: bool = False
) -> Classifier:
    """Load the model in `folder`: a model folder, the folder of a finished run, or the output of
    `import-weights`.

    Raises InputError if there is no model or its weights do not match their SHA-256, and, without
    `accept_license`, if the license forbids commercial use.
    """
    check_model(Path(folder), accept_license)
    return Classifier(load_bundle(Path(folder)), device)


def augmented_views(image: Image.Image, transform: EvalTransform, tta: Tta) -> NDArray[np.uint8]:
    """Return the V views of a photograph for test-time augmentation, (V, H, W, C) uint8."""
    match tta:
        case "none":
            return apply_eval_transform(image, transform)[np.newaxis]
        case "flip":
            pixels = apply_eval_transform(image, transform)
            return np.stack([pixels, pixels[:, ::-1]])
        case "ten-crop":
            return ten_crops(image, transform)


def _prefetch(
    images: Iterable[LazyImage], transform: EvalTransform, tta: Tta, batch_size: int
) -> Iterator[list[tuple[LazyImage, NDArray[np.uint8] | str]]]:
    """Yield batches of images as views, or as the reason why an image cannot be decoded.

    Threads decode the next batch while the caller uses the present one.
    """

    def prepared(image: LazyImage) -> NDArray[np.uint8] | str:
        try:
            return augmented_views(image.load(), transform, tta)
        except image_decoder.BadImageError as error:
            return str(error)

    waiting = iter(images)
    with (
        image_decoder.suppress_pillow_warnings(),
        ThreadPoolExecutor(max_workers=min(default_workers(), 16)) as pool,
    ):

        def submit() -> list[tuple[LazyImage, Future[NDArray[np.uint8] | str]]]:
            return [(image, pool.submit(prepared, image)) for image in islice(waiting, batch_size)]

        following = submit()
        while following:
            current, following = following, submit()
            yield [(image, future.result()) for image, future in current]


def _to_lazy_image(item: str | Path | Image.Image, number: int) -> LazyImage:
    if isinstance(item, Image.Image):
        return LazyImage(f"image {number}", lambda: image_decoder.orient_and_convert(item))
    return image_from_file(Path(item))
