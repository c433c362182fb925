"""Measurements of a finished run that it still lacks, for example its block ablation."""

from __future__ import annotations

from resnetlab.data.device_images import DeviceImages
from resnetlab.errors import first_line
from resnetlab.inspection.block_ablation import ablate_blocks
from resnetlab.inspection.loss_landscape import measure_run_landscape
from resnetlab.runs.evaluator import RunEvaluator
from resnetlab.runs.records import RunFile
from resnetlab.runs.run_folder import RunFolder, utc_now
from resnetlab.training.memory import is_out_of_memory


def measure_missing(
    run_folder: RunFolder, file: RunFile, train_images: DeviceImages, evaluator: RunEvaluator
) -> None:
    """Make the measurements that `file` requests and that a finished run lacks.

    The state of `evaluator` has the selected weights. A measurement that runs out of memory is left
    out: the result of the run stays, and the next command that needs the run tries again.
    """
    state, test, requested = evaluator.state, evaluator.test, file.diagnostics
    measurements = run_folder.measurements

    def ablate() -> None:
        measurements.save_block_ablation(ablate_blocks(state, test, requested.ablate_sets))

    def measure_landscape() -> None:
        assert requested.loss_landscape is not None
        landscape = measure_run_landscape(state, train_images, requested.loss_landscape)
        measurements.save_loss_landscape(landscape)

    def evaluate_in_train_mode() -> None:
        so_far = measurements.read_train_mode_evaluation()
        measurements.save_train_mode(evaluator.evaluate_selected_in_train_mode(so_far))

    for is_missing, make in (
        (measurements.lacks_block_ablation, ablate),
        (measurements.lacks_loss_landscape, measure_landscape),
        (measurements.lacks_train_mode, evaluate_in_train_mode),
    ):
        try:
            if is_missing(file):
                make()
        except (MemoryError, RuntimeError) as error:
            log_measurement_out_of_memory(run_folder, error)


def log_measurement_out_of_memory(run_folder: RunFolder, error: Exception) -> None:
    """Record that a measurement ran out of memory. Raises any other error."""
    if not is_out_of_memory(error):
        raise error
    event = "measurement out of memory"
    run_folder.log_event({"event": event, "time": utc_now(), "reason": first_line(error)})
