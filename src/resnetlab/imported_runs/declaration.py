"""Declaration of a table: the meaning of its columns, the design of its runs, and its claims."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from resnetlab.errors import input_error
from resnetlab.schema import PositiveInt, decode, read_toml, strict_dataclass
from resnetlab.schema_errors import FieldError
from resnetlab.studies.imported_design import PublishedValue

MAX_RUNS = 1_000_000
"""Largest number of runs behind a mean; a larger one is the number of something else."""

DeclaredUnit = Literal["auto", "percent", "fraction", "number"]
HigherIs = Literal["auto", "better", "worse"]


@strict_dataclass
class Declaration:
    """Declaration of a table of runs: a TOML file of `resnetlab judge`, or its options."""

    name: str = ""
    """Name of the report and of its folder; empty: that of the file."""
    question: str = ""
    """Question that the report answers; it is the title of the report."""
    about: str = ""
    """Description of the runs, which the report prints."""
    limits: str = ""
    """Limitations of the runs, which the report prints."""
    condition: tuple[str, ...] = ()
    """Columns whose values together name the condition; empty: recognized by their names."""
    seed: str = ""
    """Column of the seeds; empty: recognized by its name."""
    fold: str = ""
    """Column of the folds of a cross-validation."""
    value: str = ""
    """Column of the measured values; the tag or metric of a folder of logs."""
    status: str = ""
    """Column of the statuses; empty: recognized by its name."""
    epoch: str = ""
    """Column of the epochs, if a run has a row for each; empty: recognized by its name."""
    ignore: tuple[str, ...] = ()
    """Columns that are not read."""
    where: tuple[str, ...] = ()
    """Rows that are read, as `COLUMN=VALUE`; a row must have all of these values."""
    run_pattern: str = ""
    """Pattern of the names of runs, such as `{condition}-{seed}`."""
    measure: str = ""
    """Name of the measured quantity in the report; empty: that of its column."""
    unit: DeclaredUnit = "auto"
    """Unit of the values: percent, fraction (0 to 1) or plain numbers; auto detects it."""
    higher_is: HigherIs = "auto"
    """`better` for an accuracy, `worse` for an error or a loss; auto detects it by the name."""
    chance: float | None = None
    """Value of a constant guess, in percent or as a plain number; None if it is unknown."""
    test_images: PositiveInt | None = None
    """Number of test images, by which runs at chance are recognized; needs `chance`."""
    paired_by: Literal["", "seed", "fold"] = ""
    """Pairs of runs: those with the same seed or fold. Empty: independent runs."""
    folds: PositiveInt | None = None
    """Number of folds, if the runs are folds of a cross-validation."""
    cross_validation: bool = False
    """True if the runs are folds of a cross-validation whose folds are all in the table."""
    best_of: PositiveInt = 1
    """Number of runs of which each value is the best."""
    claims: tuple[str, ...] = ()
    """Claims as text, such as `A > B` or `A = B within 0.5`."""
    claim: tuple[dict[str, Any], ...] = ()
    """Claims as tables, with the fields of a study's claims; conditions are given by name."""
    published: tuple[str, ...] = ()
    """Published numbers as text, such as `A = 93.57 of 5`."""
    reference: tuple[PublishedValue, ...] = ()
    """Published numbers as tables."""

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise FieldError("folds", "fewer than two folds", "folds = 5")
        if self.test_images is not None and self.chance is None:
            fix = "give both, for example chance = 10 for ten equal classes"
            raise FieldError("test_images", "given without chance", fix)
        if self.paired_by == "fold" and not self.fold:
            raise FieldError("paired_by", "no column of folds", 'fold = "fold"')


def declare(**given: Any) -> Declaration:
    """Return the declaration of keyword arguments. A single column may be given as text.

    Raises:
        InputError: A name or a value is not allowed.
    """
    for name in ("condition", "ignore", "where", "claims", "published"):
        if isinstance(given.get(name), str):
            given[name] = (given[name],)
    table = {name: value for name, value in given.items() if value is not None}
    declaration: Declaration = decode(Declaration, table, "the arguments")
    return declaration


def read_declaration(path: Path | None, options: dict[str, Any]) -> Declaration:
    """Return the declaration of a TOML file with the options of a command in its place.

    Args:
        path: File, or None for the options alone.
        options: Fields that replace those of the file; those with the default value do not.

    Raises:
        InputError: The file or an option is invalid.
    """
    where = "the options" if path is None else str(path)
    from_file: Declaration = decode(Declaration, {} if path is None else read_toml(path), where)
    defaults = Declaration()
    given = {
        field.name: options[field.name]
        for field in fields(Declaration)
        if field.name in options and options[field.name] != getattr(defaults, field.name)
    }
    try:
        return replace(from_file, **given)
    except FieldError as error:
        option = "--" + error.field.replace("_", "-")
        fix = error.fix.replace(" = ", " ").replace("_", "-").replace('"', "")
        fix = f"--{fix}" if fix.startswith(("fold", "folds")) else error.fix
        raise input_error(option, error.message, fix) from None
