"""Pages of runs have the numbers of the run folders, and all their links have a target."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

import resnetlab as rl
from helpers.pages import Page, clicked, layout
from resnetlab.reports.run_page.write import MAX_DEFAULT_PAGES
from resnetlab.reports.write import rebuild
from resnetlab.runs.load import open_run
from resnetlab.studies.plan import StudyRecord

MEASURED = """
[diagnostics]
gradient_norms = [0, 1]
ablate_sets = true
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, study_text: str) -> rl.StudySummary:
    """Return a finished study of plain and residual networks with all measurements."""
    root = tmp_path_factory.mktemp("study")
    (root / "small.toml").write_text(study_text.replace("epochs = 2", "epochs = 4") + MEASURED)
    return rl.load_study(root / "small.toml").run(root, workers=1, progress=False)


class Links(HTMLParser):
    """Addresses of the links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls += [value or "" for name, value in attrs if tag == "a" and name == "href"]


def pages_of(report: Path) -> dict[str, Path]:
    return {path.stem: path for path in (report.parent / "runs").glob("*.html")}


def text_of(path: Path) -> str:
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " "))


def plain_and_residual(record: StudyRecord, seed: int = 0) -> tuple[Path, Path]:
    folders = {
        study_run.planned.condition: Path(study_run.record.folder)
        for study_run in record.runs
        if study_run.record and study_run.planned.seed == seed
    }
    return folders["plain 8 (4-4-8)"], folders["residual 8 (A, 4-4-8)"]


def stored_sets(page: Path) -> list[dict[str, float]]:
    match = re.search(
        r'id="block-switches-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S
    )
    assert match
    return [run["accuracies"] for run in json.loads(match[1])["runs"]]


def test_each_run_has_a_page_with_the_numbers_of_results_csv(outcome: rl.StudySummary) -> None:
    pages = pages_of(outcome.report)
    rows = list(csv.DictReader((outcome.report.parent / "results.csv").read_text().splitlines()))
    assert {row["run"] for row in rows} == set(pages)
    for row in rows:
        text = text_of(pages[row["run"]])
        test = (float(row["test_error_pct"]), float(row["test_loss_nats"]))
        assert f"{100 - test[0]:.2f} % accuracy, loss {test[1]:.3f} nats, 60 images" in text
        train = (float(row["train_error_pct"]), float(row["train_loss_nats"]))
        assert f"{100 - train[0]:.2f} % accuracy, loss {train[1]:.3f} nats, 108 images" in text
        assert f"{int(row['steps'])} steps (4 epochs)" in text
        assert f'data-word="{row["status"]}"' in text
        assert f"{row['condition']}, seed {row['seed']}" in text


def test_the_report_links_to_each_run_and_the_pages_link_to_one_another(
    outcome: rl.StudySummary,
) -> None:
    pages = pages_of(outcome.report)
    urls = Links(outcome.report).urls
    for run in pages:
        assert urls.count(f"runs/{run}.html") == 1
    for path in [outcome.report, *pages.values()]:
        for url in Links(path).urls:
            if not re.match("https?:|#", url):
                assert (path.parent / url).exists(), (path, url)
    plain, residual = plain_and_residual(outcome.record)
    assert f"{plain.name}.html" in Links(pages[residual.name]).urls
    assert f"{residual.name}.html" in Links(pages[plain.name]).urls


def test_provenance_and_settings_equal_the_run_and_contain_no_path(
    outcome: rl.StudySummary, small_npz: Path
) -> None:
    for study_run in outcome.record.runs:
        assert study_run.record
        assert study_run.record.result
        text = text_of(pages_of(outcome.report)[study_run.planned.id])
        (event,) = [event for event in study_run.record.provenance if event["event"] == "start"]
        for value in (
            *(event["processor"], event["platform"], f"torch {event['packages']['torch']}"),
            *(event["commit"], event["instruction_set"], event["data_sha256"]),
            *(study_run.record.result.weights_sha256, "fp32"),
        ):
            assert value in text
        assert str(small_npz.parent) not in text
        assert "model.shortcut" in text


def test_the_confusion_matrix_and_the_mistakes_equal_the_logits(
    outcome: rl.StudySummary,
) -> None:
    wrong_anywhere = 0
    for run, path in pages_of(outcome.report).items():
        stored = load_file(outcome.report.parents[2] / "runs" / run / "logits-test.safetensors")
        logits, labels = stored["logits"].astype(np.float64), stored["labels"]
        counts = np.zeros((3, 3), int)
        np.add.at(counts, (labels, logits.argmax(1)), 1)
        page = Page(path.read_text(encoding="utf-8"))
        classes = ["left", "right", "middle"]
        (start,) = [
            number
            for number, row in enumerate(page.rows)
            if row and row[0] == ["True class"] and len(row) == 4
        ]
        printed = [
            [int(cell[0].replace("·", "0")) for cell in row[1:]]
            for row in page.rows[start + 1 : start + 4]
        ]
        assert [row[0][0] for row in page.rows[start + 1 : start + 4]] == classes
        assert printed == counts.tolist()
        losses = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1))
        losses -= (logits - logits.max(1, keepdims=True))[np.arange(len(labels)), labels]
        wrong = np.flatnonzero(logits.argmax(1) != labels)
        worst = sorted(wrong, key=lambda index: -losses[index])[:12]
        listed = re.findall(r"image (\d+), loss ([\d.]+)", text_of(path))
        assert listed == [(str(index), f"{losses[index]:.2f}") for index in worst]
        assert path.read_text(encoding="utf-8").count("data:image/png") == len(worst)
        wrong_anywhere += len(wrong)
    assert wrong_anywhere


def accuracy_without(folder: Path, data: Path, off: set[int]) -> float:
    """Accuracy in percent of a network of three blocks, from its weights by torch's functions."""
    loaded = open_run(folder, str(data))
    tensors = {name: torch.from_numpy(value) for name, value in read_weights(folder).items()}
    arrays = np.load(data)
    x = loaded.state.preprocess(loaded.test_images().pixels)

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (tensors[f"{name}.{part}"] for part in parts)
        return F.batch_norm(x, mean, var, weight, bias)

    with torch.no_grad():
        x = F.relu(norm("stem_norm", F.conv2d(x, tensors["stem.weight"], padding=1)))
        for number in (1, 2, 3):
            block = f"stages.{number - 1}.0"
            width = tensors[f"{block}.conv1.weight"].shape[0]
            stride = 1 if number == 1 else 2
            extra = width - x.shape[1]
            shortcut = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, extra // 2, extra // 2))
            if number in off:
                x = F.relu(shortcut)
                continue
            out = F.conv2d(x, tensors[f"{block}.conv1.weight"], stride=stride, padding=1)
            out = F.relu(norm(f"{block}.norm1", out))
            out = norm(f"{block}.norm2", F.conv2d(out, tensors[f"{block}.conv2.weight"], padding=1))
            x = F.relu(out + shortcut) if "resnet" in folder.name else F.relu(out)
        logits = F.linear(x.mean((2, 3)), tensors["head.weight"], tensors["head.bias"])
    return 100 * float((logits.argmax(1).numpy() == arrays["y_test"]).mean())


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "weights.safetensors")


def test_stored_accuracies_equal_an_independent_forward_pass(
    outcome: rl.StudySummary, small_npz: Path
) -> None:
    plain, residual = plain_and_residual(outcome.record)
    pages = pages_of(outcome.report)
    for first, second in ((plain, residual), (residual, plain)):
        networks = stored_sets(pages[first.name])
        for folder, accuracies in zip((first, second), networks, strict=True):
            assert set(accuracies) == {"", "1", "2", "3", "1,2", "1,3", "2,3", "1,2,3"}
            for name, accuracy in accuracies.items():
                off = {int(number) for number in name.split(",") if number}
                assert accuracy == pytest.approx(accuracy_without(folder, small_npz, off))


def test_gradient_figures_have_each_epoch_and_block_figures_have_both_networks(
    outcome: rl.StudySummary,
) -> None:
    for path in pages_of(outcome.report).values():
        text = text_of(path)
        for words in ("before training", "after epoch 1", "Without several blocks"):
            assert words in text
        assert "plain 8 (4-4-8)</text>" in text
        assert "residual 8 (A, 4-4-8)</text>" in text


def test_a_report_rebuilt_without_run_folders_has_no_run_page_and_no_broken_link(
    outcome: rl.StudySummary, tmp_path: Path
) -> None:
    for name in ("report.json", "results.csv", "curves.csv", "layers.csv", "blocks.csv"):
        shutil.copy(outcome.report.parent / name, tmp_path / name)
    page = rebuild(tmp_path)
    assert not (tmp_path / "runs").exists()
    assert [url for url in Links(page).urls if url.startswith("runs/")] == []


def copied(outcome: rl.StudySummary, folder: Path) -> tuple[rl.LoadedStudy, Path]:
    """Return a copy of the study with its runs, and the study again."""
    shutil.copytree(outcome.report.parents[2], folder)
    shutil.rmtree(folder / "studies")
    return rl.load_study(folder / "small.toml"), folder


@pytest.mark.slow
def test_pages_of_an_older_run_show_the_command_that_adds_the_measurements(
    outcome: rl.StudySummary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, root = copied(outcome, tmp_path / "old")
    _, residual = plain_and_residual(outcome.record)
    path = root / "runs" / residual.name / "diagnostics" / "block-ablation.json"
    table = json.loads(path.read_text())
    del table["sets"]  # as an older version wrote it
    path.write_text(json.dumps(table))
    (path.parents[1] / "checksums.json").unlink()
    page = pages_of(study.report(study.plan(root), root).report)[residual.name]
    command = f"resnetlab inspect block-ablation runs/{residual.name} --sets"
    assert f"<code>{command}</code>" in text_of(page)
    assert set(stored_sets(page)[0]) == {"", "1", "2", "3"}
    path.unlink()
    page = pages_of(study.report(study.plan(root), root).report)[residual.name]
    assert f"<code>{command}</code>" in text_of(page)
    assert "Switch blocks off" not in text_of(page)

    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", [*command.split(), "--json"])
    from resnetlab.cli.main import main

    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["blocks_left_out"], row["sets"]) for row in rows] == [
        *((0, 1), (1, 3), (2, 3), (3, 1))
    ]
    before = (residual / "diagnostics" / "block-ablation.json").read_bytes()
    assert path.read_bytes() == before
    page = pages_of(study.report(study.plan(root), root).report)[residual.name]
    assert command not in text_of(page)


@pytest.mark.slow
def test_damaged_outputs_and_absent_data_are_reported_and_the_report_is_still_written(
    outcome: rl.StudySummary, tmp_path: Path, small_npz: Path
) -> None:
    study, root = copied(outcome, tmp_path / "damaged")
    plan = study.plan(root)
    plain, residual = plain_and_residual(outcome.record)
    logits = root / "runs" / plain.name / "logits-test.safetensors"
    logits.write_bytes(logits.read_bytes()[:-1] + b"\x55")
    hidden = small_npz.with_suffix(".hidden")
    small_npz.rename(hidden)
    try:
        pages = pages_of(study.report(plan, root).report)
    finally:
        hidden.rename(small_npz)
    assert "The stored outputs cannot be read." in text_of(pages[plain.name])
    assert "logits-test.safetensors: differs from its SHA-256" in text_of(pages[plain.name])
    assert "data:image" not in text_of(pages[residual.name])
    assert "The images are not shown" in text_of(pages[residual.name])


@pytest.mark.slow
def test_an_unchanged_page_is_not_rewritten_and_another_language_is_written_again(
    outcome: rl.StudySummary, tmp_path: Path
) -> None:
    study, root = copied(outcome, tmp_path / "again")
    plan = study.plan(root)
    pages = pages_of(study.report(plan, root).report)
    times = {path: path.stat().st_mtime_ns for path in pages.values()}
    study.report(plan, root)
    assert {path: path.stat().st_mtime_ns for path in pages.values()} == times
    study.report(plan, root, "fr")
    for path in pages.values():
        assert '<html lang="fr">' in text_of(path)
        assert "Désactiver des blocs" in text_of(path)


@pytest.mark.slow
def test_more_than_200_runs_get_pages_only_on_demand(
    outcome: rl.StudySummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_DEFAULT_PAGES == 200
    study, root = copied(outcome, tmp_path / "large")
    plan = study.plan(root)
    monkeypatch.setattr("resnetlab.api.loaded_study.MAX_DEFAULT_PAGES", 3)
    report = study.report(plan, root).report
    assert pages_of(report) == {}
    assert [url for url in Links(report).urls if url.startswith("runs/")] == []
    assert len(pages_of(study.report(plan, root, run_pages=True).report)) == 4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_click_on_a_block_shows_the_stored_accuracy(
    outcome: rl.StudySummary, tmp_path: Path
) -> None:
    _, residual = plain_and_residual(outcome.record)
    page = pages_of(outcome.report)[residual.name]
    networks = stored_sets(page)
    text = page.read_text(encoding="utf-8")
    for name in ("2", "1,3", "1,2,3"):
        selectors = [f'[data-block="{number}"]' for number in name.split(",")]
        html = clicked(text, selectors, tmp_path)
        expected = [f"{network[name]:.1f} %" for network in networks]
        assert re.findall(r'class="accuracy">([^<]+)<', html) == expected
        assert html.count('aria-pressed="true"') == len(selectors)
        assert [round(network[""], 1) != round(network[name], 1) for network in networks] != [
            False,
            False,
        ]
    assert "The network is complete." in clicked(text, ['[data-block="2"]'] * 2, tmp_path)
    removed = text.replace(f'"1,3": {networks[0]["1,3"]}', f'"9": {networks[0]["1,3"]}', 1)
    html = clicked(removed, ['[data-block="1"]', '[data-block="3"]'], tmp_path)
    assert "not measured" in re.findall(r'class="accuracy">([^<]+)<', html)
    for width in (1280, 390):
        assert layout(text, width, tmp_path)["over"] == 0
