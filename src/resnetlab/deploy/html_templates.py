"""Templates of the HTML pages of this package, in the folder `templates`. Free of torch."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from resnetlab.translation import current_language, tr, tr_recorded

if TYPE_CHECKING:
    from jinja2 import Environment


def read_template(name: str) -> str:
    """Return the text of a file in `templates`."""
    return (resources.files("resnetlab.deploy") / "templates" / name).read_text(encoding="utf-8")


def mark_safe(text: str) -> Any:
    """Return a text of this package that a template takes over without escapes."""
    from markupsafe import Markup

    return Markup(text)


def template_environment() -> Environment:
    """Return the environment of the templates, which escapes every value."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("resnetlab.deploy"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals |= {"tr": tr, "tr_recorded": tr_recorded, "language": current_language}
    return environment
