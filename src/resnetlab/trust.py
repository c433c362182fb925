"""Consent to run code that a file names as `package.module:function`. Free of torch.

A model folder, a run or a study file from somebody else may name any function, so none is imported
without consent. Consent is given by typing the name on the command line, by `--trust-code` (in
Python `trust_code=True`) for the files of one command, or by `trusted_packages` in the user's
configuration file. Consent belongs to this process; a worker gets it with its job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnetlab.errors import input_error
from resnetlab.messages import Notify, silent
from resnetlab.settings import trusted_packages

TRUSTED_PREFIX = "resnetlab.examples."
"""Modules of this package with networks, which need no consent."""

Call = tuple[str, str]
"""Function and its arguments as JSON, without the number of classes, which follows the data."""


@dataclass
class _Consent:
    """Consent of this process, and the files that named each function."""

    files: bool = False
    functions: set[str] = field(default_factory=set)
    calls: set[Call] = field(default_factory=set)
    origins: dict[Call, str] = field(default_factory=dict)
    announced: set[Call] = field(default_factory=set)
    notify: Notify = silent


_consent = _Consent()


def reset(notify: Notify = silent) -> None:
    """Withdraw all consent of this process. `notify` receives a line about code before it runs."""
    global _consent
    _consent = _Consent(notify=notify)


def trust_files() -> None:
    """Consent to the code that the files of this command name."""
    _consent.files = True


def allow(source: str, kwargs: Mapping[str, Any] | None = None) -> None:
    """Consent to the function `source` with the arguments `kwargs`; None stands for any."""
    if kwargs is None:
        _consent.functions.add(source)
    else:
        _consent.calls.add(_call(source, kwargs))


def record_origin(source: str, kwargs: Mapping[str, Any], where: str) -> None:
    """Record the file that names a function, for the messages."""
    _consent.origins[_call(source, kwargs)] = where


def is_allowed(source: str, kwargs: Mapping[str, Any]) -> bool:
    """Return True if the function may be imported and called. Raises InputError for an invalid
    configuration file.
    """
    module = source.partition(":")[0]
    return (
        module.startswith(TRUSTED_PREFIX)
        or _consent.files
        or source in _consent.functions
        or _call(source, kwargs) in _consent.calls
        or any(f"{module}.".startswith(f"{package}.") for package in trusted_packages())
    )


def check_consent(source: str, kwargs: Mapping[str, Any]) -> None:
    """Raise InputError unless the function may be imported and called. Announce it once if so."""
    call = _call(source, kwargs)
    where = _consent.origins.get(call, "")
    if not is_allowed(source, kwargs):
        message = f"names code that is not run without your consent: {format_call(source, kwargs)}"
        module = source.partition(":")[0]
        fix = (
            f"read the module {module}; if you trust it, add --trust-code (in Python, "
            "trust_code=True)"
        )
        raise input_error(where or source, message, fix)
    if where and call not in _consent.announced and not source.startswith(TRUSTED_PREFIX):
        _consent.notify(f"custom code: {format_call(source, kwargs)}, named by {where}")
    _consent.announced.add(call)


def announce(line: str) -> None:
    """Show the user of this process a line about code."""
    _consent.notify(line)


def format_call(source: str, kwargs: Mapping[str, Any]) -> str:
    """Return a function with its arguments, at most 200 characters of them."""
    text = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
    return f"{source}({text if len(text) <= 200 else text[:197] + '...'})"


def _call(source: str, kwargs: Mapping[str, Any]) -> Call:
    arguments = {name: value for name, value in kwargs.items() if name != "num_classes"}
    return source, json.dumps(arguments, sort_keys=True, default=list)
