"""Command `watch`: parse, find the study, and serve its page until Ctrl-C.

Heavy imports stay inside it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import (
    DataSource,
    Device,
    Open,
    PageLanguage,
    SettingsOption,
    notify,
    open_page,
)
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.study.options import (
    Seeds,
    StudyOrFolder,
    check_built_without_code,
    find_started_folder,
    load_named_study,
)
from resnetlab.translation import check_language

if TYPE_CHECKING:
    from resnetlab.studies.plan import Plan

NICENESS = 10
"""Increase of the niceness of this process, so that training goes first."""


def watch(
    source: StudyOrFolder,
    data: DataSource = "",
    settings: SettingsOption = [],  # noqa: B006
    seeds: Seeds = "",
    output: Output = Path(),
    device: Device = "",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8001,
    lang: PageLanguage = "",
    open_report: Open = False,
) -> None:
    """Serve the report of a study on 127.0.0.1, refreshed while its runs train.

    The runs may be trained by another process, now or later.

    Example:  resnetlab watch digits --open
    """
    language = check_language(lang)
    plan, find_folder, root = _find_study(source, data, settings, seeds, device, output)
    from resnetlab.watch.server import WatchServer
    from resnetlab.watch.watcher import StudyWatcher

    watcher = StudyWatcher(plan, find_folder, root, language)
    server = WatchServer(watcher.latest_page, plan.study.question, language, port)
    if hasattr(os, "nice"):  # absent on Windows
        os.nice(NICENESS)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    watcher.poll()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    typer.echo(f"{plan.study.name}: {server.address} (Ctrl-C stops it)")
    if open_report:
        open_page(server.address)
    watcher.watch()


def _find_study(
    source: str, data: str, settings: list[str], seeds: str, device: str, output: Path
) -> tuple[Plan, Callable[[], Path | None], Path]:
    """Return the plan of a study, a function that finds the folder of its report once the study was
    started, and its output folder.

    A study that was not started is planned, and nothing is written.
    """
    from resnetlab.studies.execution import read_plan
    from resnetlab.studies.plan import folder_name

    overridden = any((data, settings, seeds, device))
    folder, root = find_started_folder(source, overridden, output)
    if folder is None and not overridden:
        folder = _find_changed(source, output)
    if folder is not None:
        return read_plan(folder), lambda: folder, root
    loaded = load_named_study(source, data, settings, seeds, device)
    check_built_without_code(loaded, source)
    plan = loaded.plan(output, notify, download=False)
    planned = output / "studies" / folder_name(plan)

    def find_folder() -> Path | None:
        if (planned / "plan.json").exists():
            return planned
        return None if overridden else _find_changed(source, output)

    return plan, find_folder, root


def _find_changed(source: str, output: Path) -> Path | None:
    """Return the folder of the study that was started last with changes by options, or None.

    It has a plan, and no report before the first run ends.
    """
    from resnetlab.studies.started import find_started

    plans = find_started(source, output).overridden_plans
    folder = max(plans, key=lambda path: (path / "plan.json").stat().st_mtime, default=None)
    if folder is not None:
        notify(f"Using the started study in {folder}")
    return folder
