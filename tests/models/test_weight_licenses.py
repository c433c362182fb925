"""Licenses of pre-trained weights are read from the library that publishes them. The rule for
commercial use is checked for every configuration of timm against a list in this file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision

from resnetlab.errors import InputError
from resnetlab.model_folder.licenses import check_commercial_use, find_license, unknown_terms
from resnetlab.model_folder.model_file import License
from resnetlab.models.configs import ExternalConfig
from resnetlab.models.convert import ImportOptions, import_weights
from resnetlab.models.parse import parse_model
from resnetlab.models.weight_licenses import commercial_use, published_license
from resnetlab.models.weights import write_weights

SPDX_WITHOUT_RESTRICTION = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"}
"""Licenses that allow commercial use, as choosealicense.com and Creative Commons explain them."""

NOT_COMMERCIAL = {
    "cc-by-nc-4.0",
    "seer-license",  # "solely for non-commercial research"
    "apple-amlr",  # "exclusively for Research Purposes"
    "fair-noncommercial-research-license",
}

TIMM = [(name, timm.get_pretrained_cfg(name)) for name in sorted(timm.list_models(pretrained=True))]


def test_the_commercial_use_of_every_timm_configuration_follows_its_license() -> None:
    """Also without a tag, and for each of timm's former names."""
    former = timm.models.get_deprecated_models()
    assert len(TIMM) > 1500
    configs = dict(TIMM)
    cases = [*TIMM, *((name, timm.get_pretrained_cfg(name)) for name in timm.list_models())]
    cases += [(old, configs[new]) for old, new in former.items() if new in configs]
    decisions: dict[str, int] = {"allowed": 0, "forbidden": 0, "unknown": 0}
    for name, config in cases:
        if config is None or not config.has_weights:
            continue
        stated = (config.license or "").lower()
        decision = find_license(ExternalConfig(source=f"timm/{name}", weights="hub")).commercial_use
        if stated in NOT_COMMERCIAL:
            assert decision == "forbidden", (name, stated)
        elif stated in SPDX_WITHOUT_RESTRICTION:
            assert decision == "allowed", (name, stated)
        else:
            assert decision == "unknown", (name, stated)
        decisions[decision] += 1
    assert min(decisions.values()) > 50, decisions


@pytest.mark.parametrize(
    ("name", "decision"),
    [
        ("MIT License", "allowed"),
        ("The MIT License (MIT)", "allowed"),
        ("Apache License 2.0", "allowed"),
        ("Apache License, Version 2.0", "allowed"),
        ("BSD 3-Clause License", "allowed"),
        ("no commercial use", "forbidden"),
        ("Academic-only", "forbidden"),
        ("academic use only", "forbidden"),
        ("for research purposes only", "forbidden"),
        ("Not for commercial use", "forbidden"),
        ("MIT License with my own terms", "unknown"),
        ("Academic Free License", "unknown"),
    ],
)
def test_a_license_in_the_words_of_people_is_read_like_its_spdx_identifier(
    name: str, decision: str
) -> None:
    assert commercial_use(name) == decision


@pytest.mark.parametrize(
    "name",
    [
        "regnety_160.swag_ft_in1k",
        "convnextv2_tiny",
        "hiera_small_224.mae_in1k_ft_in1k",
        "vit_base_patch16_224.mae",
        "regnety_320.seer",
        "swsl_resnet50",
        "ig_resnext101_32x8d",
    ],
)
def test_weights_for_research_only_need_consent(name: str) -> None:
    config = ExternalConfig(source=f"timm/{name}", weights="hub")
    with pytest.raises(InputError, match=r"forbids commercial use: .*timm \d.*--accept-license"):
        check_commercial_use(config, find_license(config))


def test_a_tag_that_timm_does_not_have_is_unknown() -> None:
    license_ = find_license(ExternalConfig(source="timm/resnet50.nosuch", weights="hub"))
    assert (license_.name, license_.commercial_use) == ("", "unknown")
    assert "has no weights of that name" in license_.source


def test_only_the_swag_weights_of_torchvision_are_restricted() -> None:
    """The reference is the address that torchvision's own metadata give for SWAG weights."""
    names = torchvision.models.list_models(torchvision.models)
    assert len(names) > 60
    for name in names:
        for version in torchvision.models.get_model_weights(name):
            file_name = str(version.url).rpartition("/")[2]
            license_ = published_license("torchvision", name, file_name)
            is_swag = "swag" in str(version).lower()
            assert is_swag == ("SWAG" in version.meta.get("license", ""))
            assert commercial_use(license_.name) == ("forbidden" if is_swag else "unknown")
            assert str(version) in license_.source
    default = find_license(ExternalConfig(source="torchvision/resnet50", weights="hub"))
    assert "is unknown (torchvision" in unknown_terms(default)
    swag = find_license(ExternalConfig(source="torchvision/vit_h_14", weights="hub"))
    assert swag.name == "CC-BY-NC-4.0"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("Apache-2.0", "allowed"),
        ("BSD-3-Clause", "allowed"),
        ("CC-BY-SA-4.0", "allowed"),
        ("CC-BY-NC-SA-4.0", "forbidden"),
        ("fair-nc", "forbidden"),
        ("Non-Commercial", "forbidden"),
        ("apple-amlr", "forbidden"),
        ("SEER license", "forbidden"),
        ("encoder-license", "unknown"),
        ("ncsa-like", "unknown"),
        ("dinov3-license", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_license_states_if_commercial_use_is_allowed(name: str, use: str) -> None:
    assert License(name=name).commercial_use == use
    assert License(name=name).non_commercial is (use == "forbidden")
    assert (unknown_terms(License(name=name)) == "") is (use != "unknown")


def test_the_license_of_a_file_follows_from_its_metadata_or_its_name(tmp_path: Path) -> None:
    for name, license_ in (
        ("stated", "CC-BY-NC-4.0"),
        ("regnety_160.swag_ft_in1k", ""),
        ("mobilenetv2_100", ""),
        ("model", ""),
    ):
        write_weights(
            tmp_path / f"{name}.safetensors", {"a": torch.zeros(1)}, {"license": license_}
        )
    small = parse_model("timm/mobilenetv2_100", "")
    regnet = parse_model("timm/regnety_160", "")

    def name_of(config: object, file: str) -> str:
        return find_license(config, tmp_path / f"{file}.safetensors").name  # type: ignore[arg-type]

    assert name_of(small, "stated") == "CC-BY-NC-4.0"
    assert name_of(parse_model("resnet50", ""), "stated") == "CC-BY-NC-4.0"
    assert name_of(regnet, "regnety_160.swag_ft_in1k") == "cc-by-nc-4.0"
    assert name_of(small, "mobilenetv2_100") == "apache-2.0"
    assert name_of(small, "model") == ""
    assert name_of(parse_model("timm/convnextv2_tiny", ""), "model") == "cc-by-nc-4.0"
    assert find_license(parse_model("timm/convnextv2_tiny", "")).name == ""  # from a seed


def test_imported_weights_get_the_license_of_their_library(tmp_path: Path) -> None:
    network, lines = timm.create_model("regnety_002", num_classes=4), list[str]()
    for name in ("regnety_002.pycls_in1k", "model"):
        write_weights(tmp_path / f"{name}.safetensors", network.state_dict(), {})
    names = tuple("abcd")

    def imported(name: str, license_: str = "") -> tuple[str, str]:
        options = ImportOptions(license=license_, classes=names)
        file, out = tmp_path / f"{name}.safetensors", tmp_path / f"{name}{license_}"
        result = import_weights(file, "timm/regnety_002", out, options, lines.append)
        return result.license, " ".join(line for line in result.assumed if "license" in line)

    assert imported("regnety_002.pycls_in1k")[0] == "mit"
    assert "configuration regnety_002.pycls_in1k" in imported("regnety_002.pycls_in1k")[1]
    assert imported("model") == ("", "")
    assert lines[-1].startswith("note: the license of the weights is unknown (model.safetensors")
    assert imported("model", "MIT")[0] == "MIT"
