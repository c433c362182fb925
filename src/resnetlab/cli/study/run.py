"""Run of a study on the terminal: progress, Ctrl-C, and the answer at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resnetlab.cli.common import (
    UNFINISHED,
    VERBOSITY,
    notify,
    open_page,
    print_json,
    stop_signal,
)
from resnetlab.errors import Problem, ResourceError
from resnetlab.shell import command_line

if TYPE_CHECKING:
    from resnetlab.api.loaded_study import LoadedStudy
    from resnetlab.studies.executors.base import Executor


def run_and_print(
    loaded: LoadedStudy,
    output: Path,
    executor: Executor,
    max_seeds: int | None,
    *,
    accept_license: bool,
    as_json: bool,
    open_report: bool,
    track: Sequence[str] = (),
) -> None:
    """Run a study, print its answer, and end with the exit code of what remained unfinished."""
    from resnetlab.cli.plan_forecast import left_out_lines

    for line in left_out_lines(loaded.study.left_out):
        notify(line)
    command = command_line(["resnetlab", *sys.argv[1:]])
    loaded = replace(loaded, resume_command=command)
    with stop_signal().installed() as interrupt:
        looks = loaded.run_looks(
            output,
            executor,
            interrupt.is_set,
            max_seeds=max_seeds,
            accept_license=accept_license,
            track=track,
            progress=not VERBOSITY.quiet,
            warn=notify,
        )
        try:
            for summary in looks:  # noqa: B007
                if interrupt.is_set():
                    break
        except ResourceError as error:
            fix = f"free some space, then: {command}"
            raise ResourceError(
                *(Problem(problem.where, problem.message, fix) for problem in error.problems)
            ) from None
    # With `max_seeds`, more seeds may follow after an interim look.
    if interrupt.is_set() and (max_seeds is not None or not summary.is_finished):
        print(f"No finished run is lost. To continue: {command}", file=sys.stderr)
        raise typer.Exit(interrupt.exit_code)
    if as_json:
        print_json(summary.to_dict())
    else:
        for line in (summary.answer, *summary.first_loss):
            typer.echo(line[:1].upper() + line[1:])
        typer.echo(f"Report: {summary.report}")
    if open_report:
        open_page(summary.report)
    if not summary.is_finished:
        raise typer.Exit(UNFINISHED)
