"""Plain input that cannot work ends in one line with a fix and the exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.commands import check_error_lines, run_command
from helpers.runs_tables import A, B, C, long_rows

CLAIM = '[[claim]]\nstatement = "s"\n'
DECLARATIONS = {
    "unequal.toml": 'kind = "average"\nleft = ["A", "B"]\nright = ["C"]\n',
    "unequal-every.toml": 'kind = "every"\nleft = ["A"]\nright = ["C", "B"]\n',
    "empty.toml": 'kind = "average"\nleft = []\nright = []\n',
    "empty-every.toml": 'kind = "every"\nleft = []\nright = []\n',
    "empty-relative.toml": 'kind = "relative"\nleft = []\nright = []\nsize = 3.0\nmargin = 2.0\n',
    "no-steps.toml": 'kind = "monotone"\nalong = "depth"\norder = []\n',
    "one-step.toml": 'kind = "monotone"\nalong = "depth"\norder = ["A"]\n',
    "no-rivals.toml": 'kind = "best"\nleft = "A"\nrivals = []\n',
}
"""Claims that compare no two conditions, or not the same number on both sides."""

ONE, OTHER = "A: 93.5 ± 0.2, n=5", "B: 92.9 ± 0.3, n=5"
MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("judge", "one.csv", "--claim", "A > all"), "--claim: only A is there"),
    (("judge", "--summary", ONE, "--claim", "A > all"), "--claim: only A is there"),
    (("judge", "runs.csv", "--published", "A = 93 of 0"), "not a number of runs (got 0;"),
    (("judge", "runs.csv", "--declaration", "published.toml"), "reference.num_runs: not a number"),
    (("judge", "runs.csv", "--declaration", "unequal.toml"), "claim[0].right: has 1 condition"),
    (("judge", "runs.csv", "--declaration", "unequal-every.toml"), "and left has 1"),
    (("judge", "runs.csv", "--declaration", "empty.toml"), "claim[0].left: no condition"),
    (("judge", "runs.csv", "--declaration", "empty-every.toml"), "claim[0].left: no condition"),
    (("judge", "runs.csv", "--declaration", "empty-relative.toml"), "claim[0].left: no condition"),
    (("judge", "runs.csv", "--declaration", "no-steps.toml"), "fewer than two conditions"),
    (("judge", "runs.csv", "--declaration", "one-step.toml"), "fewer than two conditions"),
    (("judge", "runs.csv", "--declaration", "no-rivals.toml"), "fewer than two conditions"),
    (("judge", "--summary", f"{ONE[:-1]}{'9' * 20}", "--summary", OTHER), "1 to 1,000,000"),
    (("judge", "--summary", f"{ONE[:-1]}10000000000", "--summary", OTHER), "1 to 1,000,000"),
    (("judge", "--summary", "A: 1e200 ± 1, n=5", "--unit", "number"), "column mean: not allowed"),
    (("judge", "--summary", "A: 1 ± 1e200, n=5", "--unit", "number"), "column sd: not allowed"),
    (("judge", "huge.csv", "--claim", "A > B"), "column loss: out of range (got 1e200"),
    (("judge", "tiny.csv", "--claim", "A > B"), "column loss: out of range (got 1e-200"),
    (("compare", "a**b", "c"), "a**b: not a pattern of folders"),
    (("study", "show", "digits", "--seeds", "²"), "--seeds: not a number or a list of seeds"),
    (("study", "show", "digits", "--seeds", "0,٣"), "--seeds: not a number or a list of seeds"),
    (("study", "show", "digits", "--seeds", "9" * 5000), "--seeds: not a number or a list"),
    (("fixres", ".", "--train-sizes", "²"), "--train-sizes: not distinct sizes from 8 to 4096"),
    (("fixres", ".", "--train-sizes", "64,064"), "--train-sizes: not distinct sizes"),
    (("inspect", "filters", "run", "--images", "0,²"), "--images: not a list of numbers"),
    (("finetune", ".", "--freeze", "²"), "--freeze: unknown (got ²"),
    (("train", "cifar-resnet8", "--gradient-norms", "²"), "--gradient-norms: not a list of epochs"),
]


@pytest.mark.parametrize(("words", "expected"), MISTAKES)
def test_plain_input_that_cannot_work_is_reported_in_one_line(
    words: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "runs.csv").write_text(long_rows(A=A, B=B, C=C))
    (tmp_path / "one.csv").write_text(long_rows(A=A))
    for name, scale in (("huge", "e200"), ("tiny", "e-200")):
        losses = long_rows(A=(f"1{scale}", f"2{scale}"), B=(f"3{scale}", f"5{scale}"))
        (tmp_path / f"{name}.csv").write_text(losses.replace("accuracy", "loss"))
    for name, fields in DECLARATIONS.items():
        (tmp_path / name).write_text(CLAIM + fields)
    reference = '[[reference]]\ncondition = "A"\nvalue = 93.0\nnum_runs = 10000000\n'
    (tmp_path / "published.toml").write_text(reference)
    ended = run_command(*words, folder=tmp_path)
    check_error_lines(ended)
    assert expected in ended.errors
    (line,) = [line for line in ended.errors.splitlines() if "error: " in line]
    assert line.startswith("resnetlab: error: ")
