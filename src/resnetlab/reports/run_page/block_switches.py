"""Section of a run's page in which a reader switches blocks off: the accuracy of each set."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from resnetlab.inspection.diagnostics_records import BlockAblations
from resnetlab.models.configs.cifar import CifarConfig
from resnetlab.runs.records import RunRecord
from resnetlab.shell import command_line
from resnetlab.studies.plan import StudyRecord, StudyRun
from resnetlab.translation import localize_number, tr


@dataclass(frozen=True)
class SwitchedNetwork:
    """Network whose accuracy the page shows: its label, and accuracies in percent by set.

    A set is the numbers of its blocks, ascending and joined by commas; the empty one is the
    complete network.
    """

    label: str
    is_residual: bool
    accuracies: dict[str, float]
    command: str
    """Command that measures sets of blocks; empty if they are measured."""


@dataclass(frozen=True)
class BlockSwitches:
    """Content of the section: stages with the numbers of their blocks, and the networks."""

    stages: tuple[tuple[str, tuple[int, ...]], ...]
    networks: tuple[SwitchedNetwork, ...]

    @property
    def script_data(self) -> str:
        """Values for the script of the page, as JSON."""
        texts = {
            "notMeasured": tr("not measured"),
            "complete": tr("The network is complete."),
            "one": tr("One block is off."),
            "many": tr("{count} of {total} blocks are off.", count="COUNT", total="TOTAL"),
            "pct": tr("{number} %", number="NUMBER"),
            "points": tr("{difference} points", difference="NUMBER"),
            "decimal": localize_number("0.0")[1],
        }
        runs = [{"accuracies": network.accuracies} for network in self.networks]
        text = json.dumps({"runs": runs, "texts": texts}, ensure_ascii=False)
        return text.replace("<", "\\u003c")


def find_partner(study: StudyRecord, study_run: StudyRun) -> StudyRun | None:
    """Return the run with and without shortcuts that pairs with `study_run`, or None.

    A residual run pairs with the plain run of the same seed whose model, data, recipe and numerics
    are otherwise equal; a plain run pairs with the first such residual one.
    """
    model = study_run.planned.config.model
    if not isinstance(model, CifarConfig):
        return None
    for other in study.runs:
        candidate = other.planned.config.model
        if (
            isinstance(candidate, CifarConfig)
            and (candidate.shortcut == "none") != (model.shortcut == "none")
            and replace(study_run.planned.config, model=replace(model, shortcut=candidate.shortcut))
            == other.planned.config
            and other.record is not None
            and other.record.result is not None
        ):
            return other
    return None


def block_switches(study_runs: tuple[StudyRun, ...]) -> BlockSwitches | None:
    """Return the section for a run and the run that pairs with it, if it has one.

    None if the first run has no block ablation. A run of another number of blocks is left out.
    """
    measured = [
        (study_run, study_run.record, study_run.record.block_ablation)
        for study_run in study_runs
        if study_run.record is not None and study_run.record.block_ablation is not None
    ]
    if not measured or measured[0][0] is not study_runs[0] or len(measured[0][2].blocks) < 2:
        return None
    names = [block.without for block in measured[0][2].blocks[1:]]
    stages: dict[str, list[int]] = {}
    for number, name in enumerate(names, 1):
        stages.setdefault(name.rpartition(".")[0], []).append(number)
    networks = tuple(
        _network(study_run, record, ablations)
        for study_run, record, ablations in measured
        if [block.without for block in ablations.blocks[1:]] == names
    )
    titles = tuple(
        (tr("stage {number}", number=index), tuple(numbers))
        for index, numbers in enumerate(stages.values(), 1)
    )
    return BlockSwitches(titles, networks)


def _network(study_run: StudyRun, record: RunRecord, ablations: BlockAblations) -> SwitchedNetwork:
    complete, *blocks = ablations.blocks
    accuracies = {"": complete.accuracy_pct}
    accuracies |= {str(number): block.accuracy_pct for number, block in enumerate(blocks, 1)}
    accuracies |= {",".join(map(str, item.without)): item.accuracy_pct for item in ablations.sets}
    model = study_run.planned.config.model
    return SwitchedNetwork(
        label=tr(
            "{condition}, seed {seed}",
            condition=study_run.planned.condition,
            seed=study_run.planned.seed,
        ),
        is_residual=not (isinstance(model, CifarConfig) and model.shortcut == "none"),
        accuracies=accuracies,
        command=sets_command(record) if ablations.lacks_sets else "",
    )


def sets_command(record: RunRecord) -> str:
    """Return the command that measures sets of blocks of a run."""
    return command_line(["resnetlab", "inspect", "block-ablation", f"runs/{record.id}", "--sets"])
