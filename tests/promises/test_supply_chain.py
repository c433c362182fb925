"""Promise: every pinned package is listed with its license, and an audit that could not look a
package up does not pass.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
]


def script(path: str) -> ModuleType:
    """Import a script of this repository that is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_each_pinned_package_has_a_line_with_its_version_and_its_license() -> None:
    rows = re.findall(
        r"^\| ([\w.-]+) \| ([\w.+!-]+) \| (.+) \|$", (ROOT / "docs/licenses.md").read_text(), re.M
    )
    assert [f"{name}=={version}" for name, version, _ in rows[1:]] == PINS
    unstated = [name for name, _, license_text in rows if license_text == "**not stated**"]
    assert len(unstated) <= 3, unstated


def test_the_license_page_is_built_from_the_installed_metadata() -> None:
    licenses = script("docs/licenses.py")
    assert licenses.stated_license("pytest") == "MIT"
    assert "Apache" in licenses.stated_license("safetensors")
    with pytest.raises(SystemExit, match="no-such-package: not installed"):
        licenses.build_page("no-such-package==1.0\n")
    with pytest.raises(SystemExit, match=r"is installed, 0\.0\.1 is pinned"):
        licenses.build_page("pytest==0.0.1\n")


def test_pins_contain_no_address() -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", pin) for pin in PINS)


def test_an_audit_passes_only_if_every_package_was_checked_and_none_is_vulnerable() -> None:
    judge = script("tests/audit.py").judge
    clean = {"name": "a", "version": "1", "vulns": []}
    flaw = {"id": "CVE-1", "fix_versions": ["2"]}
    assert judge({"dependencies": [clean]}, ["a==1"])[0] == 0
    assert judge({"dependencies": [clean | {"vulns": [flaw]}]}, ["a==1"]) == (
        1,
        ["a 1: CVE-1 (fixed in 2)", "1 of 1 packages checked, 1 advisories"],
    )
    assert judge({"dependencies": [clean]}, ["a==1", "b==1"])[0] == 3
    code, lines = judge({"dependencies": []}, [f"p{number}==1" for number in range(50)])
    assert (code, len(lines)) == (3, 13)
    assert lines[-2:] == [
        "0 of 50 packages checked, 0 advisories",
        "NOT CHECKED: the advisory database has no answer here, or is not reached",
    ]
    skipped = {"name": "b", "skip_reason": "not on PyPI"}
    assert judge({"dependencies": [clean, skipped]}, ["a==1", "b==1"])[0] == 3
