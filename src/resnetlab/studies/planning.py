"""Planning of a study: open its data, check what can be checked now, and list its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from resnetlab.data.sources.torchvision_sets import is_download
from resnetlab.errors import InputError, Problem, input_error
from resnetlab.messages import Notify, format_count
from resnetlab.model_folder.licenses import check_commercial_use, find_license
from resnetlab.models.configs.external import ExternalConfig, check_code
from resnetlab.models.model_cost import model_cost, with_code
from resnetlab.runs.kinds import BAG_OF_WORDS, is_fine_tuning
from resnetlab.stats.chance import chance_note
from resnetlab.studies.executors.base import Executor
from resnetlab.studies.plan import DataProperties, Plan, make_plan
from resnetlab.studies.study import DataKey, Study
from resnetlab.studies.trainers import properties_without_data, trainer_of


def plan_study(
    study: Study,
    root: Path,
    executor: Executor,
    notify: Notify,
    command: str = "",
    seed_counts: Mapping[str, int] | None = None,
    resume_command: str = "",
    download: bool = True,
) -> Plan:
    """Open the study's data, resolve the numerics for the executor's machines and plan the runs.

    Without `download`, the properties of data that are not on this machine come from a table, and
    the ids of their runs are not final. `seed_counts` has the number of seeds of each condition so
    far, if seeds are added at interim looks. Raises InputError if the data cannot be read or a
    network does not fit them.
    """
    check_weights_exist(study)
    for condition in study.conditions:
        check_code(condition.model)
    properties = load_data_properties(study, root, notify, download=download)
    check_class_counts(study, properties)
    return replace(
        make_plan(study, properties, executor.resolve_numerics, model_cost, seed_counts, with_code),
        command=command,
        resume_command=resume_command,
    )


def _notify_chance_notes(
    study: Study, properties: Mapping[DataKey, DataProperties], notify: Notify
) -> None:
    """Warn of each split that cannot tell a run at chance from a good one, once."""
    notes = dict[str, None]()
    for condition in study.conditions:
        known, recipe = properties[condition.data_key], condition.recipe
        evaluations = (
            recipe.epochs if is_fine_tuning(recipe) else recipe.evaluations(known.train_images)
        )
        images = min(
            known.validation_images, condition.data.curve_images or known.validation_images
        )
        note = chance_note(known.class_share, images, known.test_images, evaluations or 1)
        if note and condition.kind != BAG_OF_WORDS:
            notes[f"note: {known.name}: {note}"] = None
    for note in notes:
        notify(note)


def check_weights_exist(study: Study) -> None:
    """Raise InputError if the file of weights for a fine-tuning recipe is missing.

    The content of that file is part of the ids of its runs.
    """
    for model in dict.fromkeys(
        condition.model for condition in study.conditions if condition.kind.uses_photos
    ):
        if (
            isinstance(model, ExternalConfig)
            and model.weights != "hub"
            and not Path(model.weights).expanduser().is_file()
        ):
            fix = "put the file there, or convert a checkpoint with resnetlab import-weights"
            raise input_error(
                study.name, "no such file of weights", fix, field="model.weights", got=model.weights
            )


def check_licenses(study: Study) -> None:
    """Raise InputError if the license of pre-trained weights forbids commercial use."""
    for condition in study.conditions:
        if condition.kind.uses_photos:
            check_commercial_use(condition.model, find_license(condition.model))


def absent_data(study: Study) -> tuple[str, ...]:
    """Return the names of the study's data sets that a run would have to download."""
    sources = dict.fromkeys(
        condition.data.source for condition in study.conditions if not condition.kind.uses_photos
    )
    return tuple(source for source in sources if is_download(source))


def load_data_properties(
    study: Study, root: Path, notify: Notify, *, download: bool = True
) -> dict[DataKey, DataProperties]:
    """Open the study's data and return the properties that the plan needs.

    Without `download`, the properties of data that are not on this machine come from a table.
    `notify` receives notes about reading them, and warnings about splits that are too small to tell
    a run at chance from a good one.
    """
    absent = () if download else absent_data(study)
    properties: dict[DataKey, DataProperties] = {}
    for condition in study.conditions:
        if condition.data.source in absent:
            properties[condition.data_key] = properties_without_data(condition.data)
        elif condition.data_key not in properties:
            trainer = trainer_of(condition.kind)
            properties[condition.data_key] = trainer.data_properties(
                condition.data, root / "cache", notify
            )
    _notify_chance_notes(study, properties, notify)
    return properties


def check_class_counts(study: Study, properties: Mapping[DataKey, DataProperties]) -> None:
    """Raise InputError if the data have another number of classes than a published table.

    Such numbers cannot be compared with the study.
    """
    problems = {}
    for reference in study.references:
        properties_of_data = properties[study.condition(reference.condition).data_key]
        classes = reference.protocol.classes
        if classes is not None and len(properties_of_data.classes) != classes:
            message = (
                f"{reference.title} is of {format_count(classes, 'class')}, and "
                f"{properties_of_data.name} has {len(properties_of_data.classes)}"
            )
            fix = (
                f"give {reference.protocol.data or 'such data'}, or remove the source from a copy "
                "of the study file"
            )
            problems[reference.title, properties_of_data.name] = Problem(
                study.name, message, fix, field="references"
            )
    if problems:
        raise InputError(*problems.values())
