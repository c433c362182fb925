"""Outlook on a plan for the terminal: expected time and statistical power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from resnetlab.cli.display import format_clock
from resnetlab.cli.manners import print_json
from resnetlab.recipes.numerics import Placement
from resnetlab.studies import outlook
from resnetlab.studies.executors.base import Job
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.plan import Plan
from resnetlab.studies.run import past_runs, pending_runs, read_record


def print_outlook(
    plan: Plan, output: Path, workers: int, *, as_json: bool = False, power: bool = True
) -> None:
    """Print the expected time of a plan and, with `power`, its statistical power."""
    pending = pending_runs(plan, output)
    jobs = [Job(run.id, run.file) for run in pending]
    count = LocalExecutor(output, Placement(workers=workers)).max_parallel(jobs)
    result = outlook.outlook(
        plan, read_record(plan, output), past_runs(output), {run.id for run in pending}, count
    )
    if as_json:
        print_json(outlook.to_dict(result) | {"ids": [run.id for run in plan.runs]})
        return
    for line in (*_time_lines(result), *(_power_lines(result) if power else ())):
        typer.echo(line)


def _time_lines(result: outlook.Outlook) -> Iterator[str]:
    yield f"{result.study}: {result.runs} runs, {result.finished} finished"
    for condition in result.conditions:
        seconds = condition.seconds
        pace = "time unknown" if seconds is None else f"about {format_clock(seconds)} per run"
        yield f"  {condition.label:24} {condition.runs} runs, {condition.to_do} to do, {pace}"
    if result.finished == result.runs:
        return
    if result.seconds is None:
        yield "The time is unknown for runs that resemble no finished run under --output."
        return
    clock = format_clock(result.seconds / result.workers)
    hours = f"{result.seconds / 3600:.2f} worker-hours"
    yield f"Training takes about {clock} on {result.workers} workers ({hours})."


def _power_lines(result: outlook.Outlook) -> Iterator[str]:
    effect = result.detectable_effect_sds
    if effect is None:
        yield "One seed gives no interval and no test; use at least two."
    else:
        yield (
            f"With {result.conditions[0].runs} seeds per condition a difference of {effect:.1f} "
            "standard deviations is detected with 80 % power; to detect 1.0 standard deviation "
            f"takes {result.seeds_for_one_sd} seeds."
        )
        for condition in result.conditions:
            if condition.sd_points is not None:
                yield (
                    f"  {condition.label:24} standard deviation {condition.sd_points:.2f} points "
                    f"in {condition.measured_runs} runs so far: a difference of "
                    f"{effect * condition.sd_points:.1f} points is detected"
                )
    yield from result.warnings
