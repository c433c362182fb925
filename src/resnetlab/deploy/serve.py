"""A page and a JSON service that name what is in a photograph. Imported only where the extra `serve` is installed.

Owns the limits: uploads stay in memory and are bounded in bytes, pixels, time and number; no route gives a file or
fetches an address; Host and Origin are checked, so that no page on the web can use a service on this machine. Every
error is one line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from resnetlab.data.sources import images
from resnetlab.data.view import show
from resnetlab.deploy import pages
from resnetlab.deploy.explain import Explainer, explain
from resnetlab.deploy.pictures import Picture
from resnetlab.deploy.predict import Classifier, Seen, views
from resnetlab.errors import InputError, mistake

FIELD = "photograph"
"""Of a form; any other name does as well."""


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take."""

    megabytes: float = 10
    megapixels: float = 20
    seconds: float = 30
    """To send a photograph, and again to look at it."""
    waiting: int = 8
    """Requests at a time; the network looks at one after another."""


@dataclass(frozen=True)
class Named:
    """A class and its probability, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What `/predict` says."""

    model: str
    licence: str
    """Of the weights; it goes with what is made of them."""
    classes: list[Named]
    """The most probable first."""
    seconds: float
    grad_cam: str = ""
    """Asked for with `explain=true`: where the model saw the first class, as a PNG in a data URI."""


@dataclass(frozen=True)
class Health:
    """What `/health` says."""

    status: str
    model: str
    classes: int
    licence: str


class Service:
    """One model, one thread that looks, and the count of those who wait."""

    def __init__(self, model: Classifier, limits: Limits) -> None:
        self.model, self.limits, self.explainer = model, limits, Explainer(model)
        self.waiting = 0
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="look")

    async def answer(self, request: Request, top: int, explained: bool) -> Answer:
        """Read a photograph and name it within the limits."""
        if self.waiting >= self.limits.waiting:
            raise HTTPException(503, f"busy: {self.limits.waiting} photographs are waiting; try again in a moment")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                raw = await _body(request, int(self.limits.megabytes * 1e6))
            looking = self.pool.submit(partial(self.look, raw, top, explained))
            try:
                return await asyncio.wait_for(asyncio.wrap_future(looking), self.limits.seconds)
            finally:
                looking.cancel()  # where it has not begun
        except TimeoutError:
            raise HTTPException(408, f"took longer than {self.limits.seconds:g} s; send a smaller photograph") from None
        finally:
            self.waiting -= 1

    def look(self, raw: bytes, top: int, explained: bool) -> Answer:
        """Name the photograph in `raw`."""
        began = time.monotonic()
        with images.quiet():
            photograph = self._decode(raw)
        probabilities = self.model.probabilities(views(photograph, self.model.file.view, "none")[np.newaxis])[0]
        seen = Seen(Picture("photograph", lambda: photograph), probabilities)
        guesses = [Named(guess.label, guess.probability) for guess in self.model.best(seen, top).guesses]
        heat = ""
        if explained:
            try:
                (explained_as,) = self.explainer.explain([show(photograph, self.model.file.view)], [""])
                heat = _png_uri(explained_as.overlay())
            except InputError as error:
                raise HTTPException(501, str(error)) from None
        file = self.model.file
        return Answer(file.name, str(file.licence), guesses, round(time.monotonic() - began, 3), heat)

    def _decode(self, raw: bytes) -> Image.Image:
        try:
            height, width = images.header(raw)
            if height * width > self.limits.megapixels * 1e6:
                what = f"{height * width / 1e6:.1f} megapixels, at most {self.limits.megapixels:g} are taken"
                raise HTTPException(413, f"{what}; send a smaller photograph")
            return images.decode(raw)
        except images.BadImageError as error:
            raise HTTPException(422, f"{error}; send a whole photograph") from None


def application(model: Classifier, limits: Limits | None = None, host: str = "127.0.0.1") -> FastAPI:
    """The service as an ASGI application; `host` is the name that it is bound to."""
    service = Service(model, limits or Limits())
    with contextlib.suppress(InputError):  # the first look loads what the others need; not every network can explain
        explain(model, Image.new("RGB", (256, 256), "grey"))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title=f"resnetlab: {model.file.name}", version=model.file.weights_sha256[:12] or "0", docs_url=None,
        redoc_url=None, lifespan=life, summary="Names what is in a photograph.",
    )  # fmt: skip
    page = pages.front(model.file, service.limits)

    @app.get("/", include_in_schema=False)
    async def front() -> Response:
        return HTMLResponse(page.text, headers={"Content-Security-Policy": page.policy})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        held = pages.reference(app.openapi())
        return HTMLResponse(held.text, headers={"Content-Security-Policy": held.policy})

    @app.get("/health", summary="Whether the service is up, and with which model.")
    async def health() -> Health:
        file = model.file
        return Health("ok", file.name, len(file.classes), str(file.licence))

    @app.post("/predict", summary="Name what is in a photograph.", openapi_extra={"requestBody": _request_body()})
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=100, description="Classes.")] = 5,
        explain: Annotated[bool, Query(description="With where the first class was seen (Grad-CAM).")] = False,
    ) -> Answer:
        """The body is the file itself, or a form with one file."""
        return await service.answer(request, top, explain)

    _guard(app, host)
    return app


def run(model: Classifier, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until a signal. Raises InputError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        what = f"{host}:{port} cannot be bound: {(error.strerror or str(error)).lower()}"
        raise mistake("--port", what, "--port 0 takes one that is free") from None
    with listening:
        config = uvicorn.Config(
            application(model, host=host), log_level="warning", access_log=False, server_header=False,
            timeout_keep_alive=5, limit_concurrency=64, timeout_graceful_shutdown=5,
        )  # fmt: skip
        bound = listening.getsockname()[1]
        say(f"{model.file.name}: http://{f'[{host}]' if ':' in host else host}:{bound} (Ctrl-C ends it)")
        if host in ("0.0.0.0", "::"):
            say(f"Whoever reaches this machine can use it: http://{_address()}:{bound} on your network.")
        uvicorn.Server(config).run(sockets=[listening])


def allowed_host(header: str, bound: str) -> bool:
    """Whether a Host header is this machine's: an address, `localhost`, its name, or the name that it is bound to.

    A name of another is a web page that was pointed here (DNS rebinding); an address cannot be.
    """
    name = header.rpartition("]")[0].lstrip("[") if header.startswith("[") else header.partition(":")[0]
    own = socket.gethostname().lower()
    if name.lower() in {"localhost", own, f"{own}.local", bound.lower()}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _guard(app: FastAPI, host: str) -> None:
    """Check Host and Origin, and tell every error as a line of JSON."""

    @app.middleware("http")
    async def check(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        given, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not allowed_host(given, host):
            return _error(403, f"not served under the name {given[:100]}; use the address of this machine")
        if origin is not None and origin.partition("://")[2] != given:
            return _error(403, "a page of another site may not use this service")
        response = await following(request)
        response.headers.update(
            {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        )
        return response

    @app.exception_handler(HTTPException)
    async def told(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _error(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return _error(500, f"unforeseen: {type(error).__name__}")


def _error(status: int, said: str) -> Response:
    return JSONResponse({"error": " ".join(said.split())}, status_code=status)


async def _body(request: Request, limit: int) -> bytes:
    """The photograph: the body itself, or the first file of a form; never more than `limit` bytes in memory."""
    told = f"larger than {limit / 1e6:g} MB; send a smaller photograph"
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise HTTPException(413, told)

    async def bounded() -> AsyncIterator[bytes]:
        taken = 0
        async for part in request.stream():
            taken += len(part)
            if taken > limit:
                raise HTTPException(413, told)
            yield part

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return b"".join([part async for part in bounded()])
    try:
        parser = MultiPartParser(request.headers, bounded(), max_files=1, max_fields=8)  # type: ignore[arg-type]
        parser.spool_max_size = limit + 1  # in memory, never a file
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(422, f"not a form with one file: {error}") from None
    try:
        files = [held for held in form.values() if not isinstance(held, str)]
        if not files:
            raise HTTPException(422, "a form without a file; send one photograph")
        return await files[0].read()
    finally:
        await form.close()


def _request_body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {FIELD: file}, "required": [FIELD]}
    kinds = [f"image/{kind.lower()}" for kind in images.FORMATS]
    content = {"multipart/form-data": {"schema": form}} | {kind: {"schema": file} for kind in kinds}
    return {"required": True, "content": content}


def _png_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _address() -> str:
    """This machine's own on the network that leads out; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
