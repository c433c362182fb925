"""The notebooks of the documentation run, and are committed without outputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import resnetlab as rl
from helpers.documents import DOCS
from helpers.processes import environment

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of code of a notebook."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_output_and_uses_only_existing_names_and_files(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = code_cells(notebook)
    assert len(cells) > 8
    for cell in cells:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        code = "".join(cell["source"])
        assert set(re.findall(r"\brl\.(\w+)", code)) <= set(dir(rl))
    text = "".join(line for cell in notebook["cells"] for line in cell["source"])
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    assert path.name in (path.parent / "overview.md").read_text(encoding="utf-8")


def run(path: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a copy of a notebook in a kernel of this Python, and return its cells of code."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    kernel = folder / "share" / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    table = {"argv": command, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(table), encoding="utf-8")
    here = folder / "notebook"
    here.mkdir()
    shutil.copy(path, here)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    variables = environment(
        JUPYTER_PATH=str(folder / "share" / "jupyter"),
        IPYTHONDIR=str(folder / "ipython"),
        JUPYTER_RUNTIME_DIR=str(folder / "runtime"),
        RESNETLAB_OFFLINE="1",
    )
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        client = nbclient.NotebookClient(
            notebook,
            timeout=400,
            kernel_name="python3",
            resources={"metadata": {"path": str(here)}},
        )
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return code_cells(notebook)


def texts(output: dict[str, Any]) -> list[str]:
    """Return the texts of an output of a cell."""
    return [output.get("text", ""), *map(str, output.get("data", {}).values())]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_without_warnings(path: Path, tmp_path: Path) -> None:
    """Every cell runs, and each training shows one output that it replaces."""
    cells = run(path, tmp_path)
    for cell in cells:
        outputs = cell["outputs"]
        streams = [output for output in outputs if output["output_type"] == "stream"]
        errors = [output["text"] for output in streams if output["name"] == "stderr"]
        assert errors == [], cell["source"]
        plain = [text for output in outputs for text in texts(output) if "image/png" not in output]
        assert not [text for text in plain if CONTROLS.search(text)], cell["source"]
        if re.search(r"rl\.(train|sweep|finetune)\(|\.run\(", cell["source"]):
            displays = [output for output in outputs if output["output_type"] == "display_data"]
            assert len(displays) == 1, cell["source"]
            assert "<progress" not in displays[0]["data"]["text/html"], cell["source"]
        results = [output for output in outputs if output["output_type"] == "execute_result"]
        for result in results:
            if cell["source"].splitlines()[-1] in ("record", "outcome", "study", "model", "rates"):
                assert "<strong>" in result["data"]["text/html"]
                assert len(result["data"]["text/plain"]) < 1500


def written(folder: Path, code: str) -> Path:
    """Return a notebook with one cell of code."""
    nbformat = pytest.importorskip("nbformat")
    path = folder / "cell.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    return path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_notebook_shows_an_error_in_one_line(tmp_path: Path) -> None:
    """IPython shows the lines of the error alone, without the traceback of thirty lines."""
    nbclient = pytest.importorskip("nbclient")
    path = written(tmp_path, 'import resnetlab as rl\nrl.load_study("digitz")')
    with pytest.raises(nbclient.exceptions.CellExecutionError) as caught:
        run(path, tmp_path)
    lines = caught.value.traceback.rpartition("------------------\n")[2].strip().splitlines()
    assert len(lines) == 1
    assert "InputError: digitz: unknown study" in lines[0]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_progress_bar_of_tqdm_gives_a_warning_only_without_resnetlab(tmp_path: Path) -> None:
    """Without widgets, tqdm warns at its first bar, which a library may draw."""
    code = "from tqdm.auto import tqdm\nfor _ in tqdm([]):\n    pass"
    warned = []
    for number, first_line in enumerate(("", "import resnetlab\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (cell,) = run(written(folder, first_line + code), folder)
        warned.append("IProgress not found" in json.dumps(cell["outputs"]))
    assert warned == [True, False]
