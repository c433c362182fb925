"""Columns of a table by their meaning: declared, or recognized by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.imported_runs.declaration import Declaration
from resnetlab.imported_runs.raw_table import RUN_COLUMN, RawTable, is_finite_number

CONDITION_NAMES = (
    *("condition", "model", "method", "arm", "variant", "algorithm", "network", "architecture"),
    *("config", "group", "treatment"),
)
SEED_NAMES = ("seed", "random_seed", "rep", "repeat", "replicate", "repetition", "trial")
FOLD_NAMES = ("fold", "cv_fold", "split_id")
STATUS_NAMES = ("status", "state", "outcome")
EPOCH_NAMES = ("epoch", "epochs")
VALUE_NAMES = (
    *("test_accuracy", "test_acc", "accuracy", "acc", "top1", "test_top1", "val_accuracy"),
    *("val_acc", "test_error", "error", "f1", "auc", "miou", "value", "score", "metric", "result"),
    *("test_loss", "val_loss", "loss", "rmse", "mae"),
)


@dataclass(frozen=True)
class Columns:
    """Columns of a table by their meaning; empty for one that the table does not have."""

    condition: tuple[str, ...]
    """Columns that name the condition; empty in the wide form, or if run names have it."""
    seed: str
    fold: str
    value: str
    """Column of the values; empty in the wide form."""
    status: str
    epoch: str
    wide: tuple[str, ...] = ()
    """Columns of the wide form, one for each condition; empty in the long form."""
    unused: tuple[str, ...] = ()
    recognized: tuple[str, ...] = ()
    """Columns that were not declared: `model as the condition`."""


class UnclearColumnError(InputError):
    """Error of a column that is not recognized, with the option that declares it."""

    def __init__(self, problem: Problem, option: str, columns: Sequence[str]) -> None:
        super().__init__(problem)
        self.option = option
        """`--condition` or `--value`."""
        self.columns = tuple(columns)
        """Columns that have no meaning yet."""


def find_columns(table: RawTable, declaration: Declaration) -> Columns:
    """Return the columns of a table by their meaning.

    Without a column of conditions, the table is in the wide form: a row for each seed and a column
    for each condition.

    Raises:
        InputError: A declared column does not exist, or a needed one is not recognized.
    """
    finder = _Finder(table, declaration)
    condition = tuple(finder.declared(name, "--condition") for name in declaration.condition)
    if not condition:
        condition = tuple(filter(None, [finder.recognize(CONDITION_NAMES, "the condition")]))
    seed = finder.find(declaration.seed, "--seed", SEED_NAMES, "the seed")
    fold = finder.declared(declaration.fold, "--fold") if declaration.fold else ""
    folds_are_declared = bool(declaration.folds or declaration.cross_validation)
    finder.refuse_folds([*finder.free, *([] if folds_are_declared else [seed])])
    status = finder.find(declaration.status, "--status", STATUS_NAMES, "the status")
    declared_epoch = declaration.epoch or table.epoch_column
    epoch = finder.find(declared_epoch, "--epoch", EPOCH_NAMES, "the epoch")
    named = bool(condition) or RUN_COLUMN in finder.free
    if not named:
        if declaration.value:
            fix = "--condition COLUMN; without --value, each column is a condition"
            raise finder.unclear("no column of conditions", fix, "--condition")
        return finder.wide(seed, fold, status, epoch)
    finder.used.add(RUN_COLUMN)
    value = table.value_column or declaration.value
    value = finder.declared(value, "--value") if value else finder.value()
    return Columns(
        condition, seed, fold, value, status, epoch, (), finder.unused(), tuple(finder.notes)
    )


class _Finder:
    """Search for columns, which remembers those that have a meaning already."""

    def __init__(self, table: RawTable, declaration: Declaration) -> None:
        self.table = table
        self.used: set[str] = set()
        self.notes: list[str] = []
        self.ignored = {self._existing(name, "--ignore") for name in declaration.ignore}
        self.ignored |= {name.partition("=")[0] for name in declaration.where}

    @property
    def free(self) -> list[str]:
        """Columns without a meaning, in order."""
        return [name for name in self.table.columns if name not in self.used | self.ignored]

    def unused(self) -> tuple[str, ...]:
        return tuple(name for name in self.table.columns if name not in self.used)

    def declared(self, name: str, option: str) -> str:
        existing = self._existing(name, option)
        if existing in self.used:
            fix = "give each column one meaning"
            raise input_error(self.table.where, "has two meanings", fix, field=existing)
        self.used.add(existing)
        return existing

    def recognize(self, names: Sequence[str], meaning: str) -> str:
        by_form = {_plain_form(name): name for name in reversed(self.free)}
        column = next((by_form[name] for name in names if name in by_form), "")
        if column:
            self.used.add(column)
            self.notes.append(f"{column} as {meaning}")
        return column

    def find(self, name: str, option: str, names: Sequence[str], meaning: str) -> str:
        return self.declared(name, option) if name else self.recognize(names, meaning)

    def refuse_folds(self, columns: Sequence[str]) -> None:
        """Raise InputError for a column of folds that is not declared as one."""
        by_form = {_plain_form(name): name for name in columns}
        column = next((by_form[name] for name in FOLD_NAMES if name in by_form), "")
        if column:
            raise input_error(
                self.table.where,
                "folds of a cross-validation are no independent runs",
                f"--fold {column} for the corrected test, or --ignore {column}",
                field=f"column {column}",
            )

    def value(self) -> str:
        """Return the column of the values by its name, or the only column of numbers."""
        column = self.recognize(VALUE_NAMES, "the value")
        if column:
            return column
        numeric = [name for name in self.free if self._is_numeric(name)]
        if len(numeric) != 1:
            message = "no column of values is recognized"
            raise self.unclear(message, "--value COLUMN", "--value")
        self.used.add(numeric[0])
        self.notes.append(f"{numeric[0]} as the value")
        return numeric[0]

    def wide(self, seed: str, fold: str, status: str, epoch: str) -> Columns:
        """Return the columns of the wide form. Raises InputError if they have no numbers."""
        if status or epoch:
            fix = "--condition COLUMN, or a table with a row for each run"
            message = f"a column {status or epoch} and no column of conditions"
            raise self.unclear(message, fix, "--condition")
        for name in self.free:
            if not self._is_numeric(name):
                fix = f"--ignore {name}, or --condition COLUMN for a table with a row for each run"
                message = "a column of a condition without a number in it"
                raise self.unclear(message, fix, "--condition", field=f"column {name}")
        if not self.free:
            raise self.missing("no column of a condition", "a column of values for each condition")
        wide = tuple(self.free)
        self.used.update(wide)
        return Columns((), seed, fold, "", "", "", wide, self.unused(), tuple(self.notes))

    def missing(self, message: str, fix: str) -> InputError:
        return input_error(self.table.where, message, fix, allowed=", ".join(self.table.columns))

    def unclear(self, message: str, fix: str, option: str, field: str = "") -> UnclearColumnError:
        allowed = "" if field else ", ".join(self.table.columns)
        problem = Problem(self.table.where, message, fix, field=field, allowed=allowed)
        return UnclearColumnError(problem, option, self.free)

    def _is_numeric(self, name: str) -> bool:
        return any(is_finite_number(row.cells.get(name)) for row in self.table.rows)

    def _existing(self, name: str, option: str) -> str:
        if name in self.table.columns:
            return name
        by_form = {_plain_form(column): column for column in self.table.columns}
        if _plain_form(name) in by_form:
            return by_form[_plain_form(name)]
        raise input_error(
            self.table.where,
            f"no such column for {option}",
            suggest(name, self.table.columns) or f"{option} {self.table.columns[0]}",
            got=name,
            allowed=", ".join(self.table.columns),
        )


def _plain_form(name: str) -> str:
    """Return a name in lower case with underscores: `test_acc` for `Test Acc`."""
    return "_".join(name.lower().replace("-", " ").replace("/", " ").replace("_", " ").split())
