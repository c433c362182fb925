"""Synthetic study of many runs, to time the commands that read a study.

One run is trained, and its record is copied into every folder. The provenance of each copy says
so, and the report shows it. The numbers mean nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from resnetlab.checksums import CHECKSUMS
from resnetlab.data.splits import load_dataset
from resnetlab.recipes.numerics import Placement
from resnetlab.runs.attempt import RunAttempt
from resnetlab.runs.records import Result
from resnetlab.runs.run_folder import RunFolder
from resnetlab.runs.session import run_attempt
from resnetlab.schema import encode
from resnetlab.studies.execution import save_plan
from resnetlab.studies.executors.local import LocalExecutor
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.plan import Plan, folder_name
from resnetlab.studies.planning import plan_study
from resnetlab.studies.started import source_sha256
from resnetlab.training.round_robin import round_robin

SEEDS = 10

STUDY = """
name = "fabricated"
question = "How long do `study status` and `study report` take?"
about = "Made up: every run is a copy of one, its error shifted so that intervals have a width."
data = {{ source = "digits", validation = 0.0, test_curve = true }}
recipe = {{ base = "digits", epochs = 10 }}
model = {{ depth = 8, widths = [4, 4, 8] }}
numerics = {{ device = "cpu", precision = "fp32" }}
seeds = {seeds}
[grid]
recipe.optimizer.lr = {rates}
[[claim]]
statement = "The first rate beats the second."
left = {{ recipe.optimizer.lr = {first} }}
right = {{ recipe.optimizer.lr = {second} }}
"""


def fabricate(root: Path, runs: int) -> Path:
    """Make up a study of so many runs under `root`, a tenth of them conditions, and give its
    report's folder.
    """
    file = root / "fabricated.toml"
    rates = [round(1e-3 + place * 1e-6, 6) for place in range(max(2, runs // SEEDS))]
    seeds = list(range(runs // len(rates)))
    file.write_text(STUDY.format(rates=rates, seeds=seeds, first=rates[0], second=rates[1]))
    executor = LocalExecutor(root, Placement(workers=1))
    plan = plan_study(
        load_study(file), root, executor, lambda _: None, "resnetlab study run fabricated.toml"
    )
    plan = replace(plan, source_sha256=source_sha256(file))
    save_plan(plan, root)
    result = _trained(plan, root)
    _copy(plan, root, result)
    return root / "studies" / folder_name(plan)


def _trained(plan: Plan, root: Path) -> Result:
    """Train the first run and return its result."""
    first = plan.runs[0]
    dataset = load_dataset(first.file.data, root / "cache")
    attempt = RunAttempt(first.id, first.file, root, Placement(), lambda: False, lambda *_: None)
    ((_, result),) = round_robin([run_attempt(attempt, dataset)])
    assert result is not None
    return result


def _copy(plan: Plan, root: Path, result: Result) -> None:
    """Copy the record of the first run into the folders of all others, with its checksums."""
    first = RunFolder.find(root, plan.runs[0].id)
    metrics, provenance = (
        (first.path / name).read_text() for name in ("metrics.jsonl", "provenance.jsonl")
    )
    note = {"event": "fabricated", "reason": f"made up: a copy of {plan.runs[0].id}"}
    assert result.test is not None
    for number, run in enumerate(plan.runs[1:]):
        path = RunFolder(root / "runs" / run.id).path
        path.mkdir()
        (path / "lock").touch()
        error = min(100.0, result.test.top1_error_pct + number % 7 / 10)
        shifted = replace(result, test=replace(result.test, top1_error_pct=error))
        texts = {
            "metrics.jsonl": metrics,
            "provenance.jsonl": provenance + json.dumps(note) + "\n",
            "result.json": json.dumps(encode(shifted)),
            "run.json": json.dumps(encode(run.file)),
        }
        hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        texts[CHECKSUMS] = json.dumps({"sha256": hashes}, indent=1)
        for name, text in texts.items():
            (path / name).write_text(text)
