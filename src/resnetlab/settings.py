"""User settings: the folder of the cache, and whether downloads are allowed. Free of torch.

An environment variable has priority over the configuration file, and the file over the default of
the system. The file is `config.toml` in the user's configuration folder (`~/.config/resnetlab` on
Linux). Its keys are `cache`, `offline` and `trusted_packages`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.files import read_text

CACHE_VARIABLE = "RESNETLAB_CACHE"
"""Environment variable with the folder of the cache."""
OFFLINE_VARIABLE = "RESNETLAB_OFFLINE"
"""Environment variable: 1 forbids downloads, 0 allows them whatever the configuration file says."""

CONFIG_KEYS: dict[str, type] = {"cache": str, "offline": bool, "trusted_packages": list}
_ALLOWED_VALUES = {
    str: "the path of a folder, in quotes",
    bool: "true or false",
    list: 'names of packages: ["mynetworks"]',
}
BOOLEAN_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "": False,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def cache_dir() -> Path:
    """Return the user's folder for files that can be made again.

    Raises InputError if the setting cannot be read.
    """
    folder = os.environ.get(CACHE_VARIABLE) or _read_config().get("cache")
    if not folder:
        from platformdirs import user_cache_dir  # its import takes 10 ms

        return Path(user_cache_dir("resnetlab", appauthor=False))
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError:  # the path begins with ~name of an unknown user
        message, fix = "names the home folder of an unknown user", "give the path of a folder"
        raise input_error(
            f"{CACHE_VARIABLE}, or cache in {config_file()}", message, fix, got=folder
        ) from None


def downloads_dir() -> Path:
    """Return the folder of downloads, where a user may put files too.

    Raises InputError if the setting cannot be read.
    """
    return cache_dir() / "downloads"


def weights_dir() -> Path:
    """Return the folder of pre-trained weights that the user put there.

    Raises InputError if the setting cannot be read.
    """
    return cache_dir() / "weights"


def is_offline() -> bool:
    """Return True if downloads are forbidden. Raises InputError if its setting is no switch."""
    text = os.environ.get(OFFLINE_VARIABLE)
    if text is None:
        return bool(_read_config().get("offline", False))
    if text.strip().lower() not in BOOLEAN_WORDS:
        raise input_error(
            OFFLINE_VARIABLE, "not a switch", f"{OFFLINE_VARIABLE}=1", got=text, allowed="1 or 0"
        )
    return BOOLEAN_WORDS[text.strip().lower()]


def trusted_packages() -> tuple[str, ...]:
    """Return the packages of networks that files may name without further consent.

    Raises InputError if the settings cannot be read.
    """
    return tuple(_read_config().get("trusted_packages", ()))


def _is_package(name: object) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def check_downloads_allowed(name: str, fix: str) -> None:
    """Raise InputError if downloads are forbidden; `fix` names a file to provide instead."""
    if is_offline():
        why = (
            f"{OFFLINE_VARIABLE} is set"
            if os.environ.get(OFFLINE_VARIABLE)
            else f"{config_file()} has offline = true"
        )
        raise input_error(name, f"is not here, and nothing is downloaded because {why}", fix)


def config_file() -> Path:
    """Return the path of the configuration file, even if it does not exist."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("resnetlab", appauthor=False)) / "config.toml"


def _read_config() -> dict[str, Any]:
    """Read and check the configuration file; return an empty table if there is none.

    Raises InputError with every mistake.
    """
    path = config_file()
    if not path.exists():
        return {}
    fix = 'write lines such as cache = "/data/cache" and offline = true, or remove the file'
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise input_error(str(path), f"not TOML: {error}", fix) from None
    problems = []
    for key, value in table.items():
        if key not in CONFIG_KEYS:
            suggestion = suggest(key, CONFIG_KEYS) or "remove it"
            problems.append(
                Problem(
                    str(path), "no such key", suggestion, field=key, allowed=", ".join(CONFIG_KEYS)
                )
            )
        elif type(value) is not CONFIG_KEYS[key] or (
            isinstance(value, list) and not all(map(_is_package, value))
        ):
            problems.append(
                Problem(
                    str(path),
                    "another kind of value",
                    fix,
                    field=key,
                    got=repr(value),
                    allowed=_ALLOWED_VALUES[CONFIG_KEYS[key]],
                )
            )
    if problems:
        raise InputError(*problems)
    return table
