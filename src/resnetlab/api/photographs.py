"""Fine-tuning and data sets of photographs from Python: the commands `finetune`, `fixres`, `data`.

Imports torch only after the arguments were checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnetlab.data.config import DEFAULT_FOLDER_CHOICES, FolderChoices
from resnetlab.data.sources.folder.manifest import parse_split
from resnetlab.finetuning.request import FinetuneRequest
from resnetlab.finetuning.results import ResolutionTable
from resnetlab.notebook import ObjectSummary, progress_callbacks, with_summary
from resnetlab.recipes.finetune import BalanceChoice, FinetuneRecipe
from resnetlab.table import Table

if TYPE_CHECKING:
    from resnetlab.data.check import Audit
    from resnetlab.data.summary import FolderSummary
    from resnetlab.finetuning.finetune_photos import FinetunedModel


def finetune(
    folder: str | Path,
    *,
    model: str = "",
    weights: str | Path | None = None,
    tries: Sequence[str] = (),
    recipe: str | FinetuneRecipe = "full",
    freeze: str = "",
    balance: BalanceChoice = "auto",
    train_size: int | None = None,
    test_size: int | None = None,
    epochs: int | None = None,
    time_limit_seconds: float | None = 600.0,
    split: str = "",
    seed: int = 0,
    baseline: str | Path | None = None,
    skip_bad: bool = False,
    no_test: bool = False,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    accept_license: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    workers: int = 0,
    output: str | Path = ".",
    name: str = "",
    should_stop: Callable[[], bool] = lambda: False,
    progress: bool = True,
) -> FinetunedModel:
    """Fine-tune a pre-trained network on a folder of photographs, and write its page:
    `rl.finetune("photos").model_folder`.

    Args:
        folder: Folder of photographs, with a folder for each class.
        model: `timm/NAME`, `torchvision/NAME`, `local-dir:FOLDER`, `hf-hub:OWNER/NAME` or a TOML
            file; empty for a network that is downloaded.
        weights: Safetensors file of pre-trained weights.
        tries: Networks to try on their features, of which validation selects one.
        recipe: Name of a fine-tuning recipe, or the recipe itself.
        freeze: Frozen part: `backbone`, `none` or a number; empty for that of the recipe.
        balance: Method for uneven classes: `none`, `weights`, `sampler` or `auto`.
        train_size: Side of the train images in pixels; None for that of the recipe.
        test_size: Side of the test images in pixels; None for `train_size`.
        epochs: Number of epochs of each stage; None for that of the recipe.
        time_limit_seconds: Time limit, from the call to the last file; None for none.
        split: Split into train, validation and test: fractions, counts or a manifest; empty for
            that of the folder.
        seed: Seed of all random numbers.
        baseline: Folder of an earlier model to compare with on the test images.
        skip_bad: Skip damaged files.
        no_test: Set no images apart for a test split.
        folder_choices: Choices for reading the folder: links, sub-folders, columns, groups.
        accept_license: Accept weights whose license forbids commercial use.
        trust_code: Consent to run the code (`package.module:function`) that `model` names.
        device: Device of the training, such as `cpu` or `cuda:1`.
        workers: Threads that decode photographs; 0 for one per core.
        output: Folder of `models`, `reports` and `cache`.
        name: Name of the folders of the model and the report.
        should_stop: Function that is called between steps; training ends once it returns True.
        progress: Show messages and the progress of long steps.

    Returns:
        The model: its record, its folder for `load_model`, and that of the report.

    Raises:
        InputError: An argument, the weights or the photographs are invalid.
        ResourceError: The disk is full.
    """
    from resnetlab.api.finetune_page import write_finetune_page
    from resnetlab.finetuning.finetune_photos import finetune as run

    notify, on_item = progress_callbacks(progress)
    request = FinetuneRequest(
        folder=Path(folder),
        model=model,
        weights=None if weights is None else Path(weights),
        tries=tuple(tries),
        recipe=recipe,
        freeze=freeze,
        balance=balance,
        train_size=train_size,
        test_size=test_size,
        epochs=epochs,
        split_spec=parse_split(split, "split"),
        seed=seed,
        skip_bad=skip_bad,
        no_test=no_test,
        folder_choices=folder_choices,
        accept_license=accept_license,
        trust_code=trust_code,
        device=device,
        workers=workers,
        output=Path(output),
        name=name,
    )
    finetuned = run(
        request,
        time_limit_seconds=time_limit_seconds,
        baseline=None if baseline is None else Path(baseline),
        should_stop=should_stop,
        notify=notify,
        on_item=on_item,
    )
    write_finetune_page(finetuned, device=device, notify=notify, on_item=on_item)
    return finetuned


@with_summary
@dataclass(frozen=True)
class FixresComparison:
    """Comparison of train and test sizes by `fixres`: its table, its answer and its page."""

    result: ResolutionTable
    answer: str
    """Result of the comparison in one sentence."""
    report: Path
    """Path of the HTML page."""

    def table(self) -> Table:
        """Return a row for each pair of sizes, with the test accuracy after each stage."""
        rows = []
        for cell in self.result.cells:
            row = {"train_size": cell.train_size, "test_size": cell.test_size}
            for stage in ("stage_one", "stage_two"):
                estimates = getattr(cell, stage)  # on validation and on test
                row[f"{stage}_test_pct"] = estimates and estimates[1].accuracy_pct
            rows.append(row | {"status": cell.status})
        return Table.from_rows(rows)

    def _summary(self) -> ObjectSummary:
        table = self.table()
        rows = [tuple(row.values()) for row in table]
        details = {"answer": self.answer, "report": self.report}
        return ObjectSummary(f"{len(table)} pairs of sizes", details, list(table.columns), rows)


def fixres(
    folder: str | Path,
    train_sizes: Sequence[int] = (128, 224),
    test_sizes: Sequence[int] = (128, 224, 288),
    *,
    model: str = "",
    weights: str | Path | None = None,
    recipe: str | FinetuneRecipe = "fixres",
    epochs: int | None = None,
    split: str = "",
    seed: int = 0,
    skip_bad: bool = False,
    accept_license: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    output: str | Path = ".",
    name: str = "",
    should_stop: Callable[[], bool] = lambda: False,
    progress: bool = True,
) -> FixresComparison:
    """Compare train and test sizes of photographs (FixRes, Touvron et al. 2019), and write a page.

    Args:
        folder: Folder of photographs, with a folder for each class.
        train_sizes: Sides of the train images in pixels.
        test_sizes: Sides of the test images in pixels.
        model: Pre-trained network, as in `finetune`.
        weights: Safetensors file of pre-trained weights.
        recipe: Name of a fine-tuning recipe, or the recipe itself.
        epochs: Number of epochs of each stage; None for that of the recipe.
        split: Split, as in `finetune`.
        seed: Seed of all random numbers.
        skip_bad: Skip damaged files.
        accept_license: Accept weights whose license forbids commercial use.
        trust_code: Consent to run the code (`package.module:function`) that `model` names.
        device: Device of the training, such as `cpu` or `cuda:1`.
        output: Folder of `models`, `reports` and `cache`.
        name: Name of the folders of the model and the report.
        should_stop: Function that is called between steps; training ends once it returns True.
        progress: Show messages and the progress of long steps.

    Returns:
        The accuracy of each pair of sizes, the answer in a sentence, and the folder of the report.

    Raises:
        InputError: An argument, the weights or the photographs are invalid.
        ResourceError: The disk is full.
    """
    from resnetlab.finetuning.finetune_photos import fixres as run
    from resnetlab.reports.fixres import build_page, write_resolution_page

    notify, on_item = progress_callbacks(progress)
    request = FinetuneRequest(
        folder=Path(folder),
        model=model,
        weights=None if weights is None else Path(weights),
        recipe=recipe,
        epochs=epochs,
        split_spec=parse_split(split, "split"),
        seed=seed,
        skip_bad=skip_bad,
        accept_license=accept_license,
        trust_code=trust_code,
        device=device,
        output=Path(output),
        name=name,
    )
    for table, report_folder in run(
        request,
        tuple(train_sizes),
        tuple(test_sizes),
        command="",
        should_stop=should_stop,
        notify=notify,
        on_item=on_item,
    ):
        report = write_resolution_page(table, report_folder)
    return FixresComparison(table, build_page(table).answer, report)


def check_data(
    source: str | Path,
    *,
    image_size: int | None = None,
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    output: str | Path = ".",
    progress: bool = True,
) -> Audit:
    """Count the images of a data set, and list broken files and duplicates: `data check`.

    Args:
        source: Name of a data set, path of an .npz file, or folder of images.
        image_size: Side in pixels to which photographs are resized.
        folder_choices: Choices for reading a folder.
        output: Folder of `cache`.
        progress: Show messages.

    Returns:
        The counts by split and class, the broken files, and the duplicates.

    Raises:
        InputError: The data cannot be read.
    """
    from resnetlab.data.check import audit_source

    notify, _ = progress_callbacks(progress)
    cache = Path(output) / "cache"
    return audit_source(
        str(source),
        image_size=image_size,
        cache=cache,
        notify=notify,
        folder_choices=folder_choices,
    )


def describe_data(
    folder: str | Path,
    *,
    split: str = "",
    folder_choices: FolderChoices = DEFAULT_FOLDER_CHOICES,
    out: str | Path | None = None,
    output: str | Path = ".",
    progress: bool = True,
) -> FolderSummary:
    """Describe a folder of photographs: sizes, broken files, duplicates: `data describe`.

    Args:
        folder: Folder of photographs, with a folder for each class.
        split: Split into train, validation and test: fractions, counts or a manifest; empty for
            that of the folder.
        folder_choices: Choices for reading the folder.
        out: Folder for a page and its figures; None writes none.
        output: Folder of `cache`.
        progress: Show messages.

    Returns:
        The sizes, broken files, duplicates and counts of the folder.

    Raises:
        InputError: The folder cannot be read.
    """
    from resnetlab.data.summary import summarize_folder
    from resnetlab.reports.dataset import write_dataset_page

    notify, _ = progress_callbacks(progress)
    summary = summarize_folder(
        Path(folder),
        cache=Path(output) / "cache",
        split=parse_split(split, "split"),
        notify=notify,
        folder_choices=folder_choices,
    )
    if out is not None:
        write_dataset_page(summary, Path(out))
    return summary
