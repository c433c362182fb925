"""A study with reduced training never gets an unqualified verdict, in any file or command."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.synthetic import TRUTH, study_record
from resnetlab.analysis.analyze import analyze, data_by_condition
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.analysis.training_share import TrainingShare, training_share
from resnetlab.api.replication import Replication, format_replication, summary, to_dict
from resnetlab.recipes.train import Constant
from resnetlab.reports import build_report, rebuild, write_latex, write_report
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.study import Study

CONSTANT = Constant()
IMAGES = 1294
"""Train images of the digits of `study_record`: 1,438 less a tenth for validation."""

BARE = re.compile(
    r"(?<!training: )(?<!training: partly )(?<!training: not )(?<!partly )\b"
    r"(partly reproduced|reproduced|contradicted)\b",
    re.IGNORECASE,
)
"""A verdict without the share of its training before it."""


def halved(setting: str) -> StudyData:
    """Evidence of the digits study with half of its training, and a claim and its opposite."""
    study = load_study("digits", Overrides(settings=(setting,)))
    claim = study.claims[0]
    opposite = replace(
        claim, statement="Plain 56 is better.", left=claim.right, right=claim.left, source="he2016"
    )
    study = replace(study, claims=(claim, opposite))
    study_data = collect_study_data(study_record(TRUTH, study=study))
    if setting.startswith("data.train_images"):
        info = replace(study_data.data[0], train_images=IMAGES // 2, available_train_images=IMAGES)
        study_data = replace(study_data, data=(info,))
    return study_data


@pytest.fixture(
    scope="module", params=["recipe.epochs=5", f"data.train_images={IMAGES // 2}"], ids=str
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    study_data, folder = halved(request.param), tmp_path_factory.mktemp("halved")
    write_report(study_data, folder)
    write_latex(study_data, folder)
    return folder


@pytest.mark.parametrize(
    "name", ["report.html", "report.md", "report.tex", "report.json", "figures/claims.csv"]
)
def test_no_file_of_a_halved_study_has_a_verdict_without_its_share(folder: Path, name: str) -> None:
    text = " ".join((folder / name).read_text(encoding="utf-8").split())
    text = re.sub("<style>.*?</style>", "", text)
    assert [match[0] for match in BARE.finditer(text)] == []
    plain = text.replace("\N{NO-BREAK SPACE}", " ").replace("\\%", "%").lower()
    assert "at 50 % of the training: reproduced" in plain
    assert "at 50 % of the training: contradicted" in plain
    if not name.endswith((".csv", ".json")):
        assert "the claim at this protocol, not on the claim of its source" in plain
        assert f"saw {5 * IMAGES:,} images, and the study file asks for {10 * IMAGES:,}" in plain


def test_the_share_is_a_number_in_the_json_report(folder: Path) -> None:
    table = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for item, word in zip(table["verdicts"], ("reproduced", "contradicted"), strict=True):
        assert item["training_share_low"] == item["training_share_high"] == 0.5
        assert item["verdict"] == f"at 50 % of the training: {word}"
    with (folder / "figures" / "claims.csv").open(newline="", encoding="utf-8") as file:
        assert [row["training_share_low"] for row in csv.DictReader(file)] == ["0.5", "0.5"]


def test_a_report_is_rebuilt_with_its_share(folder: Path, tmp_path: Path) -> None:
    rebuild(folder, tmp_path)
    for name in ("report.json", "report.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_the_full_protocol_with_other_seeds_or_conditions_has_plain_verdicts() -> None:
    for overrides in (
        Overrides(),
        Overrides(seeds=(0, 1, 2, 3, 4)),
        Overrides(settings=("recipe.epochs=10",)),
        Overrides(settings=("grid.model.depth=[56]",)),
        Overrides(settings=("recipe.epochs=20",)),
    ):
        study = load_study("digits", overrides)
        analysis = analyze(collect_study_data(study_record(TRUTH, study=study)))
        assert [str(verdict.phrase) for verdict in analysis.verdicts] == ["reproduced"]


def test_an_older_report_without_the_training_of_its_file_is_limited_without_a_number() -> None:
    study_data = halved("recipe.epochs=5")
    conditions = tuple(replace(c, file_protocol=None) for c in study_data.study.conditions)
    report = build_report(
        replace(study_data, study=replace(study_data.study, conditions=conditions))
    )
    assert [item.verdict for item in report.claim_verdicts] == [
        "at a reduced training: reproduced",
        "at a reduced training: contradicted",
    ]


FILE = """
name = "two"
question = "Which recipe?"
data = { source = "cifar10", validation = 0.1 }
model = "cifar-resnet8"
seeds = [0, 1, 2]
[grid]
recipe = [{ epochs = 10 }, { epochs = 40 }]
"""


@pytest.mark.parametrize(
    ("overrides", "images", "available", "shares"),
    [
        (Overrides(settings=("recipe.epochs=5",)), 45_000, 45_000, (0.5, 0.125)),
        (Overrides(settings=("data.train_images=9000",)), 9_000, 45_000, (0.2, 0.2)),
        (Overrides(data="small.npz"), 900, 900, (0.02, 0.02)),
        (Overrides(data="all.npz"), 45_000, 45_000, (1.0, 1.0)),
        (
            Overrides(data="small.npz", settings=("data.train_images=90", "recipe.epochs=1")),
            90,
            900,
            (0.0002, 0.00005),
        ),
    ],
)
def test_the_share_is_the_number_of_trained_images_over_the_number_in_the_file(
    overrides: Overrides, images: int, available: int, shares: tuple[float, float]
) -> None:
    study = parse_study(tomllib.loads(FILE), "two.toml", overrides)
    info = collect_study_data(study_record()).data[0]
    info = replace(
        info,
        conditions=tuple(c.label for c in study.conditions),
        train_images=images,
        available_train_images=available,
    )
    data = dict.fromkeys(info.conditions, info)
    for label, share in zip(info.conditions, shares, strict=True):
        result = training_share(study, data, [label])
        expected = None if share == 1 else (pytest.approx(share), pytest.approx(share))
        assert (result and (result.low, result.high)) == expected
    result = training_share(study, data, info.conditions)
    expected = None if set(shares) == {1} else (min(shares), max(shares))
    assert (result and (result.low, result.high)) == expected


def test_steps_are_converted_to_images() -> None:
    text = FILE.replace("{ epochs = 10 }, { epochs = 40 }", "{ steps = 64000 }")
    changed = Overrides(settings=("recipe.steps=16000",))
    study = parse_study(tomllib.loads(text), "two.toml", changed)
    info = replace(collect_study_data(study_record()).data[0], train_images=45_000)
    label = study.conditions[0].label
    share = training_share(study, {label: info}, [label])
    assert share == TrainingShare(0.25, 0.25)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        ((0.04, 0.04), "at 4 % of the training"),
        ((0.02, 0.2), "at 2 to 20 % of the training"),
        ((0.998, 1.0), "at 99 to 100 % of the training"),
        ((0.0004, 0.0004), "at 0.04 % of the training"),
        ((None, None), "at a reduced training"),
    ],
)
def test_a_share_is_written_as_a_rounded_percentage(share: Any, words: str) -> None:
    assert str(TrainingShare(*share).message) == words


def test_a_file_without_data_gets_the_data_of_its_command() -> None:
    raw = {k: v for k, v in tomllib.loads(FILE).items() if k != "data"}
    changed = Overrides(data="digits", settings=("recipe.epochs=5",))
    study: Study = parse_study(raw, "two.toml", changed)
    assert [c.file_protocol and c.file_protocol.recipe.epochs for c in study.conditions] == [10, 40]


def test_verify_states_the_share_of_the_reported_runs(folder: Path) -> None:
    study_data = load_study_data(folder)
    row = study_data.rows[-1]
    share = training_share(study_data.study, data_by_condition(study_data), [row.condition])
    item = Replication(row, row, None, share, True)
    words = [format_replication(item), summary([item]), json.dumps(to_dict([item]))]
    assert [match[0] for text in words for match in BARE.finditer(text)] == []
    assert words[0].endswith("(the same to the last digit): at 50 % of the training: reproduced")
    assert "1 of 1 repeated run is “at 50 % of the training: reproduced”" in words[1]
    other = replace(item, replicated=replace(row, status="diverged"))
    assert format_replication(other).endswith("at 50 % of the training: not reproduced")


def shares_of_ladder() -> dict[str, TrainingShare | None]:
    """Shares of the conditions of the unchanged ladder: 50 epochs of 50,000 images."""
    study = load_study("ladder")
    info = replace(halved("recipe.epochs=5").data[0], name="cifar10", train_images=50_000)
    data = {condition.label: info for condition in study.conditions}
    return {c.label: training_share(study, data, [c.label]) for c in study.conditions}


def test_the_share_of_an_unchanged_study_is_relative_to_a_longer_source() -> None:
    """The source trained momentum with decay for 70 epochs, and the other networks for up to 50.
    Another source, which is not the first, has momentum with decay for 30 epochs.
    """
    shares = shares_of_ladder()
    assert shares.pop("+ momentum and decay") == TrainingShare(50 / 70, 50 / 70)
    assert set(shares.values()) == {None}


def test_a_source_length_in_steps_is_used_and_other_data_are_not() -> None:
    study = load_study("he2016")
    info = replace(halved("recipe.epochs=5").data[0], name="cifar10", train_images=45_000)
    label = study.conditions[0].label
    assert training_share(study, {label: info}, [label]) is None
    recipe = replace(study.conditions[0].recipe, steps=6_400, schedule=CONSTANT)
    study = replace(study, conditions=(replace(study.conditions[0], recipe=recipe),))
    share = training_share(study, {label: info}, [label])
    assert share is not None
    assert share.low == pytest.approx(0.1, rel=1e-3)
    assert training_share(study, {label: replace(info, name="svhn")}, [label]) is None


def test_a_headline_without_a_verdict_has_the_share_of_the_training() -> None:
    study = load_study("digits", Overrides(settings=("recipe.epochs=5",)))
    study_data = collect_study_data(study_record(TRUTH, study=replace(study, claims=())))
    assert build_report(study_data).answer.startswith("At 50 % of the training, plain 8 reached ")
    full = collect_study_data(study_record(TRUTH, study=replace(load_study("digits"), claims=())))
    assert build_report(full).answer.startswith("Plain 8 reached ")
