"""HTML pages of the service. They load nothing from other hosts and run only their own script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from resnetlab.data.sources.image_decoder import is_heif_installed
from resnetlab.deploy.html_templates import mark_safe, read_template, template_environment
from resnetlab.deploy.serve.limits import Limits
from resnetlab.model_folder.card import describe_transform
from resnetlab.model_folder.model_file import ModelFile
from resnetlab.translation import LANGUAGES, Language, tr, use_language

_BASE_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

MAX_LISTED_CLASSES = 500
"""Number of classes that the start page lists."""

_MEDIA_TYPES = ("jpeg", "png", "webp", "bmp", "gif", "tiff", "avif")
_ACCEPTED = (*(f"image/{name}" for name in _MEDIA_TYPES), ".avif")
"""Formats that a browser offers to choose. Some systems do not know the media types of new formats,
so the suffixes of those are named too."""

_HEIF = ("image/heic", "image/heif", ".heic", ".heif")
"""Formats that need the package pillow-heif. Where they are not accepted, an iPhone sends JPEG."""


@dataclass(frozen=True)
class Page:
    """HTML page with its content security policy."""

    html: str
    policy: str


def start_page(
    file: ModelFile, limits: Limits, knows_unknown: bool = False, language: Language = "en"
) -> Page:
    """Return the start page, which uploads a photograph and shows the predicted classes.

    `knows_unknown` is True for a model that calls a photograph of other things none of these.
    In another language than English, the attribute `data-words` has the texts of its script.
    """
    style, script = read_template("page.css"), read_template("page.js")
    policy = (
        f"{_BASE_POLICY}; style-src {_hash(style)}; script-src {_hash(script)}; img-src blob: "
        "data:; connect-src 'self'"
    )
    with use_language(language):
        text = (
            template_environment()
            .get_template("page.html")
            .render(
                file=file,
                limits=limits,
                knows_unknown=knows_unknown,
                accept=",".join((*_ACCEPTED, *(_HEIF if is_heif_installed() else ()))),
                classes=file.classes[:MAX_LISTED_CLASSES],
                style=mark_safe(style),
                script=mark_safe(script),
                transform_text=describe_transform(file),
                words="" if language == "en" else json.dumps(_script_texts(script)),
            )
        )
    return Page(text, policy)


def _script_texts(script: str) -> dict[str, str]:
    """Return the texts of a script in the language in use, by their English ones."""
    return {text: tr(text) for text in re.findall(r'\btr\("([^"]+)"', script)}


def preferred_language(accept_language: str) -> Language:
    """Return the language that the header Accept-Language prefers; English if it names none."""
    weights: dict[str, float] = {}
    for item in "".join(accept_language.lower().split()).split(","):
        name, _, weight = item.partition(";q=")
        with suppress(ValueError):
            weights.setdefault(name.strip()[:2], float(weight or 1))
    return max(LANGUAGES, key=lambda language: weights.get(language, 0.0))


def api_reference_page(schema: dict[str, Any], address: str) -> Page:
    """Return the page that documents the routes of the service, from its OpenAPI description.

    `address` is the address of the service, which ends in a slash.
    """
    style = read_template("page.css")
    text = (
        template_environment()
        .get_template("reference.html")
        .render(schema=schema, address=address, style=mark_safe(style))
    )
    return Page(text, f"{_BASE_POLICY}; style-src {_hash(style)}; img-src data:")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
