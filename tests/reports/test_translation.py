"""The French catalog of reports and pages is complete, and data files stay English."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import sentences
from helpers.sentences import PageText
from helpers.synthetic import EVERY_STATUS, TRUTH, Truth, study_record
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import StudyData
from resnetlab.analysis.training_share import TrainingShare
from resnetlab.errors import InputError
from resnetlab.files import read_json
from resnetlab.finetuning.results import ResolutionTable
from resnetlab.reports import build_report, fixres, write_latex, write_report
from resnetlab.reports.format import (
    format_interval,
    format_number,
    format_pct,
    format_signed,
    join_words,
)
from resnetlab.reports.study.estimands import describe_estimand
from resnetlab.reports.study.text import override_text
from resnetlab.schema import decode
from resnetlab.stats.intervals import Interval
from resnetlab.stats.verdict_types import Reason, ReasonKind, Verdict
from resnetlab.studies.claims import Better
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study
from resnetlab.studies.study import Override
from resnetlab.translation import (
    Message,
    check_language,
    current_language,
    locale_language,
    tr,
    tr_count,
    tr_recorded,
    tr_study,
    tr_word,
    use_language,
)

NARROW = "\N{NARROW NO-BREAK SPACE}"
TEXTS = {"question", "about", "limits", "statement", "why", "reason"} | {
    *("summary", "errata", "reference", "here", "note"),
}
"""Fields of files of studies and references with texts for a reader."""


def placeholders(text: str) -> list[tuple[str, str | None]]:
    return sorted(
        (name, config) for _, name, config, _ in string.Formatter().parse(text) if name is not None
    )


def test_the_catalog_has_every_sentence_of_the_code_and_no_other() -> None:
    written = {entry["en"] for entry in sentences.catalog()["sentence"]}
    assert sorted(sentences.sentences() - written) == []
    assert sorted(written - sentences.sentences()) == []


def test_the_catalog_has_every_noun_of_the_reports() -> None:
    known = {entry["en"] for entry in sentences.catalog()["noun"]}
    assert sorted(sentences.nouns() - known) == []


@pytest.mark.parametrize(
    ("override", "french"),
    [
        (Override("looks", "3, 5"), "graines ajoutées aux analyses à 3, 5"),
        (Override("recipe.epochs", "2", "10"), "recipe.epochs = 2 (au lieu de 10)"),
        (Override("recipe.clip_norm", "1.0"), "recipe.clip_norm = 1.0"),
    ],
)
def test_a_change_of_the_study_file_is_translated_in_reports_only(
    override: Override, french: str
) -> None:
    assert override_text(override) == str(override)
    with use_language("fr"):
        assert override_text(override) == french
        assert Override.parse(str(override)) == override


def study_texts(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a study or of a reference that a report prints, in English."""
    for key, value in table.items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, str) and key in TEXTS:
                yield entry
            if isinstance(entry, dict):
                yield from study_texts(entry)


def test_the_french_catalog_has_every_text_of_the_studies_and_no_other() -> None:
    catalog = sentences.SOURCE / "catalog"
    files = [*catalog.glob("studies/*.toml"), *catalog.glob("references/*.toml")]
    assert len(files) > 40
    written = {
        text
        for path in files
        for text in study_texts(tomllib.loads(path.read_text(encoding="utf-8")))
    }
    entries = {entry["en"] for entry in sentences.study_catalog()}
    assert sorted(written - entries) == []
    assert sorted(text for text in entries - written if "{" not in text) == []


def test_claims_of_rungs_and_descriptions_of_variants_are_translated() -> None:
    ladder = load_study("ladder")
    evidence = load_study("shortcuts", Overrides(variant="evidence"))
    for text in [*(claim.statement for claim in ladder.claims), evidence.about]:
        with use_language("fr"):
            french = tr_study(text)
        assert not re.search(r"\b(is|than|of|the)\b", french), french


def test_verdicts_and_changes_of_a_reduced_study_are_french() -> None:
    folder = Path(__file__).parents[2] / "results" / "shortcuts"
    report = build_report(load_study_data(folder), "fr")
    assert all(
        cell.note.startswith(f"avec 4{NARROW}% de l’entraînement") for cell in report.verdicts
    )
    assert "recipe.epochs = 2 (au lieu de 10)" in report.limits


def test_a_message_is_translated_from_its_template_with_the_messages_in_it() -> None:
    rates = {"left": 5, "all_left": 5, "right": 1, "all_right": 5}
    short = Message("{left} of {all_left} against {right} of {all_right} trained", rates)
    reason = Reason(ReasonKind.TOO_FEW_TRAINED, {"short": short})
    english = "too few trained runs for a test of means: 5 of 5 against 1 of 5 trained"
    assert str(reason) == tr(reason.message) == english
    with use_language("fr"):
        french = tr(reason.message).replace(NARROW, " ")
        assert str(reason) == english
    assert french.endswith("pour un test de moyennes : 5 sur 5 contre 1 sur 5 entraînés")


def test_texts_of_user_studies_are_not_translated() -> None:
    thesis = "Plain 8 is more accurate than the network of my thesis."
    with use_language("fr"):
        assert tr_study(thesis) == thesis
        french = tr_study("“b” is less accurate than “a”.").replace(NARROW, " ")
        assert french == "« b » est moins précis que « a »."
    assert tr_study("Residual 8 is more accurate than plain 8.").startswith("Residual 8 is")


def test_both_languages_have_the_same_placeholders_and_endings() -> None:
    tables = sentences.catalog()
    entries = [*tables["sentence"], *tables["word"], *tables["recorded"]]
    for entry in [*entries, *sentences.study_catalog()]:
        english, french = entry["en"], entry["fr"]
        assert placeholders(english) == placeholders(french), english
        assert english.endswith((" ", ".")) == french.endswith((" ", ".")), english


def test_no_sentence_is_in_the_catalog_twice() -> None:
    for table in sentences.catalog().values():
        keys = [entry["en"] for entry in table]
        assert len(keys) == len(set(keys))


def test_words_of_data_are_written_somewhere_in_the_code() -> None:
    code = sentences.string_constants()
    assert [entry["en"] for entry in sentences.catalog()["word"] if entry["en"] not in code] == []


def test_recorded_sentences_are_written_somewhere_in_the_code() -> None:
    """A changed reason of a run's status must not lose its translation silently.

    Short texts, such as `test images`, may be composed of words.
    """
    code = "\n".join(sentences.string_constants())
    for entry in sentences.catalog()["recorded"]:
        for part in re.split(r"\{\w+\}", entry["en"]):
            words = part.strip(" :;,.()[]")
            parts = [words] if words.count(" ") > 2 else words.split()
            assert all(text in code for text in parts), entry["en"]


def limited(label: str, share: TrainingShare) -> Verdict:
    return Verdict(label, trained_runs_only=True, protocol=share.message)


@pytest.mark.parametrize(
    ("english", "french"),
    [
        (lambda: format_number(1191.5), "1191,5"),
        (lambda: format_signed(-0.25, 2), "−0,25"),
        (lambda: format_signed(0.0), "0,0"),
        (lambda: format_pct(47.1), "47,1~%"),
        (lambda: format_interval(Interval(1.5, 2)), "[1,5~;\N{NO-BREAK SPACE}2,0]"),
        (lambda: tr_count(1191170, "parameter"), "1~191~170 paramètres"),
        (lambda: tr_count(1.5, "epoch"), "1,5 époque"),  # the French plural begins at 2
        (lambda: tr_count(2, "run"), "2 essais"),
        (lambda: join_words(["a", "b", "c"]), "a, b et c"),
        (lambda: tr("about {images:,.0f}", images=8180000), "environ 8~180~000"),
        (lambda: tr("“{phrase}”", phrase="x"), "«~x~»"),
        (
            lambda: tr(limited("contradicted", TrainingShare(0.04, 0.06)).qualified_phrase),
            "avec 4 à 6~% de l’entraînement~: contredite (essais entraînés seulement)",
        ),
        (lambda: tr_word("a name of the user"), "a name of the user"),
        (lambda: tr_recorded("a reason of the user"), "a reason of the user"),
        (
            lambda: tr_recorded("never above chance: at best 10.7 % of 10,000 test images"),
            "jamais au-dessus du hasard~: au mieux 10,7~% de 10~000 images de test",
        ),
    ],
)
def test_numbers_and_sentences_are_formatted_for_the_language(
    english: Callable[[], str], french: str
) -> None:
    before = english()
    with use_language("fr"):
        assert english() == french.replace("~", NARROW)
    assert english() == before
    assert current_language() == "en"


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "fr_FR.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE", "LC_ALL": "fr"}, "fr"),
        ({"LANG": "fr_FR", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "frr_DE"}, "en"),  # North Frisian
        ({"LANG": "fr_CH", "LC_ALL": ""}, "fr"),
    ],
)
def test_the_default_language_follows_the_locale(variables: dict[str, str], language: str) -> None:
    assert locale_language(variables) == language


def test_an_unknown_language_is_refused_in_one_line() -> None:
    assert check_language("fr") == "fr"
    with pytest.raises(InputError, match="--lang: not a language") as caught:
        check_language("de")
    assert "\n" not in str(caught.value)


def anonymous(truth: Truth = EVERY_STATUS) -> StudyData:
    """Return the study_data of a study whose own texts have no English word."""
    study = load_study("digits")
    labels = {condition.label: f"C{k}" for k, condition in enumerate(study.conditions)}
    (claim,) = study.claims
    claim = replace(
        claim,
        statement="C3 > C2.",
        source="S1",
        left=labels[claim.left],
        right=labels[claim.right],
    )
    study = replace(
        study,
        name="etude",
        question="C3 ou C2 ?",
        about="",
        limits="",
        conditions=tuple(replace(c, label=labels[c.label]) for c in study.conditions),
        claims=(claim, replace(claim, left="C0", right="C1", statement="C0 > C1.")),
    )
    truth = {labels[label]: runs for label, runs in truth.items()}
    return collect_study_data(study_record(truth, study=study, test_curve=True))


@pytest.mark.parametrize("truth", [TRUTH, EVERY_STATUS], ids=["finished", "partial"])
def test_no_english_sentence_remains_in_a_french_report(truth: Truth, tmp_path: Path) -> None:
    study_data = anonymous(truth)
    for language in ("en", "fr"):
        write_report(study_data, tmp_path / language, build_report(study_data, language))
    english, french = (
        PageText((tmp_path / language / "report.html").read_text()) for language in ("en", "fr")
    )
    assert (english.language, french.language) == ("en", "fr")
    assert len(french.texts) == len(english.texts)
    assert sentences.english_left(french, data_texts(study_data)) == []


def data_texts(study_data: StudyData) -> set[str]:
    """Return texts that have no language: settings, and reasons that a process gave."""
    report = build_report(study_data)
    tables = [table for table in (report.common, report.differing) if table]
    cells = {cell.text for table in tables for row in table.rows for cell in row}
    reasons = {"the worker was killed", "needed 12 GB of 8 GB", "never left chance"}
    return cells | reasons | {f"loss nan at step {step}" for step in range(100)}


def test_data_files_are_english_in_both_languages(tmp_path: Path) -> None:
    study_data = anonymous()
    for language in ("en", "fr"):
        write_report(study_data, tmp_path / language, build_report(study_data, language))
    files = [p for p in (tmp_path / "fr").rglob("*") if p.suffix in (".csv", ".json")]
    assert len(files) >= 3
    for path in files:
        assert (
            path.read_bytes() == (tmp_path / "en" / path.relative_to(tmp_path / "fr")).read_bytes()
        )


def test_writing_a_french_report_does_not_change_an_english_one() -> None:
    study_data = anonymous(TRUTH)
    before = build_report(study_data)
    build_report(study_data, "fr")
    assert build_report(study_data) == before


def test_the_links_of_a_french_document_point_to_french_headings(tmp_path: Path) -> None:
    study_data = anonymous(TRUTH)
    write_report(study_data, tmp_path, build_report(study_data, "fr"))
    page = (tmp_path / "report.html").read_text()
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert anchors
    assert set(anchors) <= set(re.findall(r'id="([^"]+)"', page))
    assert "[Tous les essais](#tous-les-essais)" in (tmp_path / "report.md").read_text()


def test_the_latex_encoding_contains_every_letter_of_the_french_report(tmp_path: Path) -> None:
    study_data = anonymous(TRUTH)
    source = write_latex(build_report(study_data, "fr"), tmp_path).read_text()
    assert "{[}U+" not in source  # a letter that the fonts lack
    assert r"\textbf{Limites.}" in source


def test_the_french_page_of_fixres_is_french_and_its_data_are_english(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "results" / "fixres-table"
    table = decode(ResolutionTable, read_json(folder / "fixres.json"), "fixres.json")
    fixres.write_resolution_page(table, tmp_path, "fr")
    page = PageText((tmp_path / "report.html").read_text())
    assert page.language == "fr"
    assert sentences.english_left(page, {table.license, table.machine}) == []
    for name in ("fixres.json", "cells.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_the_region_of_a_claim_about_more_than_a_number_is_translated() -> None:
    claim = Better(statement="", left="a", right="b", by_more_than=1.5)
    assert describe_estimand(claim) == "a − b: above 1.5 points"
    with use_language("fr"):
        assert describe_estimand(claim) == "a − b\N{NARROW NO-BREAK SPACE}: plus de 1,5 points"
