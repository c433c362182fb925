"""Command `serve`: parse, load the model, serve until Ctrl-C. Heavy imports stay inside it."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from resnetlab.cli.common import AcceptLicense, Device, Open, check_device, open_page
from resnetlab.cli.deploy.options import Model, announce_model
from resnetlab.translation import check_language


def serve(
    model: Model,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 0.0.0.0 admits the other devices of your network."
        ),
    ] = "127.0.0.1",
    device: Device = "auto",
    accept_license: AcceptLicense = False,
    open_report: Open = False,
    lang: Annotated[
        str,
        typer.Option(
            "--lang",
            help="Language of the page: en or fr. Default: that of the browser.",
            metavar="LANGUAGE",
        ),
    ] = "",
) -> None:
    """Serve predictions for photographs as a web page and as JSON.

    Example:  resnetlab serve pets --port 8000
    """
    check_device(device)
    language = check_language(lang) if lang else None
    from resnetlab.deploy.checks import read_accepted_model
    from resnetlab.deploy.optional_imports import optional_import

    file = read_accepted_model(model, accept_license)
    for package in ("fastapi", "uvicorn", "multipart"):
        optional_import(package, "serve")
    announce_model(file)
    from resnetlab.deploy.predict import load_model
    from resnetlab.deploy.serve.server import run_server

    loaded = load_model(model, device=device, accept_license=accept_license)
    on_ready = open_page if open_report else lambda _: None
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    run_server(loaded, host, port, typer.echo, on_ready, language)
