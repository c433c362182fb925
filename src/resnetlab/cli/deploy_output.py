"""Output of the commands that use a trained network, as lines of text, JSON or CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.cli.finetune_output import format_p
from resnetlab.messages import format_count

if TYPE_CHECKING:
    from resnetlab.bundle.spec import ModelFile
    from resnetlab.deploy.ensemble_stats import AccuracyGain, EnsembleResult
    from resnetlab.deploy.export import ExportCheck
    from resnetlab.deploy.predict import ClassProbability, Prediction
    from resnetlab.deploy.results import EvaluationResult, Proportion

MAX_SUMMARY_CLASSES = 12
"""Number of classes in the summary of predictions, the most frequent ones."""


def text_lines(name: str, prediction: Prediction | None, _: str) -> Iterator[str]:
    """Yield a prediction as text; a file that cannot be read gets no line.

    A prediction of one class is one line.
    """
    from resnetlab.data.class_names import class_titles
    from resnetlab.deploy.confidence import UNSURE_PROBABILITY

    if prediction is None:
        return
    title = class_titles([item.label for item in prediction.top_classes])
    first = prediction.top_classes[0]
    doubt = "  (not sure)" if first.probability < UNSURE_PROBABILITY else ""
    if len(prediction.top_classes) == 1:
        yield f"{100 * first.probability:5.1f} %  {title[first.label]}  {name}{doubt}"
        return
    yield f"{name}{doubt}"
    for item in prediction.top_classes:
        yield f"  {100 * item.probability:5.1f} %  {title[item.label]}"


def prediction_summary(firsts: Sequence[ClassProbability]) -> str:
    """Count the predicted classes: `25 photographs: 14 beagle, 11 dingo; not sure of 3`."""
    from resnetlab.data.class_names import class_titles
    from resnetlab.deploy.confidence import UNSURE_PROBABILITY

    counts = Counter(first.label for first in firsts).most_common()
    title = class_titles([label for label, _ in counts])
    listed = ", ".join(f"{count:,} {title[label]}" for label, count in counts[:MAX_SUMMARY_CLASSES])
    more = len(counts) - MAX_SUMMARY_CLASSES
    others = f" and {format_count(more, 'more class')}" if more > 0 else ""
    unsure = sum(first.probability < UNSURE_PROBABILITY for first in firsts)
    doubt = f"; not sure of {unsure:,}" if unsure else ""
    return f"{format_count(len(firsts), 'photograph')}: {listed}{others}{doubt}"


def json_lines(name: str, prediction: Prediction | None, reason: str) -> Iterator[str]:
    """Yield a prediction, or the reason why there is none, as one line of JSON."""
    from resnetlab.schema import to_json

    top_classes = prediction.top_classes if prediction else ()
    classes = [{"class": item.label, "probability": item.probability} for item in top_classes]
    yield to_json({"path": name, "predictions": classes, "error": reason or None}, None)


def csv_lines(name: str, prediction: Prediction | None, reason: str) -> Iterator[str]:
    """Yield a prediction, or the reason why there is none, as lines of CSV."""
    import csv
    import io

    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    for rank, item in enumerate(prediction.top_classes if prediction else (), 1):
        write((name, rank, item.label, item.probability, ""))
    if prediction is None:
        write((name, "", "", "", reason))
    yield text.getvalue().rstrip("\n")


def export_lines(path: Path, to: str, file: ModelFile, check: ExportCheck) -> Iterator[str]:
    """Yield what an export was compared with, and how its file is used."""
    images = f"{check.num_images} {check.image_kind}"
    if check.max_probability_difference is None:
        yield (
            f"{path}: {images} in batches of {check.batch_sizes}, largest difference "
            f"{check.max_difference:.1e}"
        )
    else:
        yield (
            f"{path}: {images}, the same class for each, largest difference of a probability "
            f"{check.max_probability_difference:.1e}"
        )
    view = file.eval_transform
    shape = f"(N, {view.channels}, {view.size}, {view.size})"
    if to == "html":
        yield "Use it: open the file in a browser, also on a phone; it needs no network."
    elif to == "torch-export":
        yield f'Use it: logits = torch.export.load("{path}").module()(images)  # {shape}'
    elif check.max_probability_difference is None:
        yield (
            f'Use it: onnxruntime.InferenceSession("{path}").run(None, {{"images": images}})  '
            f"# {shape} float32, see preprocessing in its metadata"
        )
    else:
        yield (
            f'Use it: onnxruntime.InferenceSession("{path}").run(None, {{"image": '
            'numpy.asarray(PIL.Image.open("photo.jpg").convert("RGB"))})'
        )


def evaluation_lines(result: EvaluationResult) -> Iterator[str]:
    """Yield the summary of an evaluation."""
    from resnetlab.data.class_names import class_titles

    yield (
        f"{result.model} on {result.data}, {result.split}: "
        f"{format_count(result.top1.images, 'image')}"
    )
    yield (
        f"top-1 {_format_proportion(result.top1)}, top-5 {_format_proportion(result.top5)} "
        "(exact 95 % intervals over images)"
    )
    yield (
        f"balanced accuracy {result.balanced_accuracy_pct:.1f} %, F1 {result.macro_f1_pct:.1f} % "
        f"(mean of classes), {result.weighted_f1_pct:.1f} % (weighted by images)"
    )
    yield (
        f"expected calibration error {result.ece_pct:.1f} %, cross-entropy {result.loss_nats:.3f} "
        "nats"
    )
    names = {row.name for row in result.classes} | {pair.predicted for pair in result.confusions}
    title = class_titles(sorted(names))
    for scores in sorted(result.classes, key=lambda scores: scores.recall.pct)[:5]:
        share = f"{_format_proportion(scores.recall)} of {scores.recall.images:,}"
        yield f"  {title[scores.name]:32} {share}"
    for pair in result.confusions[:3]:
        yield f"  {pair.images:,} x {title[pair.true]} predicted as {title[pair.predicted]}"
    for line in (*result.caveats, *result.notes):
        yield f"note: {line}"
    for name, reason in result.bad_files:
        yield f"skipped: {name}: {reason}"


def ensemble_lines(result: EnsembleResult) -> Iterator[str]:
    """Yield the summary of an ensemble against its members."""
    for name, member in zip(result.names, result.members, strict=True):
        yield f"{name:24} {_format_proportion(member)}"
    ensemble = result.ensemble
    yield (
        f"{'ensemble':24} {_format_proportion(ensemble)} of "
        f"{format_count(ensemble.images, 'image')}"
    )
    yield (
        f"against the best member, {result.names[result.best]}: {_format_gain(result.over_best)}; "
        f"McNemar {format_p(result.p)}"
    )
    yield f"against the mean of the members: {_format_gain(result.over_mean)}"
    yield f"all members agree on {_format_proportion(result.agreement)}"
    yield (
        "Intervals are exact 95 % intervals over images, for these models only. The best member "
        "was chosen on these images, so its accuracy is optimistic."
    )


def _format_proportion(proportion: Proportion) -> str:
    return f"{proportion.pct:.1f} % [{proportion.low:.1f}, {proportion.high:.1f}]"


def _format_gain(gain: AccuracyGain) -> str:
    span = f" [{gain.interval.low:+.1f}, {gain.interval.high:+.1f}]" if gain.interval else ""
    return f"{gain.points:+.1f} points{span}"
