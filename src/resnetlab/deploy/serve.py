"""HTTP service that predicts the classes of a photograph, as a web page and as JSON. Needs the
extra `serve`.

Uploads stay in memory and are limited in bytes, pixels, time and number. No route returns a file or
opens a URL. The service checks the headers Host and Origin, so that no page of another site can use
it. Every error is one line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from resnetlab.data.photo_loader import LazyImage, augmented_views
from resnetlab.data.sources import image_decoder
from resnetlab.data.transforms.eval_transform import apply_eval_transform
from resnetlab.deploy import pages
from resnetlab.deploy.confidence import describe_doubt, describe_unknown
from resnetlab.deploy.connections import limited_protocol
from resnetlab.deploy.explain import Explainer, explain
from resnetlab.deploy.predict import Classifier
from resnetlab.deploy.server_limits import Limits
from resnetlab.errors import InputError
from resnetlab.local_server import SECURITY_HEADERS, listen, refusal
from resnetlab.messages import Notify
from resnetlab.training.photo_predictions import NonFiniteOutputsError, image_prediction
from resnetlab.translation import LANGUAGES, Language

FORM_FIELD = "photograph"
"""Documented name of the form field; any other name works too."""


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


@dataclass(frozen=True)
class HealthResponse:
    """Response of `/health`."""

    status: str
    model: str
    classes: int
    license: str
    class_names: list[str]
    """Names of the classes, in the order of the outputs."""


class Service:
    """Prediction service: a model, one thread for inference, and a bounded queue of requests."""

    def __init__(self, model: Classifier, limits: Limits) -> None:
        self.model, self.limits, self.explainer = model, limits, Explainer(model)
        self.num_requests = 0
        self.waiting_bytes = 0
        self.seconds_per_image = 0.1
        """Duration of the last prediction, for the header Retry-After."""
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

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
                response = await asyncio.wait_for(
                    asyncio.wrap_future(prediction), self.limits.seconds
                )
            finally:
                prediction.cancel()  # has an effect only before the prediction starts
            self.seconds_per_image = response.seconds
            return response
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
        seconds = max(1, round(self.num_requests * self.seconds_per_image))
        return HTTPException(
            503,
            f"busy: {reason}; try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )

    def predict(self, raw: bytes, top: int, with_heat_map: bool) -> PredictResponse:
        """Predict the classes of the photograph in the bytes `raw`."""
        start = time.monotonic()
        with image_decoder.suppress_pillow_warnings():
            photograph = self._decode(raw)
        views = augmented_views(photograph, self.model.file.eval_transform, "none")[np.newaxis]
        try:
            outputs = self.model.predict_outputs(views)
        except NonFiniteOutputsError as error:
            raise HTTPException(500, str(error)) from None
        image = LazyImage("photograph", lambda: photograph)
        result = self.model.calibrate(image_prediction(image, outputs, 0))
        prediction = self.model.top_k(result, top)
        classes = [PredictedClass(item.label, item.probability) for item in prediction.top_classes]
        heat = ""
        if with_heat_map:
            try:
                (explained_as,) = self.explainer.explain(
                    [apply_eval_transform(photograph, self.model.file.eval_transform)], [""]
                )
                heat = _png_uri(explained_as.overlay())
            except InputError as error:
                raise HTTPException(501, str(error)) from None
        file = self.model.file
        first, unknown = classes[0], prediction.none_of_these
        note = (
            describe_unknown(first.name, first.probability)
            if unknown
            else describe_doubt(first.probability, len(file.classes))
        )
        seconds = round(time.monotonic() - start, 3)
        return PredictResponse(file.name, str(file.license), classes, seconds, heat, note, unknown)

    def _decode(self, raw: bytes) -> Image.Image:
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


def create_app(
    model: Classifier,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    language: Language | None = None,
) -> FastAPI:
    """Return the service as an ASGI application.

    `host` is the name or address that it is bound to. The start page is in `language`, or in that
    of the browser.
    """
    service = Service(model, limits or Limits())
    # Warm-up for later requests; not every network supports Grad-CAM.
    with contextlib.suppress(InputError):
        explain(model, Image.new("RGB", (256, 256), "gray"))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title=f"resnetlab: {model.file.name}",
        version=model.file.weights_sha256[:12] or "0",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        summary="Predicts the classes of a photograph.",
    )
    start_pages = {
        name: pages.start_page(model.file, service.limits, model.confidence is not None, name)
        for name in LANGUAGES
    }

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        accepted = request.headers.get("accept-language", "")
        page = start_pages[language or pages.preferred_language(accepted)]
        headers = {"Content-Security-Policy": page.policy, "Vary": "Accept-Language"}
        return HTMLResponse(page.html, headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        reference_page = pages.api_reference_page(app.openapi(), str(request.base_url))
        return HTMLResponse(
            reference_page.html, headers={"Content-Security-Policy": reference_page.policy}
        )

    @app.get("/health", summary="Report that the service runs, and its model.")
    async def health() -> HealthResponse:
        file = model.file
        return HealthResponse(
            "ok", file.name, len(file.classes), str(file.license), list(file.classes)
        )

    @app.post(
        "/predict",
        summary="Predict the classes of a photograph.",
        openapi_extra={"requestBody": _request_body()},
    )
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=100, description="Number of classes.")] = 5,
        explain: Annotated[
            bool, Query(description="Add the Grad-CAM heat map of the first class.")
        ] = False,
    ) -> PredictResponse:
        """Predict the classes of the photograph in the body: the file itself, or a form with one
        file.
        """
        return await service.handle(request, top, explain)

    _add_security_checks(app, host)
    return app


def run_server(
    model: Classifier,
    host: str,
    port: int,
    notify: Notify,
    on_ready: Callable[[str], object] = lambda _: None,
    language: Language | None = None,
) -> None:
    """Serve until a signal ends the process.

    Args:
        model: Network that predicts.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        notify: Function that gets a line for the user.
        on_ready: Function that gets the URL of the start page once the port is bound.
        language: Language of the start page; None for that of each browser.

    Raises:
        InputError: The port is in use.
    """
    with listen(host, port) as listening:
        limits = Limits()
        config = uvicorn.Config(
            create_app(model, limits, host, language),
            http=limited_protocol(limits),
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=3,
        )
        bound = listening.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        notify(f"{model.file.name}: http://{name}:{bound} (Ctrl-C stops it)")
        on_ready(f"http://{'127.0.0.1' if host == '0.0.0.0' else name}:{bound}")
        if model.confidence_note:
            notify(f"note: {model.confidence_note}")
        if host in ("0.0.0.0", "::"):
            notify(
                "Every device that reaches this machine can use it: "
                f"http://{_local_address()}:{bound} on your network."
            )
        uvicorn.Server(config).run(sockets=[listening])


def _add_security_checks(app: FastAPI, host: str) -> None:
    """Add the check of Host and Origin, and handlers that return every error as a line of JSON."""

    @app.middleware("http")
    async def check(
        request: Request, following: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        headers = request.headers
        if reason := refusal(headers.get("host", ""), headers.get("origin"), host):
            return _error(403, reason)
        response = await following(request)
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, __: Exception) -> Response:
        return _error(400, "the client closed the connection")  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _error(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return _error(500, f"unexpected error: {type(error).__name__}")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(
        {"error": " ".join(message.split())}, status_code=status, headers=dict(headers or {})
    )


async def _read_body(request: Request, limit: int) -> bytes:
    """Read the photograph from the body or the first file of a form, at most `limit` bytes."""
    too_large = f"larger than {limit / 1e6:g} MB; send a smaller photograph"
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise HTTPException(413, too_large)

    async def bounded() -> AsyncIterator[bytes]:
        received = 0
        async for part in request.stream():
            received += len(part)
            if received > limit:
                raise HTTPException(413, too_large)
            yield part

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
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


def _request_body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {FORM_FIELD: file}, "required": [FORM_FIELD]}
    kinds = [f"image/{kind.lower()}" for kind in image_decoder.FORMATS]
    content = {"multipart/form-data": {"schema": form}} | {kind: {"schema": file} for kind in kinds}
    return {"required": True, "content": content}


def _png_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _local_address() -> str:
    """Return the address of this machine on its outgoing network. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
