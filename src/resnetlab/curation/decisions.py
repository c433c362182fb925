"""Decisions of a user on suspicious labels: the file that the page writes, and new labels from it.

The photographs are never changed, moved or copied. Free of torch.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnetlab.curation.labeled_photos import LabeledPhotos
from resnetlab.curation.results import AppliedDecisions
from resnetlab.data.class_names import match_names
from resnetlab.data.paths import escape_undecodable, is_folder
from resnetlab.errors import InputError, Problem, input_error, suggest
from resnetlab.files import MAX_GENERATED_BYTES, atomic_write, read_text, write_json
from resnetlab.schema import encode
from resnetlab.stats.intervals import clopper_pearson

COLUMNS = ("path", "old", "new", "decision")
"""Columns of a file of decisions."""

ACCEPT, REJECT = "accept", "reject"
"""Decisions: the label is wrong and becomes `new`, or it is right and stays."""


@dataclass(frozen=True)
class Decision:
    """Decision on one photograph: its label `old` becomes `new` if it is accepted."""

    path: str
    old: str
    new: str
    accepted: bool


def read_decisions(path: Path, labeled: LabeledPhotos) -> list[Decision]:
    """Read the decisions of a user on the photographs of a folder.

    Raises InputError with every mistake: columns, unknown photographs, other labels than the
    present ones, unknown classes, and two decisions on one photograph.
    """
    lines = _read_rows(path)
    present = {row.path: row.label for row in labeled.photos.rows}
    # The page cannot contain bytes that are not UTF-8: it has such a path with escapes.
    path_of = {escape_undecodable(path): path for path in present}
    path_of |= {path: path for path in present}
    decisions: list[Decision] = []
    problems: list[Problem] = []
    decided: set[str] = set()
    for number, row in lines:
        where = f"{path}:{number}"
        known = [*(path_of.get(path, path) for path in row[:1]), *row[1:]]
        problem = _find_problem(where, known, present, labeled.classes, decided)
        if problem is not None:
            problems.append(problem)
            continue
        photo, old, new, decision = known
        decided.add(photo)
        names = match_names([old, new], labeled.classes)
        decisions.append(Decision(photo, names[old], names[new], decision == ACCEPT))
    if not decisions and not problems:
        message = "has no decision"
        fix = "accept or reject suspects on the page, then download the file again"
        problems.append(Problem(str(path), message, fix))
    if problems:
        raise InputError(*problems)
    return decisions


def write_labels(
    labeled: LabeledPhotos, decisions: Sequence[Decision], target: Path
) -> AppliedDecisions:
    """Write the labels with the accepted changes, and the measured precision beside them.

    The table has the columns path, label and split, so that a photograph stays in its split, and
    the column of a rule `--group column:NAME`. The precision is that of the judged suspects.

    Args:
        labeled: Photographs with their present labels.
        decisions: Decisions of the user, at least one.
        target: Table to write.

    Raises:
        InputError: Another table is at `target`, or another file beside it, or its name does not
            end in .csv.
        ResourceError: The disk is full.
    """
    check_labels_path(target)
    content = _labels_table(labeled, decisions)
    accepted = sum(decision.accepted for decision in decisions)
    low, high = clopper_pearson(accepted, len(decisions))
    result = AppliedDecisions(
        data=labeled.name,
        labels=str(target),
        accepted=accepted,
        rejected=len(decisions) - accepted,
        precision_pct=100 * accepted / len(decisions),
        precision_low_pct=100 * low,
        precision_high_pct=100 * high,
    )
    record = target.with_suffix(".json")
    _check_same_or_absent(target, target.exists() and target.read_bytes() == content)
    _check_same_or_absent(record, _has_json(record, encode(result)))
    with atomic_write(target, "wb") as file:
        file.write(content)
    write_json(record, encode(result))
    return result


def check_labels_path(target: Path) -> None:
    """Raise InputError unless a table of labels can be written to `target`: a file `NAME.csv`.

    The measured precision is written to NAME.json, so the table itself needs another suffix.
    """
    if target.suffix.lower() != ".csv":
        message = "not a name that ends in .csv"
        raise input_error("--out", message, "--out new-labels.csv", got=target)
    for path in (target, target.with_suffix(".json")):
        if is_folder(path):
            message = "is a folder, but a file is to be written"
            raise input_error(str(path), message, "--out NAME.csv, with another name")


def _check_same_or_absent(path: Path, is_same: bool) -> None:
    """Raise InputError if another file is at `path`."""
    if path.exists() and not is_same:
        message = "exists, with other content"
        raise input_error(str(path), message, "--out NAME.csv, or remove it")


def _has_json(path: Path, value: object) -> bool:
    """Return True if `path` is a file with this value as JSON."""
    try:
        return bool(json.loads(path.read_bytes()) == value)
    except (OSError, ValueError):
        return False


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows below the header, each with its line number.

    Raises InputError if the file is no table.
    """
    text = read_text(path, MAX_GENERATED_BYTES).removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        fix = "download the file from the page again"
        raise input_error(str(path), f"not a CSV table: {error}", fix) from None
    header = tuple(name.strip() for name in lines[0][1]) if lines else ()
    if header != COLUMNS:
        fix = "give the file that the page of resnetlab data suspects downloads"
        got, allowed = ",".join(header), ",".join(COLUMNS)
        raise input_error(f"{path}:1", "other columns", fix, got=got, allowed=allowed)
    return lines[1:]


def _find_problem(
    where: str,
    row: Sequence[str],
    present: dict[str, str],
    classes: Sequence[str],
    decided: set[str],
) -> Problem | None:
    """Return the mistake of a row, or None."""
    if len(row) != len(COLUMNS):
        fix = "quote a value that contains a comma"
        return Problem(where, "more or fewer values than columns", fix)
    path, old, new, decision = row
    if path not in present:
        fix = "give the folder that the page was made for"
        return Problem(where, f'no photograph "{path}" in the folder', fix)
    if path in decided:
        return Problem(where, f'"{path}" a second time', "keep one row for each photograph")
    names = match_names([old, new, present[path]], classes)
    if names.get(old) != names[present[path]]:
        message = f'the label of "{path}" is now "{present[path]}"'
        fix = "make the page again, since the labels changed after it was made"
        return Problem(where, message, fix, field="old", got=old)
    if new not in names:
        fix = suggest(new, classes) or "give one of the classes"
        return Problem(where, "no class of the folder", fix, field="new", got=new)
    if decision not in (ACCEPT, REJECT):
        allowed = f"{ACCEPT}, {REJECT}"
        fix = f"write {ACCEPT} or {REJECT}, or remove the row"
        return Problem(where, "no decision", fix, field="decision", got=decision, allowed=allowed)
    if decision == ACCEPT and names[new] == names[old]:
        fix = f"give another class, or write {REJECT}"
        return Problem(where, "accepted, but the new label is the old one", fix, got=new)
    return None


def _labels_table(labeled: LabeledPhotos, decisions: Sequence[Decision]) -> bytes:
    """Return the table of labels as CSV."""
    changed = {decision.path: decision.new for decision in decisions if decision.accepted}
    groups = labeled.scan.groups
    rule = groups.rule
    column = rule.value if rule is not None and rule.kind == "column" else ""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split", *([column] if column else [])))
    for index, row in enumerate(labeled.photos.rows):
        group = [groups.columns[index]] if column else []
        writer.writerow((row.path, changed.get(row.path, row.label), row.split, *group))
    return text.getvalue().encode(errors="surrogateescape")
