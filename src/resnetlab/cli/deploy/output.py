"""Output of the commands that use a trained network, as lines of text, JSON or CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.cli.finetune.output import format_p
from resnetlab.data.class_names import class_titles
from resnetlab.deploy.answer_texts import UNSURE_PROBABILITY, AnswerKind, answer_kind
from resnetlab.messages import format_count

if TYPE_CHECKING:
    from resnetlab.deploy.ensemble import EnsembleEvaluation
    from resnetlab.deploy.export.network import ExportCheck
    from resnetlab.deploy.predict import Prediction
    from resnetlab.deploy.results import ModelEvaluation
    from resnetlab.model_folder.model_file import ModelFile
    from resnetlab.stats.ensembles import AccuracyGain
    from resnetlab.stats.proportion import Proportion

MAX_SUMMARY_CLASSES = 12
"""Number of classes in the summary of predictions, the most frequent ones."""

CSV_HEADER = "path,rank,class,probability,error,in_set,none_of_these"

PRINTED_SHARES = (100, 95, 90, 80, 70, 50)
"""Shares of answered images in the text, in percent."""

UNCLEAR_KINDS: tuple[AnswerKind, ...] = ("several classes", "no class", "none of these")


def text_lines(
    title: Mapping[str, str],
    name: str,
    prediction: Prediction | None,
    _: str,
    *,
    one_line: bool = False,
) -> Iterator[str]:
    """Yield a prediction as text; a file that cannot be read gets no line.

    Args:
        title: Title of each class of the model.
        name: Path of the photograph.
        prediction: Prediction, or None for a file that cannot be read.
        one_line: True for the answer alone; False for a line per class below it.
    """
    if prediction is None:
        return
    if one_line:
        yield _answer_line(name, prediction, title)
        return
    yield f"{name}{_answer_note(prediction, title)}"
    for item in prediction.top_classes:
        yield f"  {100 * item.probability:5.1f} %  {title[item.label]}"


def _answer_line(name: str, prediction: Prediction, title: Mapping[str, str]) -> str:
    """Return the answer in one line: `97.1 %  beagle  photo.jpg`.

    The percentage of several classes is the sum of their probabilities.
    """
    first = prediction.top_classes[0]
    closest = f"(most probable: {title[first.label]} {100 * first.probability:.1f} %)"
    match answer_kind(prediction.prediction_set, prediction.none_of_these):
        case "none of these":
            return f"none of these  {name}  {closest}"
        case "no class":
            return f"no class is probable enough  {name}  {closest}"
        case "several classes":
            members = prediction.prediction_set or ()
            total = sum(
                item.probability for item in prediction.top_classes if item.label in members
            )
            listed = _join_classes([title[label] for label in members])
            return f"{100 * total:5.1f} %  {listed}  {name}"
        case "class":
            answer = prediction.answer
            share = f"{100 * answer.probability:5.1f} %"
            return f"{share}  {title[answer.label]}  {name}{_doubt(prediction)}"


def _answer_note(prediction: Prediction, title: Mapping[str, str]) -> str:
    """Return the text after the name of a photograph whose classes are listed below it."""
    match answer_kind(prediction.prediction_set, prediction.none_of_these):
        case "none of these":
            return ": none of these, since it is unlike the training photographs"
        case "no class":
            return ": no class is probable enough"
        case "several classes":
            members = [title[label] for label in prediction.prediction_set or ()]
            return f": {_join_classes(members)}"
        case "class":
            chosen = (
                "" if prediction.prediction_set is None else f": {title[prediction.answer.label]}"
            )
            return chosen or _doubt(prediction)


def _doubt(prediction: Prediction) -> str:
    """Return a note on an improbable class; a prediction set says it by its size."""
    unsure = prediction.top_classes[0].probability < UNSURE_PROBABILITY
    return "  (not sure)" if unsure and prediction.prediction_set is None else ""


def _join_classes(names: Sequence[str]) -> str:
    """Join the classes of a set: `beagle or dingo`."""
    listed = " or ".join(names[:MAX_SUMMARY_CLASSES])
    more = len(names) - MAX_SUMMARY_CLASSES
    return f"{listed} or one of {more:,} more" if more > 0 else listed


def prediction_summary(title: Mapping[str, str], predictions: Sequence[Prediction]) -> str:
    """Count the predicted classes: `25 photographs: 14 beagle, 11 dingo; not sure of 3`.

    `title` has the title of each class of the model.
    """
    kinds = Counter(answer_kind(item.prediction_set, item.none_of_these) for item in predictions)
    answered = [
        item.answer
        for item in predictions
        if answer_kind(item.prediction_set, item.none_of_these) == "class"
    ]
    counts = Counter(first.label for first in answered).most_common()
    parts = [f"{count:,} {title[label]}" for label, count in counts[:MAX_SUMMARY_CLASSES]]
    more = len(counts) - MAX_SUMMARY_CLASSES
    others = f" and {format_count(more, 'more class')}" if more > 0 else ""
    notes = [f"{kinds[kind]:,} {kind}" for kind in UNCLEAR_KINDS if kinds[kind]]
    unsure = sum(bool(_doubt(item)) and not item.none_of_these for item in predictions)
    notes += [f"not sure of {unsure:,}"] if unsure else []
    text = "; ".join(filter(None, (f"{', '.join(parts)}{others}", *notes)))
    return f"{format_count(len(predictions), 'photograph')}: {text}"


def json_lines(name: str, prediction: Prediction | None, reason: str) -> Iterator[str]:
    """Yield a prediction, or the reason why there is none, as one line of JSON."""
    from resnetlab.schema import to_json

    top_classes = prediction.top_classes if prediction else ()
    classes = [{"class": item.label, "probability": item.probability} for item in top_classes]
    fields = {
        "path": name,
        "predictions": classes,
        "prediction_set": prediction.prediction_set if prediction else None,
        "none_of_these": prediction.none_of_these if prediction else None,
        "error": reason or None,
    }
    yield to_json(fields, None)


def csv_lines(name: str, prediction: Prediction | None, reason: str) -> Iterator[str]:
    """Yield a prediction, or the reason why there is none, as lines of CSV."""
    import csv
    import io

    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    for rank, item in enumerate(prediction.top_classes if prediction else (), 1):
        assert prediction is not None
        members = prediction.prediction_set
        in_set = None if members is None else item.label in members
        known = map(_csv_flag, (in_set, prediction.none_of_these))
        write((name, rank, item.label, item.probability, "", *known))
    if prediction is None:
        write((name, "", "", "", reason, "", ""))
    yield text.getvalue().rstrip("\n")


def _csv_flag(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def export_as_dict(path: Path, export_format: str, check: ExportCheck) -> dict[str, object]:
    """Return an export and its comparison with PyTorch as plain values, for `--json`."""
    return {
        "file": path,
        "format": export_format,
        "images": check.num_images,
        "kind": check.image_kind,
        "batches": check.batch_sizes,
        "largest_difference": check.max_difference,
        "largest_probability_difference": check.max_probability_difference,
    }


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
    transform = file.eval_transform
    shape = f"(N, {transform.channels}, {transform.size}, {transform.size})"
    if to == "html":
        yield "Use it: open the file in a browser, also on a phone; it needs no network."
    elif to == "torch-export":
        yield f'Use it: logits = torch.export.load("{path}").module()(images)  # {shape}'
    elif to == "openvino":
        yield (
            f'Use it: openvino.compile_model("{path}", "CPU", {{"INFERENCE_PRECISION_HINT": '
            f'"f32"}})(images)[0]  # {shape} float32; its weights are in the .bin beside it'
        )
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


def evaluation_lines(result: ModelEvaluation) -> Iterator[str]:
    """Yield the summary of an evaluation."""
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
    yield from _confidence_lines(result)
    names = {row.name for row in result.classes} | {pair.predicted for pair in result.confusions}
    title = class_titles(sorted(names))
    for scores in sorted(result.classes, key=lambda scores: scores.recall.pct)[:5]:
        share = f"{_format_proportion(scores.recall)} of {scores.recall.images:,}"
        yield f"  {title[scores.name]:32} {share}"
    for pair in result.confusions[:3]:
        yield f"  {pair.images:,} x {title[pair.true]} predicted as {title[pair.predicted]}"
    for line in (*result.caveats, *result.notes):
        yield f"note: {line}"
    others = result.novelty.ood if result.novelty else None
    for name, reason in (*result.bad_files, *(others.bad_files if others else ())):
        yield f"skipped: {name}: {reason}"


def _confidence_lines(result: ModelEvaluation) -> Iterator[str]:
    """Yield the lines about calibration, prediction sets, unanswered images and novelty."""
    if scaled := result.calibration:
        yield (
            f"temperature {scaled.temperature:.2f}: calibration error "
            f"{scaled.ece_before_pct:.1f} % before and {scaled.ece_after_pct:.1f} % after it, "
            "cross-entropy "
            f"{scaled.loss_before_nats:.3f} and {scaled.loss_after_nats:.3f} nats"
        )
    if sets := result.sets:
        size = f"{sets.mean_size:.2f}"
        if sets.mean_size_low is not None and sets.mean_size_high is not None:
            size += f" [{sets.mean_size_low:.2f}, {sets.mean_size_high:.2f}]"
        yield (
            f"prediction sets at a stated coverage of {sets.coverage_pct:g} %: "
            f"{_format_proportion(sets.covered)} contain the right class; {size} classes on "
            f"average, {sets.empty.pct:.1f} % are empty"
        )
    shares = [item for item in result.answered if item.answered_pct in PRINTED_SHARES]
    yield "accuracy by share answered, the most confident first: " + ", ".join(
        f"{item.accuracy.pct:.1f} % at {item.answered_pct:g} %" for item in shares
    )
    if novelty := result.novelty:
        yield (
            f"none of these: {_format_proportion(novelty.known_rejected)} of these images, by "
            f"mistake (stated: {100 - novelty.known_share_pct:g} %)"
        )
    if novelty and novelty.ood:
        others = novelty.ood
        yield (
            f"other things, {others.name}: {_format_proportion(others.rejected)} of "
            f"{format_count(others.rejected.images, 'image')} are rejected, ROC-AUC "
            f"{others.roc_auc:.3f}"
        )


def ensemble_lines(result: EnsembleEvaluation) -> Iterator[str]:
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
    for note in result.notes:
        yield f"note: {note}"
    for path, reason in result.bad_files:
        yield f"skipped: {path}: {reason}"


def _format_proportion(proportion: Proportion) -> str:
    return f"{proportion.pct:.1f} % [{proportion.low:.1f}, {proportion.high:.1f}]"


def _format_gain(gain: AccuracyGain) -> str:
    span = f" [{gain.interval.low:+.1f}, {gain.interval.high:+.1f}]" if gain.interval else ""
    return f"{gain.points:+.1f} points{span}"
