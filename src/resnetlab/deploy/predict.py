"""Prediction of the classes of images with a trained network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resnetlab.data.photo_loader import LOADER_BATCH_SIZE, LazyImage, Tta, image_from_file
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.augment import normalize
from resnetlab.deploy.checks import check_coverage, check_tta, read_accepted_model
from resnetlab.errors import InputError, Problem, ResourceError
from resnetlab.messages import format_count
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.model_folder.read import RUN_PRECISION
from resnetlab.model_folder.store import LoadedModel, load_model_folder
from resnetlab.models.inference import prepare_for_inference
from resnetlab.models.photo_predictions import (
    ImagePrediction,
    PhotoOutputs,
    PredictOutputs,
    make_predict_outputs,
    predict_images,
)
from resnetlab.notebook import ObjectSummary, with_summary
from resnetlab.recipes.numerics import Numerics, parse_device
from resnetlab.table import Table
from resnetlab.training.device import autocast, memory_format, setup_device
from resnetlab.training.resolve import bf16_is_fast, resolve_numerics


@dataclass(frozen=True)
class ClassProbability:
    """Predicted class with its probability, 0 to 1."""

    label: str
    probability: float


@with_summary
@dataclass(frozen=True)
class Prediction:
    """Prediction for one image: the most probable classes in descending order."""

    name: str
    top_classes: tuple[ClassProbability, ...]
    prediction_set: tuple[str, ...] | None = None
    """Prediction set for the coverage, the most probable class first; None without a coverage."""
    none_of_these: bool | None = None
    """True for an image unlike the training images; None if the model has no novelty detector."""

    @property
    def answer(self) -> ClassProbability:
        """Class of a prediction set of one class, else the most probable class.

        With a threshold for each class, the class of the set need not be the most probable one.
        """
        if self.prediction_set is None or len(self.prediction_set) != 1:
            return self.top_classes[0]
        (label,) = self.prediction_set
        return next(item for item in self.top_classes if item.label == label)

    def _summary(self) -> ObjectSummary:
        classes = [(item.label, item.probability) for item in self.top_classes]
        texts = [f"{label} {probability:.1%}" for label, probability in classes]
        title = f"{self.name}: {', '.join(texts)}"
        if self.none_of_these:
            title += "; none of these"
        return ObjectSummary(title, header=("class", "probability"), rows=classes)


@with_summary
class Predictions(list[Prediction]):
    """List of predictions, in the order of the images."""

    def table(self) -> Table:
        """Return a row for each image, with its most probable class."""
        return Table.from_rows(
            {
                "image": prediction.name,
                "class": prediction.answer.label,
                "probability": prediction.answer.probability,
                "none_of_these": prediction.none_of_these,
            }
            for prediction in self
        )

    def _summary(self) -> ObjectSummary:
        table = self.table()
        header, rows = list(table.columns), [tuple(row.values()) for row in table]
        return ObjectSummary(format_count(len(self), "image"), header=header, rows=rows)


@dataclass(frozen=True)
class CalibratedPrediction(ImagePrediction):
    """Prediction of a model for an image, with probabilities after the temperature, if any."""

    uncalibrated: NDArray[np.float64] | None = None
    """Probabilities (K,) before the temperature."""
    novelty: float | None = None
    """Novelty of the image; None if the model has no novelty detector."""


@with_summary
class Classifier:
    """Trained network for images: `load_model("pets").predict(["cat.jpg"])`."""

    def __init__(self, loaded_model: LoadedModel, device: str = "auto", threads: int = 0) -> None:
        self.file: ModelFile = loaded_model.file
        self.confidence = loaded_model.confidence
        self.confidence_note = loaded_model.confidence_note
        kind, index = parse_device(device)
        numerics = Numerics(device=kind, precision="fp32", threads=threads or _env_threads())
        self.numerics = _with_run_precision(
            resolve_numerics(numerics, single_run=True),
            loaded_model.file.provenance.get(RUN_PRECISION),
        )
        self.device = setup_device(self.numerics, index)
        self.module = loaded_model.module.to(self.device)
        transform = loaded_model.file.eval_transform
        self._mean, self._std = (
            torch.tensor(values, device=self.device) for values in (transform.mean, transform.std)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Note if a run evaluated itself in another precision than this model does."""
        precision = self.file.provenance.get(RUN_PRECISION, self.numerics.precision)
        if precision == self.numerics.precision:
            return ()
        here = f"{self.numerics.precision} on this device"
        return (f"the run evaluated itself in {precision}, and this evaluation is in {here}",)

    @cached_property
    def _network_outputs(self) -> PredictOutputs:
        """Function from views to outputs, by a copy of the network that is prepared at the first
        prediction.

        A model in bf16 repeats the evaluation of its run, so that its network is used as it is.
        """
        network = self.module
        if self.numerics.precision == "fp32":
            network = prepare_for_inference(network, memory_format(self.numerics))
        return make_predict_outputs(
            network,
            self.file.eval_transform,
            self.device,
            self.file.name,
            with_features=self.confidence is not None,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return self.file.classes

    def predict(
        self,
        images: Iterable[str | Path | Image.Image],
        *,
        top: int = 5,
        tta: Tta = "none",
        coverage: float | None = None,
    ) -> Predictions:
        """Predict the most probable classes of images.

        Args:
            images: Files or Pillow images.
            top: Number of classes of each prediction.
            tta: Test-time augmentation.
            coverage: Number between 0 and 1; each prediction then has the set of classes that
                contains the correct one as often. None for no sets.

        Returns:
            A prediction for each image, in order.

        Raises:
            InputError: An input is not an image, or the model cannot give the coverage.
        """
        thresholds = None if coverage is None else self.set_thresholds(coverage, tta)
        inputs = [_to_lazy_image(item, number) for number, item in enumerate(images)]
        results = list(self.predict_images(inputs, tta=tta))
        fix = "replace it, or leave it out"
        bad = [
            Problem(result.image.name, result.reason, fix) for result in results if result.reason
        ]
        if bad:
            raise InputError(*bad)
        return Predictions(self.top_k(result, top, thresholds) for result in results)

    def set_thresholds(self, coverage: float, tta: Tta = "none") -> NDArray[np.float64]:
        """Return the lowest probability (K,) with which each class belongs to a prediction set.

        Raises InputError if the model cannot give the coverage.
        """
        check_coverage(self.confidence, self.confidence_note, coverage, tta)
        assert self.confidence is not None
        return self.confidence.thresholds(coverage)

    def top_k(
        self,
        result: CalibratedPrediction,
        top: int,
        thresholds: NDArray[np.float64] | None = None,
    ) -> Prediction:
        """Return the `top` most probable classes of an image from its probabilities.

        `thresholds` of `set_thresholds` add the prediction set, and all of its classes.
        """
        assert result.probabilities is not None, result.reason
        order = np.argsort(-result.probabilities, kind="stable")
        prediction_set = None
        if thresholds is not None:
            in_set = (result.probabilities >= thresholds)[order]
            prediction_set = tuple(self.classes[k] for k in order[in_set])
            top = max(top, 1 + int(np.flatnonzero(in_set).max(initial=0)))
        top_classes = tuple(
            ClassProbability(self.classes[k], float(result.probabilities[k])) for k in order[:top]
        )
        none_of_these = None
        if self.confidence is not None and result.novelty is not None:
            none_of_these = self.confidence.is_novel(result.novelty)
        return Prediction(result.image.name, top_classes, prediction_set, none_of_these)

    def predict_images(
        self,
        images: Iterable[LazyImage],
        *,
        tta: Tta = "none",
        batch_size: int = LOADER_BATCH_SIZE,
    ) -> Iterator[CalibratedPrediction]:
        """Yield the probabilities of each image, or the reason why it cannot be decoded, in order.

        Raises InputError if `tta` does not suit the model, and ResourceError if a batch does not
        fit in memory.
        """
        check_tta(self.file.eval_transform, tta)
        for result in predict_images(
            self.predict_outputs, images, self.file.eval_transform, tta, batch_size
        ):
            yield self.calibrate(result, tta)

    def calibrate(self, result: ImagePrediction, tta: Tta = "none") -> CalibratedPrediction:
        """Return the prediction after the temperature, with the novelty of the image.

        The novelty was fitted without test-time augmentation, so that it is None with it.
        """
        image, raw, confidence = result.image, result.probabilities, self.confidence
        if raw is None or confidence is None:
            return CalibratedPrediction(image, raw, result.reason, uncalibrated=raw)
        novelty = None
        if tta == "none":
            assert result.logits is not None
            assert result.features is not None
            novelty = float(confidence.novelty(result.logits[None], result.features[None])[0])
        probabilities = confidence.calibrate(raw[None])[0]
        return CalibratedPrediction(image, probabilities, uncalibrated=raw, novelty=novelty)

    def predict_outputs(self, views: NDArray[np.uint8]) -> PhotoOutputs:
        """Return the network's outputs before the temperature, averaged over the V views of each
        image (N, V, H, W, C) uint8.
        """
        try:
            with autocast(self.numerics):
                return self._network_outputs(views)
        except torch.OutOfMemoryError as error:
            message = (
                f"a batch of {format_count(len(views), 'photograph')} does "
                "not fit in the device's memory"
            )
            raise ResourceError(
                Problem(self.file.name, message, "give a smaller --batch-size, or --device cpu")
            ) from error

    def _summary(self) -> ObjectSummary:
        file, count = self.file, format_count(len(self.classes), "class")
        details = {"classes": ", ".join(self.classes), "device": str(self.device)}
        return ObjectSummary(
            f"{file.name}: {count}, license {file.license.name or 'unknown'}", details
        )

    def preprocess(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Convert uint8 pixels (B, H, W, C) to normalized fp32 images (B, C, H, W) on the model's
        device.
        """
        return normalize(torch.from_numpy(pixels).to(self.device), self._mean, self._std)


def _with_run_precision(numerics: Numerics, precision: object) -> Numerics:
    """Return `numerics` in bf16 if the run evaluated itself in it and the device multiplies it.

    Otherwise the forward pass is in fp32.
    """
    if precision == "bf16-emulated" and numerics.device == "cpu":
        return replace(numerics, precision=precision)
    in_bf16 = precision == "bf16" and bf16_is_fast(numerics.device)
    return replace(numerics, precision="bf16" if in_bf16 else "fp32")


def _env_threads() -> int:
    """Return the threads that OMP_NUM_THREADS asks for, or 0 (all cores) if it is not a number."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdecimal() else 0


def load_model(
    folder: str | Path,
    *,
    device: str = "auto",
    accept_license: bool = False,
    trust_code: bool = False,
    threads: int = 0,
) -> Classifier:
    """Load a trained network.

    Args:
        folder: Model folder, folder of a finished run, or output of `import-weights`.
        device: Device, such as `cpu` or `cuda:1`; `auto` takes a GPU if there is one.
        accept_license: Accept weights whose license forbids commercial use.
        trust_code: Consent to a network that is built by a function from outside this package,
            timm and torchvision.
        threads: Number of CPU threads; 0 takes OMP_NUM_THREADS, else all cores.

    Returns:
        The network with its classes and its evaluation transform.

    Raises:
        InputError: There is no model, its weights do not match their SHA-256, or a consent is
            missing.
    """
    read_accepted_model(Path(folder), accept_license, trust_code=trust_code)
    return Classifier(load_model_folder(Path(folder)), device, threads)


def _to_lazy_image(item: str | Path | Image.Image, number: int) -> LazyImage:
    if isinstance(item, Image.Image):
        return LazyImage(f"image {number}", lambda: image_decoder.orient_and_convert(item))
    return image_from_file(Path(item))
