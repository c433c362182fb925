"""Published numbers of a study beside the costs of its networks, without runs or data.

Some tables cannot be measured here, such as those of ImageNet. For them this is all that there is:
their numbers are *published only*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnetlab.models.configs import (
    ExternalConfig,
    ImageNetConfig,
    LeNet5Config,
    ModelConfig,
    VGGConfig,
)
from resnetlab.models.configs.external import with_num_classes
from resnetlab.schema import encode
from resnetlab.studies.plan import CostFunction
from resnetlab.studies.published.bibliography import bibliography, cited_works
from resnetlab.studies.published.references import MatchedReference, ReferenceValue
from resnetlab.studies.study import Condition, Study

NOTES = (
    "Parameters and multiply-adds were counted here; published values were not measured here.",
    (
        "classes: number of outputs of the counted network. A fine-tuned one has those of its new "
        "classifier if a published number on the same data states them."
    ),
    "macs: for one image of the usual size of the network, or of the test size of fine-tuning.",
    "epoch: epoch of the value, of all epochs; without one it is the last, or not described.",
)


def cost_rows(study: Study, cost: CostFunction) -> list[dict[str, Any]]:
    """Return a row for each published number, with the cost of the network of its condition.

    A condition without a published number also gets a row. Numbers that belong to no condition
    come last. `cost` counts a network for the images and classes that the network was made for,
    for example 3x224x224 and 1,000 classes for photographs. A fine-tuned network is counted with
    its new classifier, for images of its test size.
    """
    table: list[dict[str, Any]] = []
    data = {condition.label: condition.data for condition in study.conditions}
    num_classes = {
        data[reference.condition]: reference.protocol.classes
        for reference in study.references
        if reference.protocol.classes
    }
    for condition in study.conditions:
        references: list[MatchedReference | None] = [
            reference for reference in study.references if reference.condition == condition.label
        ]
        row = {"condition": condition.label}
        row |= _network_cost(condition, num_classes.get(condition.data), cost)
        table += [row | _reference_columns(reference) for reference in references or [None]]
    no_network = dict.fromkeys(("condition", "classes", "parameters", "macs"))
    return table + [
        no_network | _reference_columns(reference) for reference in study.unmatched_references
    ]


def source_details(study: Study) -> list[dict[str, Any]]:
    """Return the sources of published numbers: work, protocol with differences, errata, runs."""
    details = []
    for reference in _sources(study):
        keys = [key for key, _ in cited_works(reference.source) if key]
        works = [encode(bibliography()[key]) for key in keys]
        details.append(
            {
                "source": reference.title,
                "works": works or [{"url": reference.url}],
                "protocol": encode(reference.protocol),
                "errata": list(reference.errata),
                "runs_file": reference.runs_file or None,
            }
        )
    return details


def source_lines(study: Study) -> list[str]:
    """Return the sources of a study's published numbers as lines of text."""
    lines = []
    for reference in _sources(study):
        works = [bibliography()[key] for key, _ in cited_works(reference.source) if key]
        lines += [f"{reference.title}: {work.full} {work.url}".rstrip() for work in works] or [
            f"{reference.title}: {reference.url or 'no address'}"
        ]
        lines.append(f"Protocol: {reference.protocol.summary}")
        fields = _format_fields(reference.protocol.fields)
        lines += [f"Protocol, as fields: {fields}"] if fields else []
        lines += [
            f"Difference: published: {item.reference}; here: {item.here}"
            + (f" (unless {_format_fields(item.unless)})" if item.unless else "")
            for item in reference.protocol.differences
        ]
        lines += [f"Erratum: {text}" for text in reference.errata]
        if reference.runs_file:
            lines.append(
                f"Every run after every epoch: {reference.runs_file}, beside the file of the "
                "numbers (resnetlab/catalog/references for those of the package)"
            )
    return lines


def format_value(value: ReferenceValue) -> str:
    """Return a value as text: `27.94 % error`, `3.6 x 10^9 multiply-adds`, or why it is missing."""
    if value.value is None:
        return value.status
    unit = {"loss": " nats", "multiply-adds": " x 10^9"}.get(value.quantity, " %")
    margin = f" ± {value.half_width:g}" if value.half_width else ""
    return f"{value.value:.{value.decimals}f}{margin}{unit} {value.quantity}"


def _sources(study: Study) -> list[MatchedReference]:
    """Return one published number of each source, in the order of the study."""
    references = (*study.references, *study.unmatched_references)
    return list({reference.title: reference for reference in reversed(references)}.values())[::-1]


def _network_cost(
    condition: Condition, known_classes: int | None, cost: CostFunction
) -> dict[str, Any]:
    """Return the classes, parameters and multiply-adds of a condition's network.

    `known_classes` is the number of classes of the data, if a published number states it. A network
    of the user's own code is not counted, since this would run its code.
    """
    model = condition.model
    channels, num_classes, side = _standard_input(model)
    if condition.kind.uses_photos:
        num_classes = known_classes or num_classes
        side = condition.recipe.input_size(side, channels)
        model = with_num_classes(model, num_classes)
    parameters, macs = None, None
    if not (isinstance(model, ExternalConfig) and model.needs_consent):
        parameters, macs = cost(model, channels, num_classes, side)
    return {"classes": num_classes, "parameters": parameters, "macs": macs}


def _reference_columns(reference: MatchedReference | None) -> dict[str, Any]:
    """Return the columns of a published number; None in each of them if there is none."""
    if reference is None:
        names = ("reference", "label", "split", "epoch", "runs", "note", "source")
        return dict.fromkeys(names)
    value = reference.value
    stated = f"{value.parameters:,} parameters in the source" if value.parameters else ""
    is_measured = value.value is not None and value.quantity != "multiply-adds"
    return {
        "reference": format_value(value),
        "label": value.label,
        "split": value.split if is_measured else None,
        "epoch": _epoch(reference) if is_measured else None,
        "runs": _runs(value) if is_measured else None,
        "note": "; ".join(filter(None, (value.note, stated))) or None,
        "source": reference.title,
    }


def _epoch(reference: MatchedReference) -> str | None:
    """Return the epoch of a value in words: `9 of 10`, `of 50`, `best on test images, of 50`."""
    value, protocol = reference.value, reference.protocol
    at = f"{value.epoch:g}" if value.epoch else ""
    if value.selected_on:
        at = f"best on {value.selected_on} images,"
    total = f"of {protocol.steps:,} steps" if protocol.steps else ""
    if protocol.epochs:
        total = f"of {protocol.epochs:g}"
    return f"{at} {total}".strip(" ,") or None


def _runs(value: ReferenceValue) -> str:
    """Return the runs of a value in words: `1`, or `mean of 5, sd 0.62, not independent`."""
    parts = [f"{value.statistic} of {value.num_runs}" if value.num_runs > 1 else "1"]
    parts += [f"sd {value.sd:g}"] if value.sd else []
    parts += [] if value.independent else ["not independent"]
    text = ", ".join(parts)
    return (
        f"{text}: {' '.join(f'{run:g}' for run in value.run_values)}" if value.run_values else text
    )


def _format_fields(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in fields.items())


def _standard_input(model: ModelConfig) -> tuple[int, int, int]:
    """Return the channels, classes and side of the images that a network was made for."""
    match model:
        case ImageNetConfig() | VGGConfig() | ExternalConfig():
            return 3, 1000, 224
        case LeNet5Config():
            return 1, 10, 28
        case _:
            return 3, 10, 32
