"""The search for wrong labels uses the out-of-fold probabilities of scikit-learn, lists planted
wrong labels first, and writes a correct page and correct new labels.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from helpers.commands import check_error_lines, run_command
from helpers.pages import HOSTILE, displayed
from helpers.pictures import picture
from resnetlab.curation.labeled_photos import open_labeled_photos
from resnetlab.curation.probe import label_log_odds, label_margins, out_of_fold, reduce_features
from resnetlab.curation.results import Suspect, SuspectReport
from resnetlab.data.stratify import assign_folds
from resnetlab.errors import InputError
from resnetlab.reports.suspects import render_suspects_page

CLASSES = ("a", "b", "c")


def blobs(images: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes that a line separates well."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    features = generator.standard_normal((images, 8)) + 4 * np.eye(8)[labels]
    return features.astype(np.float32), labels


def test_out_of_fold_probabilities_equal_scikit_learn() -> None:
    features, labels = blobs()
    groups = np.arange(150)
    result = out_of_fold(features, labels, CLASSES, groups, repeats=1)
    folds = assign_folds(labels, CLASSES, 5, 0, groups)
    reference = cross_val_predict(
        LogisticRegression(C=result.regularization, max_iter=300, tol=1e-3),
        reduce_features(features),
        labels,
        cv=PredefinedSplit(folds),
        method="predict_proba",
    )
    assert result.probabilities == pytest.approx(reference)
    assert result.is_predicted.all()


def test_photographs_without_a_second_group_in_any_class_are_refused() -> None:
    features, labels = blobs(30)
    with pytest.raises(InputError, match="no class has photographs of two groups"):
        out_of_fold(features, labels, CLASSES, groups=labels)


def test_planted_wrong_labels_have_the_lowest_odds() -> None:
    features, labels = blobs()
    wrong = np.array([3, 40, 77, 120, 149])
    planted = labels.copy()
    planted[wrong] = (labels[wrong] + 1) % 3
    result = out_of_fold(features, planted, CLASSES, np.arange(150))
    odds = label_log_odds(result.probabilities, planted)
    assert set(np.argsort(odds)[:5].tolist()) == set(wrong.tolist())


def test_a_copy_in_the_same_group_does_not_confirm_its_own_label() -> None:
    features, labels = blobs()
    planted = labels.copy()
    planted[:3] = [1, 1, 1]  # 0 and 2 are wrong; 150 to 199 are copies of 0 with its wrong label
    features = np.concatenate([features, np.repeat(features[:1], 50, 0)])
    planted = np.concatenate([planted, np.ones(50, np.int64)])
    groups = np.concatenate([np.arange(150), np.zeros(50, np.int64)])
    together, separate = (
        out_of_fold(features, planted, CLASSES, one, repeats=1).probabilities[0, 1]
        for one in (groups, np.arange(200))
    )
    assert together < 0.2
    assert separate > 0.5


def test_the_only_photograph_of_a_class_gets_no_verdict() -> None:
    features, labels = blobs()
    labels = np.where(np.arange(150) == 5, 3, labels)
    result = out_of_fold(features, labels, (*CLASSES, "rare"), np.arange(150))
    assert np.flatnonzero(~result.is_predicted).tolist() == [5]


def test_margins_and_odds_equal_values_computed_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
    assert label_margins(probabilities, np.array([0, 2])) == pytest.approx([0.5, -0.3])
    odds = label_log_odds(probabilities, np.array([0, 2]))
    assert odds == pytest.approx([np.log(0.7 / 0.2), np.log(0.2 / 0.5)])


@pytest.fixture
def wrong_labels(finetuned: Path, tmp_path: Path) -> Path:
    """Return the textures, with one of stripes across in the folder of stripes down."""
    root = tmp_path / "photos"
    shutil.copytree(finetuned / "stripes", root)
    (root / "train/across/09.png").rename(root / "train/down/moved.png")
    return root


def suspects(finetuned: Path, root: Path, *more: object) -> dict[str, Any]:
    model = finetuned / "models" / "textures"
    words = ("data", "suspects", root, "--model", model, "--json", *more)
    ended = run_command(*words, folder=root.parent)
    assert ended.code == 0, ended.text
    return json.loads(ended.output)


def test_the_command_lists_suspects_and_applies_decisions(
    finetuned: Path, wrong_labels: Path
) -> None:
    def hashes() -> dict[str, str]:
        files = sorted(path for path in wrong_labels.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = hashes()
    report = suspects(finetuned, wrong_labels)
    moved = next(row for row in report["suspects"] if row["path"] == "train/down/moved.png")
    assert (moved["label"], moved["suggested"]) == ("down", "across")
    page = Path(wrong_labels.parent / str(report["page"]))
    assert "train/down/moved.png" in page.read_text()
    decisions = wrong_labels.parent / "decisions.csv"
    others = [row for row in report["suspects"] if row is not moved][:2]
    with decisions.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "old", "new", "decision"))
        writer.writerow((moved["path"], "down", "across", "accept"))
        writer.writerows((row["path"], row["label"], row["suggested"], "reject") for row in others)
    ended = run_command(
        *("data", "suspects", wrong_labels, "--apply", decisions, "--out", "new.csv", "--json"),
        folder=wrong_labels.parent,
    )
    assert ended.code == 0, ended.text
    applied = json.loads(ended.output)
    judged = 1 + len(others)
    assert (applied["accepted"], applied["rejected"]) == (1, len(others))
    assert applied["precision_low_pct"] == pytest.approx(100 * beta.ppf(0.025, 1, judged))
    assert json.loads((wrong_labels.parent / "new.json").read_text()) == applied
    assert hashes() == before
    shutil.copy(wrong_labels.parent / "new.csv", wrong_labels / "labels.csv")
    labeled = open_labeled_photos(wrong_labels, cache=wrong_labels.parent / "cache")
    rows = {row.path: (row.label, row.split) for row in labeled.photos.rows}
    assert rows["train/down/moved.png"] == ("across", "train")
    assert len(rows) == 60
    assert rows["test/plain/00.png"] == ("plain", "test")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("train/down/00.png,down,across,maybe", "no decision (got maybe; allowed: accept, reject)"),
        ("train/down/00.png,plain,across,accept", 'is now "down"'),
        ("train/down/00.png,down,acros,accept", 'did you mean "across"?'),
        ("train/down/00.png,down,down,accept", "the new label is the old one"),
        ("train/down/99.png,down,across,accept", 'no photograph "train/down/99.png"'),
        ("train/down/00.png,down,across", "more or fewer values than columns"),
        ("", "has no decision"),
    ],
)
def test_a_mistake_in_a_file_of_decisions_is_reported_in_one_line(
    finetuned: Path, tmp_path: Path, row: str, expected: str
) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(f"path,old,new,decision\n{row}\n")
    words = ("data", "suspects", finetuned / "stripes", "--apply", path)
    ended = run_command(*words, folder=tmp_path)
    check_error_lines(ended)
    assert expected in ended.errors
    assert not (tmp_path / "stripes-labels.csv").exists()


def test_a_table_of_another_dataset_is_not_overwritten(finetuned: Path, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("path,old,new,decision\ntrain/down/00.png,down,across,accept\n")
    (tmp_path / "stripes-labels.csv").write_text("mine")
    words = ("data", "suspects", finetuned / "stripes", "--apply", tmp_path / "d.csv")
    ended = run_command(*words, folder=tmp_path)
    check_error_lines(ended)
    assert (tmp_path / "stripes-labels.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["new.json", "new", "new.txt", "folder.csv"])
def test_the_table_of_labels_needs_the_suffix_csv_and_is_no_folder(
    finetuned: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "d.csv").write_text("path,old,new,decision\ntrain/down/00.png,down,across,accept\n")
    (tmp_path / "folder.csv").mkdir()
    words = ("data", "suspects", finetuned / "stripes", "--apply", "d.csv", "--out", name)
    ended = run_command(*words, folder=tmp_path)
    check_error_lines(ended)
    assert "--out" in ended.errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv", "folder.csv"]


def test_a_json_file_of_the_user_beside_the_table_is_not_overwritten(
    finetuned: Path, tmp_path: Path
) -> None:
    (tmp_path / "d.csv").write_text("path,old,new,decision\ntrain/down/00.png,down,across,accept\n")
    (tmp_path / "keep.json").write_text("mine")
    words = ("data", "suspects", finetuned / "stripes", "--apply", "d.csv", "--out")
    ended = run_command(*words, "keep.csv", folder=tmp_path)
    check_error_lines(ended)
    assert "keep.json: exists, with other content" in ended.errors
    assert (tmp_path / "keep.json").read_text() == "mine"
    assert not (tmp_path / "keep.csv").exists()
    for _ in range(2):  # the same decisions write the same files again
        assert run_command(*words, "new.csv", folder=tmp_path).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_photograph_whose_name_is_not_utf8_is_shown_and_its_decision_is_applied(
    finetuned: Path, wrong_labels: Path
) -> None:
    moved = wrong_labels / "train/down/moved.png"
    moved.rename(moved.with_name(os.fsdecode(b"moved\xe9.png")))
    report = suspects(finetuned, wrong_labels)
    folder = (wrong_labels.parent / str(report["page"])).parent
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'data-path="train/down/moved\\udce9.png"' in page
    assert b"train/down/moved\xe9.png,train,down,across" in (folder / "suspects.csv").read_bytes()
    decisions = wrong_labels.parent / "d.csv"
    decisions.write_text(
        'path,old,new,decision\n"train/down/moved\\udce9.png","down","across",accept\n'
    )
    words = ("data", "suspects", wrong_labels, "--apply", decisions, "--out", "new.csv")
    ended = run_command(*words, folder=wrong_labels.parent)
    assert ended.code == 0, ended.text
    table = (wrong_labels.parent / "new.csv").read_bytes()
    assert b"train/down/moved\xe9.png,across,train\n" in table


# Page
# --------------------------------------------------------------------------------------------------


def page_of(*names: str) -> str:
    suspects = tuple(
        Suspect(
            path=f"train/{name} 5 %.jpg",
            split="train",
            label=name,
            suggested=names[k - 1],
            label_probability=0.1,
            suggested_probability=0.8,
        )
        for k, name in enumerate(names)
    )
    report = SuspectReport(
        data="photos",
        model="net",
        images=20,
        classes=names,
        suspects=suspects,
        agreement_pct=90.0,
        wrong_pct=5.0,
        wrong_low_pct=1.0,
        wrong_high_pct=9.0,
    )
    images = {item.path: picture(3) for item in suspects}
    return render_suspects_page(report, images, (), "resnetlab data suspects photos", "Made here.")


def test_hostile_names_cannot_run_a_script_or_load_a_file() -> None:
    page = page_of(HOSTILE, "dog")
    assert page.count("<script") == 1
    assert "https://evil" not in page.replace("&lt;", "<").partition("<main>")[0]
    assert 'src="https' not in page
    assert "default-src 'none'" in page


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_buttons_write_a_file_of_decisions(tmp_path: Path) -> None:
    page = page_of("cat", 'dog, "small"')
    assert "script-src 'sha256-" in page
    clicks = (
        "<script>document.querySelectorAll('button[data-decision=accept]')[0].click();"
        "document.querySelectorAll('button[data-decision=reject]')[1].click();"
        "document.body.append(Object.assign(document.createElement('pre'), {id: 'csv', "
        "textContent: csv()}))</script></body>"
    )
    # The policy allows the script of the page alone, so this test replaces it for its own.
    policy = page[page.index("script-src") : page.index("; base-uri")]
    changed = page.replace(policy, "script-src 'unsafe-inline'").replace("</body>", clicks)
    html = displayed(changed, tmp_path)
    text = html.partition('<pre id="csv">')[2].partition("</pre>")[0]
    rows = list(csv.reader(text.replace("&quot;", '"').splitlines()))
    assert rows == [
        ["path", "old", "new", "decision"],
        ["train/cat 5 %.jpg", "cat", 'dog, "small"', "accept"],
        ['train/dog, "small" 5 %.jpg', 'dog, "small"', "cat", "reject"],
    ]
    assert "2 of 2 judged, 1 labels wrong, precision so far 50 %" in html
    # With its own policy, the page runs its script too. Another browser has no decisions.
    other = tmp_path / "other"
    other.mkdir()
    assert "0 of 2 judged" in displayed(page, other)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_decision_on_an_earlier_label_of_a_photograph_is_dropped(tmp_path: Path) -> None:
    page = page_of("cat", "dog")
    key = re.search(r'data-key="(\w+)"', page)
    assert key is not None
    stored = {
        "train/cat 5 %.jpg": {"decision": "reject", "old": "cat", "new": "dog"},
        "train/dog 5 %.jpg": {"decision": "accept", "old": "owl", "new": "cat"},
    }
    store = (
        f"<script>localStorage.setItem('resnetlab-suspects-{key[1]}', "
        f"{json.dumps(json.dumps(stored))})</script><script>"
    )
    policy = page[page.index("script-src") : page.index("; base-uri")]
    changed = page.replace(policy, "script-src 'unsafe-inline'").replace("<script>", store, 1)
    html = displayed(changed, tmp_path)
    assert "1 of 2 judged, 0 labels wrong" in html
