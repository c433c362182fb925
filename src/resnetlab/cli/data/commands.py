"""Commands of `resnetlab data`: check, describe, show, split and fetch data sets.

Heavy imports stay inside them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from resnetlab.cli.common import CHECK_FAILED, DONE, Json, Open, notify, open_page, print_json
from resnetlab.cli.common import OutputDir as Output
from resnetlab.cli.data.pack import data_pack
from resnetlab.cli.folder_options import DEFAULT_FOLDER_OPTIONS, FolderOptions, with_folder_options
from resnetlab.cli.output_paths import check_output_file, check_output_folder
from resnetlab.cli.pictures import write_picture
from resnetlab.errors import input_error

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check, describe, show, split and fetch data sets, and correct their labels.",
)

Folder = Annotated[Path, typer.Argument(help="Folder of photographs.", metavar="DIR")]
Seed = Annotated[int, typer.Option(help="Seed of the random split.", min=0)]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Split into train, validation and test: counts (12240,4200,4140), fractions "
        "(.6,.2,.2), or a manifest (a CSV file)."
    ),
]

ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels to which photographs are resized, 4 to 1024.", min=4, max=1024
    ),
]


@data.command("check")
@with_folder_options
def data_check(
    source: Annotated[
        str,
        typer.Argument(
            help="Name of a data set, an .npz file, or a folder of images.", metavar="DATA"
        ),
    ],
    img_size: ImageSize = None,
    rehash: Annotated[
        bool,
        typer.Option(
            "--rehash", help="Read every file again, also those that did not change by their times."
        ),
    ] = False,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Count images and list broken files and duplicates.

    The counts are by class and split. Files that did not change since the last check are not read
    again.
    """
    check_output_folder("--output", output)
    from resnetlab.data.check import audit_source

    audit = audit_source(
        source,
        image_size=img_size,
        cache=output / "cache",
        notify=notify,
        folder_choices=folder_options.folder_choices(),
        rehash=rehash,
    )
    if json:
        print_json(audit)
    else:
        for line in audit.lines():
            typer.echo(line)
    raise typer.Exit(CHECK_FAILED if audit.bad else DONE)


@data.command("describe")
@with_folder_options
def data_describe(
    folder: Folder,
    split: SplitOption = "",
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a page and its figures.", metavar="DIR")
    ] = None,
    output: Output = Path(),
    json: Json = False,
    open_report: Open = False,
) -> None:
    """Print sizes, broken files, duplicates and ImageNet overlap.

    Example:  resnetlab data describe photos
    """
    if open_report and out is None:
        raise input_error("--open", "no page is written without --out", "--out described --open")
    check_output_folder("--out", out)
    from resnetlab.data.sources.folder.manifest import parse_split
    from resnetlab.data.summary import summarize_folder

    summary = summarize_folder(
        folder,
        cache=output / "cache",
        split=parse_split(split),
        notify=notify,
        folder_choices=folder_options.folder_choices(),
    )
    if not json:
        for line in summary.lines():
            typer.echo(line)
    page = None
    if out is not None:
        from resnetlab.reports.dataset import write_dataset_page

        page = write_dataset_page(summary, out)
    if json:
        print_json(
            {
                "audit": summary.audit,
                "near_copies": summary.near_copies,
                "overlap": summary.overlap,
                "leakage": summary.leakage,
                "page": page,
            }
        )
    elif page is not None:
        typer.echo(f"Page: {page}")
    if open_report and page is not None:
        open_page(page)
    raise typer.Exit(CHECK_FAILED if summary.audit.bad else DONE)


@data.command("show")
@with_folder_options
def data_show(
    source: Annotated[
        str,
        typer.Argument(
            help="Name of a data set, an .npz file, or a folder of images.", metavar="DATA"
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="PNG file of the contact sheet.", metavar="FILE")
    ] = Path("sheet.png"),
    per_class: Annotated[
        int, typer.Option(help="Number of train images of each class.", min=1, max=50)
    ] = 10,
    img_size: ImageSize = None,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Draw a contact sheet: a row of train images for each class.

    Example:  resnetlab data show cifar10 --out sheet.png
    """
    check_output_file("--out", out)
    from resnetlab.data import contact_sheet
    from resnetlab.data.sources import open_source

    opened = open_source(
        source,
        image_size=img_size,
        cache=output / "cache",
        notify=notify,
        skip_bad=True,
        folder_choices=folder_options.folder_choices(),
    )
    rows = contact_sheet.class_rows(opened, per_class)
    sentence = contact_sheet.describe_source(opened)
    write_picture(out, contact_sheet.render_contact_sheet(rows, sentence))
    if json:
        counts = contact_sheet.count_rows(opened, rows)
        print_json({"file": out, "rows": counts, "notes": [sentence]})
        return
    typer.echo(sentence)
    drawn = f"{len(rows)} of {len(opened.classes)}" if len(rows) < len(opened.classes) else "all"
    typer.echo(f"The sheet has the first {per_class} train images of {drawn} classes.")


@data.command("split")
@with_folder_options
def data_split(
    folder: Folder,
    fractions: Annotated[
        str, typer.Option(help="Fractions of train, validation and test; their sum is 1.")
    ] = ".6,.2,.2",
    split: Annotated[str, typer.Option(help="Counts instead of fractions: 12240,4200,4140.")] = "",
    redraw_test: Annotated[
        bool,
        typer.Option("--redraw-test", help="Draw the test split anew if the folder has one."),
    ] = False,
    seed: Seed = 0,
    folder_options: FolderOptions = DEFAULT_FOLDER_OPTIONS,
    out: Annotated[
        Path | None,
        typer.Option(help="Manifest to write; the default is <folder>-split.csv.", metavar="FILE"),
    ] = None,
    output: Output = Path(),
    json: Json = False,
) -> None:
    """Split photographs by class and write a manifest.

    A test split that the folder has is kept: the fractions then divide the other images.

    Example:  resnetlab data split photos --fractions .6,.2,.2
    """
    check_output_file("--out", out)
    from resnetlab.data.config import SPLITS
    from resnetlab.data.sources.folder import manifest
    from resnetlab.data.sources.folder.scan import DEFAULT_IMAGE_SIZE, scan_folder

    option = "--split" if split else "--fractions"
    parsed = manifest.SplitSpec.parse(split or fractions, seed, option)
    split_spec = replace(parsed, keep_test=not redraw_test)
    scan = scan_folder(
        folder,
        image_size=DEFAULT_IMAGE_SIZE,
        cache=output / "cache",
        notify=notify,
        skip_bad=True,
        split=split_spec,
        folder_choices=folder_options.folder_choices(),
    )
    path = out or Path(f"{folder.resolve().name}-split.csv")
    if out is None and path.exists() and path.read_bytes() != manifest.manifest_bytes(scan.rows):
        message = "exists, with another split"
        raise input_error(str(path), message, "--out NAME.csv, or remove it")
    manifest.write_manifest(path, scan.rows)
    for line in scan.notes:
        notify(f"note: {line}")
    counts = [sum(row.split == part for row in scan.rows) for part in SPLITS]
    if json:
        train, validation, test = counts
        print_json(
            {
                "manifest": path,
                "train": train,
                "validation": validation,
                "test": test,
                "notes": scan.notes,
            }
        )
        return
    typer.echo(f"{counts[0]:,} train, {counts[1]:,} validation, {counts[2]:,} test: {path}")


@data.command("fetch")
def data_fetch(
    name: Annotated[
        str, typer.Argument(help="Data set: stanford-dogs, oxford-pets or flowers.", metavar="NAME")
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder in which to create the folder of the data set.", metavar="DIR"),
    ] = Path(),
    json: Json = False,
) -> None:
    """Download a known data set of photographs with its splits.

    Example:  resnetlab data fetch oxford-pets --out photographs
    """
    check_output_folder("--out", out)
    from resnetlab.data.download import download_dataset

    folder = download_dataset(name, out, notify)
    if json:
        print_json({"name": name, "folder": str(folder)})
    else:
        typer.echo(folder)


data.command("pack")(data_pack)
