"""Plans of a study whose seeds are added at interim looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from resnetlab.analysis.analyze import analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.looks import next_seed_counts
from resnetlab.messages import Notify
from resnetlab.studies.execution import read_record
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.plan import Plan
from resnetlab.studies.planning import plan_study
from resnetlab.studies.study import Study


def plan_looks(
    study: Study,
    root: Path,
    executor: Executor,
    notify: Notify,
    command: str,
    resume_command: str,
) -> Iterator[Plan]:
    """Yield a plan for each look of `study`, until its claims are decided or a run is unfinished.

    The caller executes each plan before it asks for the next.
    """
    counts: dict[str, int] | None = {
        condition.label: study.looks[0] for condition in study.conditions
    }
    while counts is not None:
        plan = plan_study(study, root, executor, notify, command, counts, resume_command)
        yield plan
        record = read_record(plan, root)
        if any(
            study_run.state != "finished" and study_run.state != "missing"
            for study_run in record.runs
        ):
            return
        counts = next_seed_counts(study, counts, analyze(collect_study_data(record)).verdicts)
