"""Checks of a run folder that need neither data nor torch: files, network, training, scores.

No check trusts a number that somebody could type: the scores are computed again from the logits,
and `resnetlab.course.recompute` computes the logits again from the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnetlab.checksums import CHECKSUMS, changed_files, read_checksums
from resnetlab.course.findings import CheckFinding, failed, not_checked, passed
from resnetlab.course.lessons import Exercise
from resnetlab.course.reference_runs import CONFIDENCE, ReferenceRuns
from resnetlab.course.texts import Text, localize
from resnetlab.models.tensorfile import NORMALIZER_PREFIX, open_safetensors
from resnetlab.runs.kinds import from_scratch_recipe
from resnetlab.runs.paths import WEIGHTS
from resnetlab.runs.recorded_logits import read_logits
from resnetlab.runs.records import Result, RunFile
from resnetlab.runs.run_folder import CHECKED_FILES, LARGE_FILES, RunFolder

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of tensors that are no parameters."""


@dataclass(frozen=True)
class RunFiles:
    """Files of a finished run that were read."""

    run_folder: RunFolder
    file: RunFile
    result: Result


def read_run(folder: Path) -> RunFiles | None:
    """Return the files of a finished run, or None if it is not finished.

    Raises InputError if a file is not valid, or the folder's name is not that of its config.
    """
    run_folder = RunFolder(folder)
    if not (folder / "run.json").is_file() or not (folder / "result.json").is_file():
        return None
    result = run_folder.result()
    assert result is not None
    return RunFiles(run_folder, run_folder.file(), result)


def check_run_files(folder: Path) -> CheckFinding:
    """Compare every file of a run with its SHA-256 in `checksums.json`."""
    listed = read_checksums(folder)
    absent = [name for name in (*CHECKED_FILES, *LARGE_FILES) if name not in listed]
    if absent:
        names = ", ".join(absent)
        return failed(
            "files",
            f"{CHECKSUMS} has no checksum of {names}",
            f"{CHECKSUMS} n'a pas de somme de contrôle pour {names}",
        )
    changed = [path.name for path, _ in changed_files(folder)]
    if changed:
        names = ", ".join(changed)
        return failed(
            "files",
            f"changed after the run ended: {names}",
            f"modifié après la fin de l'essai : {names}",
        )
    return passed(
        "files",
        f"all {len(listed)} files have the SHA-256 of the end of the run",
        f"les {len(listed)} fichiers ont le SHA-256 de la fin de l'essai",
    )


def check_configuration(
    run: RunFiles, exercise: Exercise, accepted: Mapping[str, str], seed: int | None
) -> Iterator[CheckFinding]:
    """Yield the findings about network, training, data and seed.

    Args:
        run: Files of the run.
        exercise: Exercise that the run belongs to.
        accepted: Accepted SHA-256 of the data, each with where it comes from.
        seed: Seed of the student; None if the name is not known.
    """
    yield _check_network(run, exercise)
    yield _check_training(run, exercise)
    yield _check_data(run, accepted)
    yield _check_seed(run, seed)


def _check_network(run: RunFiles, exercise: Exercise) -> CheckFinding:
    expected = exercise.protocol.model
    parameters = count_stored_parameters(run.run_folder.path / WEIGHTS)
    if run.file.run.model != expected:
        return failed(
            "network",
            f"{run.file.run.model.title} with {parameters:,} parameters; the exercise asks for "
            f"{expected.title}",
            f"{run.file.run.model.title}, {localize(parameters, 'fr')} paramètres ; l'exercice "
            f"demande {expected.title}",
        )
    if parameters != run.file.parameters:
        return failed(
            "network",
            f"the weights have {parameters:,} parameters, run.json says {run.file.parameters:,}",
            f"les poids ont {localize(parameters, 'fr')} paramètres, run.json en indique "
            f"{localize(run.file.parameters, 'fr')}",
        )
    return passed(
        "network",
        f"{expected.title}, {parameters:,} parameters in the file of weights",
        f"{expected.title}, {localize(parameters, 'fr')} paramètres dans le fichier des poids",
    )


def _check_training(run: RunFiles, exercise: Exercise) -> CheckFinding:
    protocol, config = exercise.protocol, run.file.run
    identity = protocol.data.identity(config.data.sha256)
    different = []
    if config.recipe != protocol.recipe:
        different.append("recipe")
    if config.data != identity:
        different.append("data.*")
    if config.numerics.precision != "fp32":
        different.append("numerics.precision")
    steps = from_scratch_recipe(protocol.recipe, exercise.name).total_steps(run.file.train_images)
    if run.result.step != steps:
        different.append("steps")
    if different:
        names = ", ".join(different)
        return failed(
            "training",
            f"differs from the command of the exercise: {names}",
            f"diffère de la commande de l'exercice : {names}",
        )
    return passed(
        "training",
        f"recipe and settings of the exercise, {steps:,} steps",
        f"recette et réglages de l'exercice, {localize(steps, 'fr')} pas",
    )


def _check_data(run: RunFiles, accepted: Mapping[str, str]) -> CheckFinding:
    digest = run.file.run.data.sha256
    if digest not in accepted:
        return failed(
            "data",
            f"{run.file.data_name} has the SHA-256 {digest[:12]}..., which is that of other data",
            f"{run.file.data_name} a le SHA-256 {digest[:12]}..., celui d'autres données",
        )
    return passed(
        "data",
        f"SHA-256 {digest[:12]}..., as {accepted[digest]}",
        f"SHA-256 {digest[:12]}..., conforme",
    )


def _check_seed(run: RunFiles, seed: int | None) -> CheckFinding:
    used = run.file.run.seed
    if seed is None:
        return not_checked(
            "seed",
            f"the run has seed {used}; the name of the student is not known",
            f"l'essai a la graine {used} ; le nom de l'étudiant n'est pas connu",
        )
    if used != seed:
        return failed(
            "seed",
            f"the run has seed {used}, the student {seed}: it may be the run of somebody else",
            f"l'essai a la graine {used}, l'étudiant {seed} : c'est peut-être l'essai d'un autre",
        )
    return passed("seed", f"{seed}, which follows from the name", f"{seed}, déduite du nom")


def is_parameter(name: str) -> bool:
    """Return True if a stored tensor is a parameter: no buffer, and no part of a normalization."""
    return not name.endswith(BUFFERS) and not name.startswith(NORMALIZER_PREFIX)


def count_stored_parameters(weights: Path) -> int:
    """Count the parameters in a file of weights, without buffers and normalizers.

    Raises InputError if it is not a complete safetensors file.
    """
    with open_safetensors(weights, "np") as file:
        names = [
            name
            for name in file.keys()  # noqa: SIM118
            if is_parameter(name)
        ]
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)


def check_scores(run: RunFiles) -> CheckFinding:
    """Compute test error and loss from the recorded logits, and compare them with the result."""
    scores = run.result.test
    if scores is None or scores.loss_nats is None:
        return failed("scores", "the run has no test scores", "l'essai n'a pas de score de test")
    recorded = read_logits(run.run_folder.path)
    reported, computed = scores.top1_accuracy_pct, 100 - recorded.top1_error_pct
    if not recorded.agree_with(scores):
        return failed(
            "scores",
            f"result.json says {reported:.2f} %, the logits give {computed:.2f} %",
            f"result.json indique {localize(reported, 'fr', 2)} %, les logits donnent "
            f"{localize(computed, 'fr', 2)} %",
        )
    count = len(recorded.labels)
    return passed(
        "scores",
        f"the logits of {count:,} test images give the {computed:.2f} % of result.json",
        f"les logits de {localize(count, 'fr')} images de test donnent les "
        f"{localize(computed, 'fr', 2)} % de result.json",
    )


def check_accuracy(run: RunFiles, reference: ReferenceRuns | None) -> CheckFinding:
    """Compare the test accuracy with the prediction interval of the reference runs."""
    scores = run.result.test
    if reference is None or scores is None:
        return not_checked("accuracy", "no reference runs", "pas d'essais de référence")
    accuracy, (low, high) = scores.top1_accuracy_pct, reference.interval()
    percent, count = round(100 * CONFIDENCE), len(reference.runs)
    text = Text(
        f"{accuracy:.1f} %; {percent} % prediction interval of {count} reference runs "
        f"[{low:.1f}, {high:.1f}] %",
        f"{localize(accuracy, 'fr', 1)} % ; intervalle de prédiction à {percent} % de {count} "
        f"essais de référence [{localize(low, 'fr', 1)} ; {localize(high, 'fr', 1)}] %",
    )
    if low <= accuracy <= high:
        return CheckFinding("accuracy", "passed", text)
    rare = Text(
        f"{text.en}; one honest run in {round(1 / (1 - CONFIDENCE))} lies outside",
        f"{text.fr} ; un essai honnête sur {round(1 / (1 - CONFIDENCE))} en sort",
    )
    return CheckFinding("accuracy", "unusual", rare)
