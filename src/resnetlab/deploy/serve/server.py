"""HTTP service that predicts the classes of a photograph, as a web page and as JSON. Needs the
extra `serve`.

No route returns a file or opens a URL. The headers Host and Origin are checked, so that no page of
another site can use the service. Every error is one line of JSON. prediction_service.py reads the
uploads and predicts.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from resnetlab.data.sources import image_decoder
from resnetlab.deploy.explain.explainer import explain
from resnetlab.deploy.predict import Classifier
from resnetlab.deploy.serve import pages
from resnetlab.deploy.serve.connections import limited_protocol
from resnetlab.deploy.serve.limits import Limits
from resnetlab.deploy.serve.prediction_service import PredictionService, PredictResponse
from resnetlab.errors import InputError
from resnetlab.local_server import SECURITY_HEADERS, listen, refusal
from resnetlab.messages import Notify
from resnetlab.translation import LANGUAGES, Language

FORM_FIELD = "photograph"
"""Documented name of the form field; any other name works too."""


@dataclass(frozen=True)
class HealthResponse:
    """Response of `/health`."""

    status: str
    model: str
    num_classes: int
    license: str
    class_names: list[str]
    """Names of the classes, in the order of the outputs."""


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
    service = PredictionService(model, limits or Limits())
    # Warm-up for later requests; not every network supports Grad-CAM.
    with contextlib.suppress(InputError):
        explain(model, Image.new("RGB", (256, 256), "gray"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with image_decoder.suppress_pillow_warnings():
            yield
        service.close()

    app = FastAPI(
        title=f"resnetlab: {model.file.name}",
        version=model.file.weights_sha256[:12] or "0",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        summary="Predicts the classes of a photograph.",
    )
    _add_pages(app, service, language)
    _add_api(app, service)
    _add_security_checks(app, host)
    return app


def _add_pages(app: FastAPI, service: PredictionService, language: Language | None) -> None:
    """Add the start page and the reference of the API, which are HTML."""
    model = service.model
    start_pages = {
        name: pages.start_page(model.file, service.limits, model.confidence is not None, name)
        for name in LANGUAGES
    }

    @app.get("/", include_in_schema=False)
    async def start_page(request: Request) -> Response:
        accepted = request.headers.get("accept-language", "")
        page = start_pages[language or pages.preferred_language(accepted)]
        headers = {"Content-Security-Policy": page.policy, "Vary": "Accept-Language"}
        return HTMLResponse(page.html, headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        page = pages.api_reference_page(app.openapi(), str(request.base_url))
        return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})


def _add_api(app: FastAPI, service: PredictionService) -> None:
    """Add the routes that answer in JSON."""

    @app.get("/health", summary="Report that the service runs, and its model.")
    async def health() -> HealthResponse:
        file = service.model.file
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


def _request_body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {FORM_FIELD: file}, "required": [FORM_FIELD]}
    kinds = [f"image/{kind.lower()}" for kind in image_decoder.FORMATS]
    content = {"multipart/form-data": {"schema": form}} | {kind: {"schema": file} for kind in kinds}
    return {"required": True, "content": content}


def _local_address() -> str:
    """Return the address of this machine on its outgoing network. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
