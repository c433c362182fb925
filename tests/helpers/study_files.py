"""Study files as tables."""

from __future__ import annotations

from typing import Any

from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import parse_study
from resnetlab.studies.study import Study


def parse(raw: dict[str, Any], **overrides: Any) -> Study:
    """Parse the tables of a study file, with overrides of the command."""
    return parse_study(raw, "study.toml", Overrides(**overrides))
