"""An id names one folder, and can be neither a path nor an option."""

from __future__ import annotations

from pathlib import Path

import pytest

import resnetlab as rl
from resnetlab.errors import InputError
from resnetlab.files import read_json, write_json
from resnetlab.runs.paths import locate_runs
from resnetlab.runs.run_folder import RunFolder
from resnetlab.studies.execution import read_plan
from resnetlab.studies.started import find_started
from resnetlab.studies.status import study_status

BAD = [".", "..", "-rf", "../x", "a/b", "/tmp/x", "~", ".hidden", "", "a" * 65, "a\nb", "a\n", "ä"]


@pytest.mark.parametrize("name", BAD)
def test_a_study_with_an_unsafe_name_is_refused_and_writes_no_file(
    name: str, study_file: Path, tmp_path: Path
) -> None:
    import json

    text = study_file.read_text().replace('name = "small"', f"name = {json.dumps(name)}")
    study_file.write_text(text)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"small\.toml: name: "):
        rl.load_study(study_file)
    assert find_started(str(study_file), tmp_path).plan_folder is None
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("run_id", [".", "..", "../x", "a/../../x", "/tmp/x", "a\\b", "c:x", ""])
def test_a_plan_with_a_path_instead_of_a_run_id_is_refused(
    run_id: str, study_file: Path, tmp_path: Path
) -> None:
    loaded = rl.load_study(study_file)
    loaded.report(loaded.plan(tmp_path), tmp_path)
    folder = tmp_path / "studies" / "small"
    plan = read_json(folder / "plan.json")
    plan["runs"][0]["id"] = run_id
    write_json(folder / "plan.json", plan)
    with pytest.raises(InputError, match=r"plan\.json: runs.*id"):
        read_plan(folder)
    with pytest.raises(InputError, match="is not the id of a run"):
        study_status(folder, tmp_path)
    with pytest.raises(InputError, match="is not the id of a run"):
        RunFolder.find(tmp_path, run_id)
    with pytest.raises(InputError, match="is not the id of a run"):
        locate_runs(tmp_path, [run_id])
