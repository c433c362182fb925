"""Prediction service behind the routes of server.py: from an uploaded photograph to its classes.

Uploads stay in memory and are limited in bytes, pixels, time and number.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from resnetlab.data.photo_loader import LazyImage, augmented_views
from resnetlab.data.sources import image_decoder
from resnetlab.data.sources.decode_cache import default_workers
from resnetlab.deploy.answer_texts import describe_doubt, describe_unknown
from resnetlab.deploy.explain.explainer import Explainer
from resnetlab.deploy.predict import Classifier
from resnetlab.deploy.serve.batching import MAX_BATCH_SIZE, BatchedNetwork
from resnetlab.deploy.serve.limits import Limits
from resnetlab.errors import InputError
from resnetlab.models.photo_predictions import NonFiniteOutputsError, image_prediction


@dataclass(frozen=True)
class PredictedClass:
    """Class with its probability, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class PredictResponse:
    """Response of `/predict`."""

    model: str
    license: str
    """License of the weights, which also applies to what is made with them."""
    classes: list[PredictedClass]
    """Classes, the most probable one first."""
    seconds: float
    grad_cam: str = ""
    """With `explain=true`, the Grad-CAM heat map of the first class, as a PNG in a data URI."""
    note: str = ""
    """Sentence for a person if the model is not sure of the first class, or does not know any."""
    none_of_these: bool | None = None
    """True for a photograph unlike the training photographs; null if the model cannot tell."""


class PredictionService:
    """Prediction service: a model, threads that decode, and a bounded queue of requests.

    Photographs that arrive together go through the network as one batch.
    """

    def __init__(self, model: Classifier, limits: Limits) -> None:
        self.model, self.limits, self.explainer = model, limits, Explainer(model)
        self.num_requests = 0
        self.waiting_bytes = 0
        self.network = BatchedNetwork(model.predict_outputs)
        # While the network works on a batch, the threads of the next one decode or wait.
        self.pool = ThreadPoolExecutor(2 * MAX_BATCH_SIZE, thread_name_prefix="predict")
        self.decoding = threading.BoundedSemaphore(default_workers())
        """Limit on the decoded photographs in memory: one for each core."""

    def close(self) -> None:
        """Let the threads end after the predictions that have started. Returns before."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.network.close()

    async def handle(self, request: Request, top: int, with_heat_map: bool) -> PredictResponse:
        """Read a photograph from a request and predict its classes within the limits."""
        if self.num_requests >= self.limits.max_requests:
            await self._discard_body(request)
            raise self._busy(f"{self.num_requests} photographs are waiting")
        self.num_requests += 1
        size = 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                raw = await _read_body(request, int(self.limits.megabytes * 1e6))
            if self.waiting_bytes + len(raw) > self.limits.waiting_megabytes * 1e6:
                raise self._busy(f"{self.waiting_bytes / 1e6:.0f} MB are waiting")
            size = len(raw)
            self.waiting_bytes += size
            prediction = self.pool.submit(partial(self.predict, raw, top, with_heat_map))
            try:
                return await asyncio.wait_for(asyncio.wrap_future(prediction), self.limits.seconds)
            finally:
                prediction.cancel()  # has an effect only before the prediction starts
        except TimeoutError:
            raise HTTPException(
                408, f"took longer than {self.limits.seconds:g} s; send a smaller photograph"
            ) from None
        finally:
            self.num_requests -= 1
            self.waiting_bytes -= size

    async def _discard_body(self, request: Request) -> None:
        """Read the body and drop it, so that a client that is still sending gets the answer instead
        of a broken connection.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.header_seconds):
                async for _ in request.stream():
                    pass

    def _busy(self, reason: str) -> HTTPException:
        seconds = max(1, round(self.num_requests * self.network.seconds_per_image))
        return HTTPException(
            503,
            f"busy: {reason}; try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )

    def predict(self, raw: bytes, top: int, with_heat_map: bool) -> PredictResponse:
        """Predict the classes of the photograph in the bytes `raw`."""
        start = time.monotonic()
        views = self._decode_views(raw)
        try:
            outputs, row = self.network.predict(views)
        except NonFiniteOutputsError as error:
            raise HTTPException(500, str(error)) from None
        image = LazyImage("photograph", partial(self._decode, raw))
        result = self.model.calibrate(image_prediction(image, outputs, row))
        prediction = self.model.top_k(result, top)
        classes = [PredictedClass(item.label, item.probability) for item in prediction.top_classes]
        heat_map = self._heat_map(views[0]) if with_heat_map else ""
        file, first = self.model.file, classes[0]
        if prediction.none_of_these:
            note = describe_unknown(first.name, first.probability)
        else:
            note = describe_doubt(first.probability, len(file.classes))
        return PredictResponse(
            model=file.name,
            license=str(file.license),
            classes=classes,
            seconds=round(time.monotonic() - start, 3),
            grad_cam=heat_map,
            note=note,
            none_of_these=prediction.none_of_these,
        )

    def _decode_views(self, raw: bytes) -> NDArray[np.uint8]:
        """Return the input (1, H, W, C) of the network for the photograph in the bytes `raw`."""
        with self.decoding:
            return augmented_views(self._decode(raw), self.model.file.eval_transform, "none")

    def _heat_map(self, pixels: NDArray[np.uint8]) -> str:
        """Return the Grad-CAM heat map of the first class as a PNG in a data URI."""
        try:
            # A list: the generator that `explain` returns would run in this thread.
            (explanation,) = self.network.run_alone(
                lambda: list(self.explainer.explain([pixels], [""]))
            )
        except InputError as error:
            raise HTTPException(501, str(error)) from None
        return _png_uri(explanation.overlay())

    def _decode(self, raw: bytes) -> Image.Image:
        """Decode the photograph in the bytes `raw`, or refuse it with the reason."""
        try:
            height, width = image_decoder.read_size(raw)
            if height * width > self.limits.megapixels * 1e6:
                message = (
                    f"{height * width / 1e6:.1f} megapixels; at most {self.limits.megapixels:g} "
                    "are allowed"
                )
                raise HTTPException(413, f"{message}; send a smaller photograph")
            return image_decoder.decode(raw)
        except image_decoder.BadImageError as error:
            raise HTTPException(422, f"{error}; send a whole photograph") from None


async def _read_body(request: Request, limit: int) -> bytes:
    """Read the photograph from the body or the first file of a form, at most `limit` bytes."""
    too_large = f"larger than {limit / 1e6:g} MB; send a smaller photograph"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise HTTPException(413, too_large)

    async def bounded() -> AsyncIterator[bytes]:
        received = 0
        async for part in request.stream():
            received += len(part)
            if received > limit:
                raise HTTPException(413, too_large)
            yield part

    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        return b"".join([part async for part in bounded()])
    try:
        parser = MultiPartParser(request.headers, bounded(), max_files=1, max_fields=8)  # type: ignore[arg-type]
        parser.spool_max_size = limit + 1  # keeps the upload in memory
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(422, f"not a form with one file: {error}") from None
    try:
        files = [value for value in form.values() if not isinstance(value, str)]
        if not files:
            raise HTTPException(422, "a form without a file; send one photograph")
        return await files[0].read()
    finally:
        await form.close()


def _png_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
