"""Studies that were started: the folders of their plans and reports. Free of torch."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from resnetlab.errors import InputError
from resnetlab.files import sha256
from resnetlab.shell import is_path
from resnetlab.studies.status_index import INVALID_TABLE_ERRORS, StatusIndex

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE_NAME = re.compile(r"""["']([^"'\n]{1,300}\.(?:toml|csv))["']""")


@dataclass(frozen=True)
class StartedStudy:
    """Folders of the plan and the reports of a started study."""

    plan_folder: Path | None = None
    """Report folder of the unchanged study; None without a plan, or if the file changed."""
    has_report: bool = False
    """True if the unchanged study has a report, also of an older version of its file."""
    overridden_folders: tuple[Path, ...] = ()
    """Report folders of the study with changes by commands."""
    overridden_plans: tuple[Path, ...] = ()
    """Folders of the plans of the study with changes by commands, with or without a report."""


def find_started(source: str, root: Path) -> StartedStudy:
    """Find the folders of a study under `root`, given its catalog name or TOML file."""
    path = study_path(source)
    try:
        name = str(tomllib.loads(path.read_text(encoding="utf-8-sig"))["name"])
    except (OSError, ValueError, KeyError):
        return StartedStudy()
    if not _NAME.fullmatch(name):  # the careful reader reports it
        return StartedStudy()
    plain = root / "studies" / name
    current = _plan(plain, root).get("source_sha256") == source_sha256(path)
    folders = sorted((root / "studies").glob(f"{name}-" + "[0-9a-f]" * 6))
    plans = tuple(folder for folder in folders if _study_name(folder, root) == name)
    changed = tuple(folder for folder in plans if _has_report(folder))
    return StartedStudy(plain if current else None, _has_report(plain), changed, plans)


def study_path(source: str) -> Path:
    """Return the TOML file of a study, given its catalog name or the path itself."""
    in_catalog = (
        Path(str(resources.files("resnetlab.catalog"))) / "studies" / f"{Path(source).name}.toml"
    )
    return in_catalog if not is_path(source) and in_catalog.exists() else Path(source)


def source_sha256(path: Path) -> str:
    """Return the SHA-256 of a study file and of the TOML and CSV files that it names."""
    content = path.read_bytes()
    names = dict.fromkeys(_FILE_NAME.findall(content.decode(errors="replace")))
    total = hashlib.sha256(content)
    for name in names:
        for candidate in (path.parent / name, Path(name)):
            if candidate.is_file():
                total.update(sha256(candidate).encode())
                break
    return total.hexdigest()


def _plan(folder: Path, root: Path) -> dict[str, Any]:
    """Return the fields of a plan that the status needs; none without a plan."""
    plan = StatusIndex(folder, root).plan() if (folder / "plan.json").exists() else {}
    return plan if isinstance(plan, dict) else {}


def _has_report(folder: Path) -> bool:
    return (folder / "plan.json").exists() and (folder / "report.json").exists()


def _study_name(folder: Path, root: Path) -> str:
    try:
        return str(_plan(folder, root)["study"]["name"])
    except (InputError, *INVALID_TABLE_ERRORS):
        return ""
