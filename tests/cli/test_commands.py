"""The commands print the documented output. They run in this process; tests/promises tests their
effect on runs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.pictures import class_tree
from resnetlab.api.loaded_study import LoadedStudy
from resnetlab.api.study_summary import StudySummary
from resnetlab.cli.main import main
from resnetlab.studies.parsing.toml_tables import catalog_names

Resnetlab = Callable[..., tuple[int, str, str]]


MISTAKES = {
    "a seed beyond 64 bits": (("train", "cifar-resnet8", "--seed", "9" * 20), "beyond 64 bits"),
    "an unknown study": (("study", "run", "digitz"), 'did you mean "digits"?'),
    "an unknown recipe": (("train", "cifar-resnet20", "--recipe", "adamm"), 'did you mean "adam"?'),
    "an unknown model": (("train", "cifar-resnt20"), 'did you mean "cifar-resnet20"?'),
    "a depth that is none": (("train", "cifar-resnet21"), "21 is not 6n + 2. Fix: 20 or 26"),
    "a data set that is not there": (
        ("train", "cifar-resnet20", "--data", "nowhere/x.npz"),
        "no such file or folder",
    ),
    "a name of no data set": (
        ("train", "cifar-resnet20", "--data", "digit"),
        'did you mean "digits"?',
    ),
    "seeds that are none": (
        ("study", "run", "digits", "--seeds", "a"),
        "--seeds 3, or --seeds 0,1,7",
    ),
    "an override of nothing": (("study", "run", "digits", "--set", "epochs"), "not FIELD=VALUE"),
    "an override of an axis": (
        ("study", "run", "digits", "--set", "model.depth=20"),
        "is an axis of the study's grid",
    ),
    "an unknown field": (
        ("train", "cifar-resnet20", "--set", "recipe.epoch=3"),
        'did you mean "epochs"?',
    ),
    "a folder that is no run": (("resume", "."), "not a run's folder"),
    "a study that was not begun": (
        ("study", "report", "nothing.toml"),
        "no such file or directory",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line_with_its_fix_and_writes_no_file(
    resnetlab: Resnetlab, mistake: str
) -> None:
    arguments, expected = MISTAKES[mistake]
    code, out, err = resnetlab(*arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("resnetlab: error: ")
    assert ". Fix: " in err
    assert expected in err
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_three_mistakes_in_a_study_file_are_reported_in_three_lines(
    resnetlab: Resnetlab, tmp_path: Path, study_text: str
) -> None:
    path = tmp_path / "three.toml"
    text = study_text.replace("depth = 8", "depth = 9").replace("epochs = 2", 'epochs = "ten"')
    path.write_text(text.replace("lr = 1e-3", "lr_rate = 1e-3"))
    code, _, err = resnetlab("study", "check", path)
    assert code == 2
    lines = err.splitlines()
    assert [line.split(": ")[3] for line in lines] == [
        "model.depth",
        "recipe.epochs",
        "recipe.optimizer.lr_rate",
    ]
    assert all(
        line.startswith(f"resnetlab: error: {path}: ") and ". Fix: " in line for line in lines
    )


def test_debug_prints_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnetlab.errors import InputError

    monkeypatch.setattr("sys.argv", ["resnetlab", "study", "run", "digitz", "--debug"])
    with pytest.raises(InputError):
        main()


def test_an_unexpected_error_is_reported_in_one_line(
    resnetlab: Resnetlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by \x1b[31mzero")

    monkeypatch.setattr("resnetlab.models.registry.registered_models", fail)
    code, _, err = resnetlab("models")
    assert code == 1
    assert err.startswith("resnetlab: error: unexpected ZeroDivisionError: by \\x1b[31mzero. Fix: ")
    assert len(err.splitlines()) == 1


def test_models_are_listed_with_parameters_and_multiply_adds(resnetlab: Resnetlab) -> None:
    code, out, _ = resnetlab("models")
    assert code == 0
    assert re.search(r"^cifar-resnet20 +269,722 +40,551,040 .*He et al", out, re.M)
    _, out, _ = resnetlab("models", "--json")
    assert {"name": "cifar-plain56", "parameters": 853018} in [
        {key: row[key] for key in ("name", "parameters")} for row in json.loads(out)
    ]


def test_the_studies_of_the_catalog_are_listed(resnetlab: Resnetlab) -> None:
    code, out, _ = resnetlab("study", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["study", *catalog_names("studies")]


def test_a_report_is_written_with_its_answers_in_the_requested_language(
    resnetlab: Resnetlab, tmp_path: Path
) -> None:
    texts = {}
    for language in ("en", "fr"):
        out = tmp_path / language
        arguments = ("study", "report", "digits", "--lang", language, "--output", out)
        code, printed, err = resnetlab(*arguments)
        assert code == 0, err
        texts[language] = Path(printed.strip()).with_suffix(".md").read_text(encoding="utf-8")
    assert "Not answered yet: 0 of 20 runs are finished." in texts["en"]
    assert "Pas encore de réponse" in texts["fr"]
    assert "Un raccourci aide-t-il un réseau de 56 couches" in texts["fr"]
    code, _, err = resnetlab("study", "report", "digits", "--lang", "de")
    assert code == 2
    assert "de" in err


def test_the_language_of_a_report_follows_the_locale_and_its_json_is_english(
    resnetlab: Resnetlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {}
    for locale, language in (("fr_FR.UTF-8", "fr"), ("de_DE.UTF-8", "en")):
        monkeypatch.setenv("LC_ALL", locale)
        code, printed, err = resnetlab("study", "report", "digits", "--json", "--output", tmp_path)
        assert code == 0, err
        results[language] = json.loads(printed)
        page = Path(results[language]["report"]).read_text(encoding="utf-8")
        assert f'<html lang="{language}">' in page
    assert results["fr"] == results["en"]
    assert results["fr"]["answer"].startswith("0 of 20 runs are finished")


def test_data_check_counts_the_images(resnetlab: Resnetlab, small_npz: Path) -> None:
    code, out, _ = resnetlab("data", "check", small_npz)
    assert code == 0
    assert "left" in out
    assert "120" in out


def test_a_finished_run_is_not_trained_again(resnetlab: Resnetlab, small_npz: Path) -> None:
    arguments = (
        "train",
        "cifar-resnet8",
        "--data",
        small_npz,
        "--recipe",
        "adam",
        "--epochs",
        "2",
        "-b",
        "16",
    )
    code, out, err = resnetlab(*arguments)
    assert code == 0, err
    assert re.search(r"test +\d+\.\d % of 60 images", out)
    folder = re.search(r"Run: (.*)", out)
    assert folder
    assert (Path(folder[1]) / "result.json").exists()
    again, out_again, err = resnetlab(*arguments)
    assert (again, out_again) == (0, out)
    (line,) = err.splitlines()  # nothing is loaded or trained
    assert line.startswith("note: bands: luck alone reaches")
    assert resnetlab("resume", folder[1])[1].splitlines()[:-1] == out.splitlines()[:-1]


def test_a_study_is_run_and_its_status_report_and_plan_are_printed(
    resnetlab: Resnetlab, study_file: Path
) -> None:
    code, out, err = resnetlab("study", "run", study_file, "--seeds", "1")
    assert code == 0, err
    assert "2 of 2 runs to do" in err
    report = Path(re.search(r"Report: (.*)", out)[1])  # type: ignore[index]
    assert report.parent.name.startswith("small-")
    assert "seeds = [0]" in report.read_text()
    code, out, _ = resnetlab("study", "status", report.parent)
    assert code == 0
    assert "2 of 2 runs finished" in out
    before = report.read_bytes()
    report.unlink()
    assert resnetlab("study", "report", report.parent)[:2] == (0, f"{report.resolve()}\n")
    assert report.read_bytes() == before
    code, out, _ = resnetlab("study", "report", report.parent, "--latex")
    assert code == 0
    assert Path(out.splitlines()[-1]).read_text().startswith("\\documentclass")
    code, out, _ = resnetlab("study", "plan", study_file)
    assert code == 0
    assert "4 runs, 2 finished" in out
    assert re.search(r"2 runs, 1 to do, about \d+ s per run", out)
    assert "With 2 seeds per condition a difference of" in out
    code, out, err = resnetlab("study", "status", study_file)
    assert f"Using the started study in studies/{report.parent.name}" in err
    assert "2 of 2 runs finished" in out


def test_a_plan_warns_about_claims_that_its_seeds_cannot_decide(
    resnetlab: Resnetlab, study_file: Path
) -> None:
    text = study_file.read_text()
    same = text[text.index("[[claim]]") :].replace(
        "[[claim]]", '[[claim]]\nkind = "equal"\nmargin = 1.0'
    )
    study_file.write_text(text + "\n" + same)
    code, out, err = resnetlab("study", "plan", study_file)
    assert code == 0, err
    assert (
        "without an expected_sd or a published standard deviation it is unknown if 2 seeds can "
        "confirm its margin" in out
    )
    code, out, _ = resnetlab("study", "plan", study_file, "--seeds", "1")
    assert out.count("1 seed cannot decide it; 2 can") == 2


def test_incomplete_weights_are_refused_with_the_missing_names(
    resnetlab: Resnetlab, tmp_path: Path
) -> None:
    import torch

    file = tmp_path / "net.pth"
    torch.save({"state_dict": {"linear.weight": torch.zeros(10, 64)}}, file)
    code, _, err = resnetlab(
        "import-weights", file, "--as", "cifar-resnet8", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "missing" in err
    code, _, err = resnetlab("import-weights", tmp_path / "none.pth", "--as", "cifar-resnet8")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_ctrl_c_after_an_interim_analysis_does_not_end_an_undecided_study_as_finished(
    resnetlab: Resnetlab, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs of the first look are finished, but its claim is undecided and needs more seeds."""
    report = LoadedStudy.report

    def report_then_interrupt(*arguments: Any, **options: Any) -> StudySummary:
        outcome = report(*arguments, **options)
        if outcome.is_finished:
            os.kill(os.getpid(), signal.SIGINT)
        return outcome

    monkeypatch.setattr(LoadedStudy, "report", report_then_interrupt)
    code, out, err = resnetlab("study", "run", study_file, "--until-decided")
    assert (code, out) == (130, "")
    assert "To continue: resnetlab study run" in err
    assert len(list(Path("runs").glob("*/result.json"))) == 2 * 3


def test_the_command_after_ctrl_c_works_before_the_run_has_a_folder(
    resnetlab: Resnetlab, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While torch loads, there is no run yet that `resume` could continue."""
    words = (
        "train",
        "cifar-resnet8",
        "--data",
        str(small_npz),
        "--recipe",
        "adam",
        "--epochs",
        "1",
    )
    with monkeypatch.context() as patched:
        patched.setattr(
            "resnetlab.api.single_runs.run_in_process",
            lambda *_: os.kill(os.getpid(), signal.SIGINT),
        )
        code, _, err = resnetlab(*words)
    assert code == 130
    command = shlex.split(err.splitlines()[-1].partition("To continue: ")[2])
    assert command == ["resnetlab", *words]
    assert resnetlab(*command[1:])[0] == 0


def test_a_study_of_thousands_of_claims_is_described_in_few_lines(
    study_file: Path, resnetlab: Resnetlab
) -> None:
    head, claim = study_file.read_text().split("[[claim]]")
    claims = [claim.replace("plain one.", f"plain one, {k}.") for k in range(1500)]
    study_file.write_text("[[claim]]".join([head, *claims]))
    code, out, err = resnetlab("study", "check", study_file)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) < 30
    assert out.endswith("  ... and 1,480 more\n")
    code, out, err = resnetlab("study", "show", study_file)
    assert code == 0, err
    assert len(out.splitlines()) < 250
    assert "  ... and 1,400 more\n" in out
    code, out, _ = resnetlab("study", "check", study_file, "--json")
    assert len(json.loads(out)["claims"]) == 1500


def test_the_commands_of_studies_follow_links_on_request(
    study_file: Path, tmp_path: Path, resnetlab: Resnetlab
) -> None:
    class_tree(tmp_path / "photos", size=(8, 8))
    (tmp_path / "photos" / "cat").rename(tmp_path / "cat")
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "cat")
    words = ("study", "plan", study_file, "--data", tmp_path / "photos", "--no-timing")
    code, _, err = resnetlab(*words)
    assert code == 2
    assert "photos/cat: a link to a folder, which is not followed" in err
    assert "--follow-links anywhere" in err
    assert resnetlab(*words, "--follow-links", "anywhere")[0] == 0
    assert resnetlab(*words, "--follow-links", "sideways")[0] == 2
    run = ("study", "run", *words[2:5], "--dry-run", "--follow-links", "anywhere")
    assert resnetlab(*run)[0] == 0
