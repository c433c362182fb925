"""Commands `compare` and `verify`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnetlab.cli.common import (
    CHECK_FAILED,
    VERBOSITY,
    DataSource,
    Json,
    notify,
    print_json,
    stop_signal,
)

if TYPE_CHECKING:
    from resnetlab.api.loaded_study import LoadedStudy
    from resnetlab.studies.plan import Plan


def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="Folder of a run, or a quoted pattern: 'runs/*-plain56-*'.", metavar="A"
        ),
    ],
    b: Annotated[
        str, typer.Argument(help="Folder or pattern of the runs to compare with.", metavar="B")
    ],
    json: Json = False,
) -> None:
    """Compare two sets of finished runs."""
    from resnetlab.studies import compare as comparisons

    comparison = comparisons.compare(a, b)
    if json:
        print_json(comparisons.to_dict(comparison))
        return
    for line in comparisons.format_lines(comparison):
        typer.echo(line)


def verify(
    result: Annotated[
        Path,
        typer.Argument(help="Folder of a report, for example results/digits.", metavar="RESULT"),
    ],
    runs: Annotated[int, typer.Option(help="Number of runs to repeat.", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the draw of these runs.", min=0)] = 0,
    data: DataSource = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for runs/ and cache/; the default is one in the cache, until all runs are "
            "repeated.",
            metavar="DIR",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Repeat some runs of a report and check them against prediction intervals."""
    from resnetlab.api import replication
    from resnetlab.recipes.numerics import Placement
    from resnetlab.studies.executors.local import LocalExecutor

    items = []
    with contextlib.ExitStack() as stack:
        root = output or stack.enter_context(replication.replication_folder(result))
        interrupt = stack.enter_context(stop_signal().installed())

        def train(loaded: LoadedStudy, plan: Plan) -> bool:
            executor = LocalExecutor(root, Placement())
            progress = not VERBOSITY.quiet
            loaded.execute_with_progress(plan, root, executor, interrupt.is_set, progress=progress)
            return not interrupt.is_set()

        for item in replication.replicate_runs(
            result, root, num_runs=runs, seed=seed, data=data, notify=notify, train=train
        ):
            (notify if json else typer.echo)(replication.format_replication(item))
            items.append(item)
        if interrupt.is_set():
            done = f"Stopped after {len(items)} of {runs} runs."
            print(f"{done} The same command continues.", file=sys.stderr)
            raise typer.Exit(interrupt.exit_code)
    if json:
        print_json(replication.to_dict(items))
    else:
        typer.echo(replication.summary(items))
    if not all(item.is_consistent for item in items):
        raise typer.Exit(CHECK_FAILED)
