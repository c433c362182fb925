"""Forecast for a plan for the terminal: expected time and statistical power."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from resnetlab.cli.common import notify, print_json
from resnetlab.data.sources.torchvision_sets import TORCHVISION_SETS
from resnetlab.errors import MAX_LISTED_PROBLEMS
from resnetlab.messages import (
    format_count,
    format_estimate,
    shared_runs_note,
    truncate_lines,
)
from resnetlab.recipes.numerics import Placement
from resnetlab.settings import downloads_dir
from resnetlab.studies.execution import past_runs, pending_runs, read_record
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.executors.messages import Job
from resnetlab.studies.plan import Plan, PlannedRun, folder_name
from resnetlab.studies.planning import absent_data
from resnetlab.studies.timing import forecast
from resnetlab.studies.timing.network_speed import time_runs
from resnetlab.studies.timing.time_estimate import PastSpeeds, Timing


def print_forecast(
    plan: Plan,
    output: Path,
    workers: int,
    *,
    as_json: bool = False,
    is_study: bool = True,
    measure: bool = False,
) -> None:
    """Print the expected time of a plan and, for a study, its report's folder and its power.

    With `measure`, networks that no past run tells about are timed on this machine. Otherwise
    only earlier timings are used.
    """
    pending = pending_runs(plan, output)
    jobs = [Job(run.id, run.file) for run in pending]
    count = LocalExecutor(output, Placement(workers=workers)).max_parallel(jobs)
    past_records = past_runs(output)
    past = PastSpeeds(past_records)
    first_runs: dict[str, PlannedRun] = {}
    for run in pending:
        estimate = None if run.condition in first_runs else past.expected_time(run)
        if estimate is None or estimate.basis != "past runs":
            first_runs.setdefault(run.condition, run)
    by_id = time_runs(first_runs.values(), notify, measure)
    timings: dict[str, Timing] = {
        label: by_id[run.id] for label, run in first_runs.items() if run.id in by_id
    }
    result = forecast.forecast(
        plan,
        read_record(plan, output, {Path(r.folder).name: r for r in past_records}),
        past,
        {run.id for run in pending},
        count,
        timings,
        str(output / "studies" / folder_name(plan)) if is_study else "",
    )
    absent = absent_data(plan.study)
    if as_json:
        downloads = [
            {"data": name, "megabytes": TORCHVISION_SETS[name].megabytes} for name in absent
        ]
        ids = [] if absent else [run.id for run in plan.unique_runs]
        print_json(forecast.to_dict(result) | {"downloads": downloads, "ids": ids})
        return
    lines = [*_time_lines(result), *_download_lines(absent)]
    if is_study:
        lines += [*left_out_lines(result.left_out), *_power_lines(result)]
        lines += [f"Folder of the report: {result.folder}"] if not absent else []
    for line in lines:
        typer.echo(line)


def left_out_lines(left_out: Sequence[str]) -> Iterator[str]:
    """Yield lines about the claims whose conditions a command left out."""
    if left_out:
        noun = "claim needs" if len(left_out) == 1 else "claims need"
        yield f"{len(left_out)} {noun} conditions that --set left out, and cannot be tested:"
        lines = [f"  {statement}" for statement in left_out]
        yield from truncate_lines(lines, MAX_LISTED_PROBLEMS)


def _download_lines(absent: Sequence[str]) -> Iterator[str]:
    for name in absent:
        yield (
            f"{name} is not on this machine: a run downloads about "
            f"{TORCHVISION_SETS[name].megabytes} MB into {downloads_dir()}, or give a file with "
            "--data FILE.npz"
        )


def _time_lines(result: forecast.Forecast) -> Iterator[str]:
    yield f"{result.study}: {format_count(result.runs, 'run')}, {result.finished} finished"
    width = max([24, *(len(condition.label) for condition in result.conditions)])
    for condition in result.conditions:
        runs = format_count(condition.runs, "run")
        if condition.shares_runs_with:
            yield f"  {condition.label:{width}} the {runs} of {condition.shares_runs_with}"
            continue
        estimate = condition.time
        duration = "time unknown"
        if estimate is not None:
            duration = (
                f"about {format_estimate(estimate.seconds)} per run "
                f"({format_estimate(estimate.evaluation_seconds)} of it evaluation), "
                f"{format_estimate(condition.to_do * estimate.seconds)} for all"
            )
        yield f"  {condition.label:{width}} {runs}, {condition.to_do} to do, {duration}"
    if result.shared:
        yield shared_runs_note(result.shared)
    if result.finished == result.runs:
        return
    if result.wall_seconds is None or result.seconds is None:
        yield (
            "The total is unknown: for some runs there is neither a timing nor a finished run "
            "under --output that resembles them."
        )
        return
    bases = dict.fromkeys(c.time.basis for c in result.conditions if c.to_do and c.time)
    share = 100 * (result.evaluation_seconds or 0.0) / result.seconds if result.seconds else 0.0
    yield (
        f"Estimate for this machine: {format_estimate(result.wall_seconds)} on "
        f"{format_count(result.workers, 'worker')} ({format_estimate(result.seconds)} of one "
        f"worker, {share:.0f} % of it evaluation), from {' and '.join(bases)}."
    )


def _power_lines(result: forecast.Forecast) -> Iterator[str]:
    effect = result.detectable_effect_sds
    if effect is None:
        yield "One seed gives no interval and no test; use at least two."
    else:
        yield (
            f"With {format_count(result.conditions[0].runs, 'seed')} per condition a difference of "
            f"{effect:.1f} standard deviations is detected with 80 % power; to detect 1.0 standard "
            f"deviation takes {format_count(result.seeds_for_one_sd, 'seed')}."
        )
        for condition in result.conditions:
            if condition.sd_points is not None:
                yield (
                    f"  {condition.label:24} standard deviation {condition.sd_points:.2f} points "
                    f"in {format_count(condition.measured_runs, 'run')} so far: a difference of "
                    f"{effect * condition.sd_points:.1f} points is detected"
                )
    yield from truncate_lines(result.warnings, MAX_LISTED_PROBLEMS)
