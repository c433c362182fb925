"""Names, depths and tables of models are converted to configs and back, and mistakes are reported
with their fix.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import InputError
from resnetlab.models.configs import CifarConfig, cifar_config
from resnetlab.models.library_names import library_names
from resnetlab.models.parse import parse_model
from resnetlab.models.registry import get_model_config, registered_models


def error_text(value: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_model(value, "study.toml")
    return str(caught.value).splitlines()


@given(st.integers(1, 300), st.sampled_from(["none", "A", "B", "C"]))
def test_the_slug_of_a_classic_network_is_parsed_to_the_same_config(n: int, option: Any) -> None:
    config = cifar_config(6 * n + 2, option)
    assert config.blocks == (n, n, n)
    assert get_model_config(config.slug, "", "") == config
    assert parse_model(config.slug, "study.toml") == config


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_norm": False},
        {"dropout": 0.1},
        {"init": "pytorch"},
        {"widths": (8, 16, 32)},
        {"blocks": (3, 3, 4)},
    ],
)
def test_a_network_with_changed_fields_does_not_have_the_name_of_the_classic_one(
    fields: dict[str, Any],
) -> None:
    slug = CifarConfig(**{"blocks": (3, 3, 3)} | fields).slug
    assert slug.endswith("+")
    with pytest.raises(InputError):
        get_model_config(slug, "", "")


def test_every_listed_name_gives_its_network() -> None:
    listed = registered_models()
    assert len({entry.name for entry in listed}) == len(listed) > 20
    for entry in listed:
        assert parse_model(entry.name, "x") == entry.model
        assert entry.model.slug == entry.name
        assert entry.source


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("resnet20", "cifar-resnet20"),
        ("cifar-resnett56", "cifar-resnet56"),
        ("CIFAR-ResNet20", "cifar-resnet20"),
        ("cifar-plain20-b", "cifar-plain20"),
        ("cifar_resnet20_c", "cifar-resnet20-c"),
        ("mobilenetv2_035", "timm/mobilenetv2_035"),
        ("mobilenet_v3_large", "torchvision/mobilenet_v3_large"),
        ("mobilnetv2_100", "timm/mobilenetv2_100"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name: str, fix: str) -> None:
    (line,) = error_text(name)
    assert line == f'study.toml: model: unknown model (got {name}). Fix: did you mean "{fix}"?'


def test_a_name_that_resembles_no_other_is_refused_with_the_command_that_lists_names() -> None:
    assert error_text("zzz") == [
        "study.toml: model: unknown model (got zzz). Fix: resnetlab models lists the names"
    ]


@pytest.mark.parametrize(
    ("depth", "remedy"),
    [
        (21, "model.depth: 21 is not 6n + 2. Fix: 20 or 26"),
        (25, "model.depth: 25 is not 6n + 2. Fix: 20 or 26"),
        (2, "model.depth: 2 is not 6n + 2. Fix: 8"),
        (-4, "model.depth: -4 is not 6n + 2. Fix: 8"),
        (10**6, "model.depth: not between 8 and 100,000. Fix: 20"),
        (-(10**5000), "model.depth: not between 8 and 100,000. Fix: 20"),
        (20.0, "model.depth: not a whole number (got 20.0). Fix: 20"),
        (True, "model.depth: not a whole number (got True). Fix: 20"),
        ("20", "model.depth: not a whole number (got 20). Fix: 20"),
    ],
    ids=range(9),
)
def test_an_invalid_depth_is_refused_with_the_nearest_valid_depths(
    depth: object, remedy: str
) -> None:
    assert error_text({"depth": depth}) == [f"study.toml: {remedy}"]


@given(st.integers(-10, 2000))
def test_a_suggested_depth_is_valid(depth: int) -> None:
    try:
        assert cifar_config(depth).depth == depth
    except ValueError as error:
        for remedy in error.fix.split(" or "):  # type: ignore[attr-defined]
            assert cifar_config(int(remedy)).depth == int(remedy)


def test_the_depth_is_counted_over_the_stages_given_by_the_widths() -> None:
    assert parse_model({"depth": 18, "widths": [8, 16, 32, 64]}, "x").blocks == (2, 2, 2, 2)
    assert error_text({"depth": 20, "widths": [8, 16, 32, 64]}) == [
        "study.toml: model.depth: 20 is not 8n + 2. Fix: 18 or 26"
    ]


@pytest.mark.parametrize(
    ("table", "config"),
    [
        ({"depth": 8}, cifar_config(8)),
        ({"name": "cifar-plain20"}, cifar_config(20, "none")),
        ({"name": "cifar-resnet20", "depth": 56}, cifar_config(56)),
        ({"name": "cifar-resnet20", "blocks": [1, 2, 3]}, CifarConfig(blocks=(1, 2, 3))),
        (
            {"name": "cifar-resnet20-b", "batch_norm": False},
            cifar_config(20, "B", batch_norm=False),
        ),
        ({"name": "cifar-plain20", "shortcut": "C"}, cifar_config(20, "C")),
        ({"blocks": [3, 3, 3], "dropout": 0}, cifar_config(20)),
    ],
)
def test_a_table_may_name_a_network_and_change_its_fields(
    table: dict[str, Any], config: CifarConfig
) -> None:
    assert parse_model(table, "x") == config


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        (
            {"depth": 20, "blocks": [3, 3, 3]},
            ["depth: given together with blocks. Fix: keep one of the two"],
        ),
        ({"blocks": [3, 3]}, ["blocks: 2 stages of blocks for 3 widths. Fix: give 3 numbers"]),
        (
            {"blocks": [0, 0, 0]},
            ["blocks: all 0 leave a network without blocks. Fix: blocks = [1, 1, 1]"],
        ),
        ({"depth": 20, "widths": []}, ["widths: empty. Fix: widths = [16, 32, 64]"]),
        (
            {"blocks": [10**9] * 3},
            ["blocks: the network is deeper than 100,000 layers. Fix: blocks = [18, 18, 18]"],
        ),
        (
            {"depth": 20, "widths": [32, 16, 8]},
            ['widths: shortcut A can add channels, not remove them. Fix: shortcut = "B"'],
        ),
        (
            {"depth": 20, "shortcut": "a"},
            [
                (
                    'shortcut: unknown value (got "a"; allowed: none, A, B, C, gated). Fix: did '
                    'you mean "A"?'
                )
            ],
        ),
    ],
)
def test_an_impossible_network_is_refused(table: dict[str, Any], lines: list[str]) -> None:
    assert error_text(table) == [f"study.toml: model.{line}" for line in lines]


def test_three_mistakes_in_a_model_are_reported_in_three_lines() -> None:
    lines = error_text({"deph": 1, "depth": 21, "shortcut": "D"})
    assert [line.split(":")[1] for line in lines] == [
        " model.deph",
        " model.depth",
        " model.shortcut",
    ]
    assert lines[0].endswith('Fix: did you mean "depth"?')


@pytest.mark.parametrize("value", [5, [], None, True])
def test_a_value_that_is_not_a_model_is_refused(value: object) -> None:
    assert error_text(value) == [
        f'study.toml: model: not a model (got {value}). Fix: model = "cifar-resnet20"'
    ]


def test_titles_contain_kind_depth_and_option() -> None:
    assert [cifar_config(56, option).title for option in ("none", "A", "B")] == [
        "plain 56",
        "residual 56 (A)",
        "residual 56 (B)",
    ]


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_the_stored_names_of_a_library_equal_its_own_list(library: str) -> None:
    module = pytest.importorskip("timm" if library == "timm" else "torchvision.models")
    listed = set(module.list_models())
    if library == "torchvision":  # networks for other tasks lie in folders of their own
        listed = set(module.list_models(module=module))
    assert library_names(library) == listed
    assert library_names("no_such_library") == frozenset()
