"""The answers to the questions of the sources follow by rule from the runs, in English and in
French.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

from helpers.synthetic import TRUTH, study_record
from resnetlab.analysis.analyze import StudyAnalysis, analyze
from resnetlab.analysis.collect import collect_study_data
from resnetlab.analysis.data_files import load_study_data
from resnetlab.analysis.study_data import QuestionAnswer
from resnetlab.cli.main import app
from resnetlab.errors import InputError
from resnetlab.reports import build_report, write_latex, write_report
from resnetlab.reports.study.source_questions.answers import (
    LANGUAGES,
    answer_all_questions,
    answer_question,
)
from resnetlab.reports.study.source_questions.verdicts import REASON_WORDS, conclusion
from resnetlab.reports.study.source_questions.writer import AnswerWriter
from resnetlab.reports.study.text import command
from resnetlab.stats.power import MAX_SEEDS, SeedForecast
from resnetlab.stats.verdict_types import ReasonKind
from resnetlab.studies.claims import condition_labels
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.questions import Evidence, EvidenceKind, Question, catalog_questions
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.parsing.toml_tables import catalog_names

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/report.json"))

TEXT = """
name = "planted"
question = "What is true?"
data = "digits"
recipe = "digits"
seeds = [0, 1, 2, 3, 4]
[grid]
model.depth = [8, 56]
model.shortcut = ["none", "A"]
"""
PLAIN8, RESIDUAL8 = ({"model.depth": 8, "model.shortcut": s} for s in ("none", "A"))
PLAIN56, RESIDUAL56 = ({"model.depth": 56, "model.shortcut": s} for s in ("none", "A"))

CLAIMS: list[dict[str, Any]] = [
    {"statement": "supported", "left": RESIDUAL56, "right": PLAIN56},
    {"statement": "opposite", "left": PLAIN56, "right": RESIDUAL56},
    {"statement": "open", "left": RESIDUAL8, "right": PLAIN8},
    {"statement": "lower loss", "left": RESIDUAL56, "right": PLAIN56, "metric": "loss"},
    {"statement": "same", "kind": "equal", "margin": 5.0, "left": RESIDUAL8, "right": PLAIN8},
    {"statement": "not same", "kind": "equal", "margin": 5.0, "left": RESIDUAL56, "right": PLAIN56},
    {"statement": "size", "kind": "about", "size": 10.0, "margin": 5.0, "left": RESIDUAL56,
     "right": PLAIN56},
    {"statement": "fails", "kind": "fails-and-trains", "left": PLAIN56, "right": RESIDUAL56},
    {"statement": "average", "kind": "average", "left": {"model.shortcut": "A"},
     "right": {"model.shortcut": "none"}},
    {"statement": "each pair", "kind": "every", "left": {"model.shortcut": "A"},
     "right": {"model.shortcut": "none"}},
    {"statement": "percent", "kind": "relative", "metric": "top1", "size": 5.0, "margin": 10.0,
     "left": RESIDUAL8, "right": PLAIN8},
    {"statement": "steps", "kind": "monotone", "along": "model.depth", "change": "worsens",
     "where": {"model.shortcut": "none"}},
    {"statement": "best", "kind": "best", "left": PLAIN56},
    {"statement": "faster", "kind": "faster", "accuracy_pct": 60.0, "left": RESIDUAL56,
     "right": PLAIN56},
]  # fmt: skip
TRUTHS: dict[str, dict[str, list[tuple[str, float | None]]]] = {
    "usual": TRUTH,
    "failing": TRUTH | {"plain 56": [("trained", 24.0), *[("at chance", 10.0)] * 4]},
    "at chance": TRUTH | {"plain 56": [("at chance", 10.0)] * 5},
    "no memory": TRUTH | {"plain 56": [("out of memory", None)] * 5},
    "unfinished": TRUTH | {"plain 8": [*TRUTH["plain 8"][:4], ("waiting", None)]},
}


@cache
def planted(truth: str = "usual", settings: tuple[str, ...] = ()) -> StudyAnalysis:
    """Return a study of known truth with a claim of each kind."""
    raw = tomllib.loads(TEXT) | {"claim": CLAIMS}
    study = parse_study(raw, "planted.toml", Overrides(settings=settings))
    return analyze(collect_study_data(study_record(TRUTHS[truth], study=study, test_curve=True)))


def question(*evidence: Evidence) -> Question:
    return Question(
        number="question 1",
        source="practical",
        en="What?",
        fr="Quoi ?",
        why_en="Usually so.",
        why_fr="En règle générale.",
        evidence=evidence,
    )


def claim_answer(statement: str, **options: Any) -> QuestionAnswer:
    return answer_question(
        planted(**options), question(Evidence(kind="claims", claims=(statement,)))
    )


def test_the_comparison_that_supports_a_claim_least_is_named() -> None:
    """In TRUTH the shortcut gains less at 8 layers than at 56."""
    answer = claim_answer("each pair")
    assert "“residual 8 (A)” against “plain 8” supports the claim least." in answer.measured["en"]
    french = "« residual 8 (A) » contre « plain 8 » est la comparaison la moins favorable"
    assert french in answer.measured["fr"].replace("\N{NO-BREAK SPACE}", " ")
    assert "least" not in claim_answer("steps").measured["en"]  # it has one step only


def test_the_best_condition_is_named_also_where_the_grid_is_no_table_of_two_axes() -> None:
    means = {
        label: sum(value for _, value in runs if value is not None) / len(runs)
        for label, runs in TRUTH.items()
        if all(outcome == "trained" for outcome, _ in runs)
    }
    best = max(means, key=means.__getitem__)
    answer = answer_question(planted(), question(Evidence(kind="grid"))).measured["en"]
    assert f"“{best}” has the highest mean" in answer
    assert "Failed runs (at chance or diverged): " in answer


@pytest.mark.parametrize(
    ("statement", "status", "english", "french"),
    [
        ("supported", "supported", "support the claim: “residual 56 (A)” is the more accurate one",
         "appuient l’affirmation : « residual 56 (A) » est le plus précis"),
        ("opposite", "contradicted",
         "speak against the claim: “residual 56 (A)” is the more accurate one",
         "vont contre l’affirmation : « residual 56 (A) » est le plus précis"),
        ("open", "inconclusive", "do not decide which of the two is more accurate",
         "ne permettent pas de décider lequel des deux est le plus précis"),
        ("lower loss", "supported", "“residual 56 (A)” has the lower loss",
         "« residual 56 (A) » a la valeur la plus basse"),
        ("same", "equivalent", "The two are equivalent: they differ by less than 5 points",
         "Les deux sont équivalents : ils diffèrent de moins de 5 points"),
        ("not same", "contradicted", "they differ by more than 5 points",
         "ils diffèrent de plus de 5 points"),
        ("size", "partly supported", "the direction, but not the claimed size of 10 ± 5 points",
         "appuient le sens, mais pas la taille annoncée de 10 ± 5 points"),
        ("average", "supported", "the first ones are better, on average",
         "les premiers sont meilleurs en moyenne"),
        ("each pair", "inconclusive", "do not decide whether the first one is better in every pair",
         "ne permettent pas de décider si le premier est meilleur dans chaque paire"),
        ("percent", "supported", "support the claimed size of 5 ± 10 %",
         "appuient la taille annoncée de 5 ± 10 %"),
        ("steps", "supported", "every step goes in the claimed direction",
         "chaque pas va dans le sens annoncé"),
        ("best", "contradicted", "a rival is better than “plain 56”",
         "un rival dépasse « plain 56 »"),
        ("faster", "supported", "“residual 56 (A)” is the faster one",
         "« residual 56 (A) » est le plus rapide"),
    ],
)  # fmt: skip
def test_the_sentence_of_a_verdict_matches_its_kind_in_both_languages(
    statement: str, status: str, english: str, french: str
) -> None:
    answer = claim_answer(statement)
    assert answer.statuses == (status,)
    assert english in answer.measured["en"]
    assert french in answer.measured["fr"].replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("estimate", "english", "french"),
    [
        (12, "about 12 seeds per condition decide it in four of five studies",
         "environ 12 graines par condition permettent de trancher"),
        (None, "more than 50 seeds per condition are needed to decide it",
         "il faut plus de 50 graines par condition"),
    ],
)  # fmt: skip
def test_an_undecided_claim_has_the_number_of_seeds_that_would_decide_it(
    estimate: int | None, english: str, french: str
) -> None:
    analysis = planted()
    claims = analysis.study.claims
    index = [claim.statement for claim in claims].index("open")
    verdict = replace(analysis.verdicts[index], forecast=SeedForecast(7, estimate, None))
    writers = {language: AnswerWriter(language) for language in LANGUAGES}
    texts = {name: conclusion(writer, claims[index], verdict) for name, writer in writers.items()}
    assert english in texts["en"]
    assert french in texts["fr"].replace("\xa0", " ")
    assert (estimate or MAX_SEEDS) in writers["en"].values.values()


def test_a_decided_claim_needs_no_more_seeds() -> None:
    assert "seeds per condition" not in claim_answer("supported").measured["en"]


def test_failures_memory_unfinished_and_missing_conditions_have_their_own_sentences() -> None:
    fails = claim_answer("fails", truth="failing")
    assert "Failed runs (at chance or diverged): 4 of 5 runs of “plain 56”" in fails.measured["en"]
    chance = claim_answer("supported", truth="at chance")
    assert ", and “plain 56” has no trained run (5 finished)." in chance.measured["en"]
    assert "« plain 56 » n’a aucun essai entraîné (5 terminés)." in chance.measured["fr"].replace(
        "\xa0", " "
    )
    dead = answer_question(
        planted("at chance"), question(Evidence(kind="accuracy", conditions=("plain 56",)))
    )
    assert dead.measured["en"] == "“plain 56” has no trained run (5 finished)."
    memory = claim_answer("supported", truth="no memory")
    assert memory.statuses == ("not testable",)
    assert "as a condition does not fit into memory" in memory.measured["en"]
    assert "car une condition ne tient pas en mémoire" in memory.measured["fr"]
    unfinished = claim_answer("supported", truth="unfinished")
    assert unfinished.statuses == ("not finished",)
    assert unfinished.measured["en"] == "Not answered yet: 19 of 20 runs are finished."
    left_out = claim_answer("supported", settings=("grid.model.depth=[8]",))
    assert left_out.statuses == ("not run",)
    assert left_out.measured["en"].startswith("Not answered, as not all of their conditions")
    assert "Command: “resnetlab study run planted”." in left_out.measured["en"]
    missing = answer_question(
        planted(), question(Evidence(kind="accuracy", conditions=("plain 110", "plain 8")))
    )
    assert missing.statuses == ("not run", "measured")
    assert "Not answered: the condition “plain 110” was not run." in missing.measured["en"]
    assert "la condition «\xa0plain 110\xa0» n’a pas été entraînée" in missing.measured["fr"]


def test_every_reason_of_a_verdict_has_words_in_both_languages() -> None:
    assert set(REASON_WORDS) == set(ReasonKind)


def test_the_answer_starts_with_a_reduced_protocol_which_limits_every_status() -> None:
    answer = claim_answer("opposite", settings=("recipe.epochs=5",))
    assert answer.statuses == ("at 50 % of the training: contradicted",)
    assert answer.measured["en"].startswith("At 50 % of the full training, ")
    assert answer.measured["fr"].startswith("À 50\xa0% de l’entraînement complet, ")


def test_an_ensemble_without_trained_runs_has_its_own_sentence() -> None:
    answer = answer_question(planted(), question(Evidence(kind="ensemble")))
    assert answer.statuses == ("inconclusive",)
    assert answer.measured["en"] == "There are too few trained runs for an ensemble."


def test_a_p_value_is_called_corrected_only_if_there_are_several_tests() -> None:
    def first_answer(name: str) -> str:
        return build_report(load_study_data(ROOT / "results" / name)).answers[0].measured["en"]

    assert ", p < 0.001. The runs support" in first_answer("digits")
    assert "correction" not in first_answer("digits")
    assert ", p < 0.001 after the correction for the 3 tests" in first_answer("degradation")


def test_a_comparison_without_a_claim_uses_welch_and_has_no_verdict() -> None:
    compared = Evidence(kind="compare", conditions=("residual 8 (A)",), against="plain 56")
    answer = answer_question(planted(), question(compared))
    arms = [
        [value for outcome, value in TRUTH[label] if outcome == "trained"]
        for label in ("residual 8 (A)", "plain 56")
    ]
    test = stats.ttest_ind(*arms, equal_var=False)
    interval = test.confidence_interval(0.95)
    difference = sum(arms[0]) / len(arms[0]) - sum(arms[1]) / len(arms[1])
    expected = f"+{difference:.1f} points [{interval.low:.1f}, {interval.high:.1f}]"
    assert answer.statuses == ("exploratory",)
    assert f"The difference is {expected}." in answer.measured["en"]
    assert "“residual 8 (A)” is more accurate than “plain 56”" in answer.measured["en"]
    assert "that no claim declares" in answer.measured["en"]
    same = Evidence(kind="compare", conditions=("residual 8 (A)",), against="plain 8")
    assert "do not decide" in answer_question(planted(), question(same)).measured["en"], "its claim"


def test_values_of_two_claims_about_the_same_runs_and_the_note_are_written_once() -> None:
    claimed = Evidence(kind="claims", claims=("supported", "size"))
    two = answer_question(planted(), question(claimed)).measured
    assert two["en"].count("reached a test accuracy of") == 1
    assert two["fr"].count("atteint une précision") == 1
    assert "more accurate one. " in two["en"]
    assert "but not the claimed size" in two["en"]
    compared = Evidence(
        kind="compare", conditions=("residual 8 (A)", "residual 56 (A)"), against="plain 8"
    )
    answer = answer_question(planted(), question(compared))
    assert answer.measured["en"].count("that no claim declares") == 1
    assert answer.measured["fr"].count("affirmation ne déclare") == 1
    assert answer.measured["en"].endswith("the number of comparisons.")


def test_the_statement_of_a_claim_that_was_not_run_is_quoted_in_both_languages() -> None:
    left_out = claim_answer("supported", settings=("grid.model.depth=[8]",))
    assert "entraînées\xa0: «\xa0supported\xa0»." in left_out.measured["fr"]


# Numbers
# --------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.])[+−]?\d[\d,\xa0]*(?:\.\d+)?")


def numbers(text: str, language: str) -> list[str]:
    """Return the numbers of a text outside of quotes, as Python writes them."""
    text = re.sub("“.*?”|«.*?»", "", text)
    if language == "fr":
        text = re.sub(r"(?<=\d)\xa0(?=\d{3})", "", text).replace(",", ".")
    text = re.sub(r"\bln \d+ = ", lambda match: match[0][3:-3] + " ", text)
    texts = [match[0].rstrip(",.\xa0") for match in NUMBER.finditer(text)]
    return [number.replace(",", "").replace("−", "-").replace("\xa0", "") for number in texts]


def is_value(number: str, values: list[float]) -> bool:
    """Return true if a number is one of the values, rounded to the decimals that it shows."""
    digits = len(number.partition(".")[2])
    return any(abs(float(number) - value) <= 0.5001 * 10**-digits for value in values)


@cache
def every_answer() -> list[QuestionAnswer]:
    """Answers of the committed results, of the planted study, and to each question of the catalog
    by a study that lacks its conditions.
    """
    collected = [
        item
        for folder in RESULTS
        for item in answer_all_questions(analyze(load_study_data(folder)))
    ]
    collected += [claim_answer(claim["statement"], truth="failing") for claim in CLAIMS]
    collected += [claim_answer(claim["statement"]) for claim in CLAIMS]
    for name in catalog_names("studies"):
        questions = catalog_questions(name, load_study(name).question)
        collected += [answer_question(planted(), item) for item in questions]
    labels = tuple(TRUTH)
    kinds: tuple[EvidenceKind, ...] = (
        "accuracy",
        "overfitting",
        "stability",
        "first loss",
        "parameters",
        "time",
    )
    for kind in kinds:
        evidence = Evidence(kind=kind, conditions=labels)
        collected.append(answer_question(planted(), question(evidence)))
    return collected


def test_every_number_of_an_answer_is_in_its_record_in_both_languages() -> None:
    counted = 0
    for answer in every_answer():
        values = list(answer.values.values())
        for language in LANGUAGES:
            for number in numbers(answer.measured[language], language):
                assert is_value(number, values), (number, language, answer.measured[language])
                counted += 1
    assert counted > 500
    assert not is_value("47.1", [47.2, 4.71])


def test_both_languages_contain_the_same_numbers_and_an_explanation_contains_none() -> None:
    for answer in every_answer():
        values = [sorted(numbers(answer.measured[name], name)) for name in LANGUAGES]
        assert values[0] == values[1]
        assert not re.search(r"\b\d", answer.explanation["en"] + answer.explanation["fr"])


# The catalog's questions
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog_names("studies"))
def test_every_study_has_questions_with_existing_evidence_and_every_claim_answers_one(
    name: str,
) -> None:
    study = load_study(name)
    questions = catalog_questions(name, study.question)
    assert questions
    labels = {condition.label for condition in study.conditions}
    statements = [claim.statement for claim in study.claims]
    used: set[str] = set()
    for item in questions:
        for evidence in item.evidence:
            for beginning in evidence.claims:
                matches = [text for text in statements if text.startswith(beginning)]
                assert matches, beginning
                used.update(matches)
            plain = [label for label in evidence.conditions if "*" not in label]
            assert {*plain, evidence.against} <= labels | {""}
            if evidence.kind == "compare":
                pairs = [{label, evidence.against} for label in evidence.conditions]
                used.update(
                    claim.statement
                    for claim in study.claims
                    if set(condition_labels(claim)) in pairs
                )
    assert used == set(statements)
    numbers = [item.number for item in questions]
    assert len(numbers) == len(set(numbers))


def test_all_questions_of_the_practical_are_in_the_catalog_with_their_marks() -> None:
    marks = {}
    for name in ("ladder", "ladder-mnist", "lr-batch", "bow-svm"):
        for item in catalog_questions(name, load_study(name).question):
            marks[item.number] = item.mark
    expected = {f"question {number}" for number in (12, 13, *range(15, 35))}
    assert expected <= set(marks)
    assert [key for key, mark in sorted(marks.items()) if mark == "star"] == [
        "question 16",
        "question 18",
    ]
    bonus = {key for key, mark in marks.items() if mark == "bonus"}
    assert bonus == {f"question {number}" for number in (21, 25, 28)}


def test_every_depth_study_of_the_depth_report_has_a_question_on_the_first_converged_run() -> None:
    for name in ("depth", "depth-as-run", "depth-norm", "depth-rate", "depth-epochs"):
        kinds = [
            evidence.kind
            for item in catalog_questions(name, load_study(name).question)
            for evidence in item.evidence
        ]
        assert kinds.count("first that converged") == 1, name


def test_a_user_study_with_the_name_of_a_catalog_study_gets_no_catalog_questions() -> None:
    assert catalog_questions("depth", "Another question?") == ()


# French
# --------------------------------------------------------------------------------------------------

UNACCENTED = re.compile(
    r"\b(reseaux?|entraine\w*|donnees|precision|ecart|epoques?|parametres?|general|etape|perte"
    r"s? elevee|moyenne elevee|degradation|residuels?|experience|a la suite|meme|tres|etude|graine"
    r"s? differente|deja|verite|regle|methode|modele)\b",
    re.IGNORECASE,
)


def test_french_texts_have_accents_quotation_marks_and_spaces() -> None:
    for answer in every_answer():
        for text in (answer.question["fr"], answer.measured["fr"], answer.explanation["fr"]):
            bare = re.sub("«\xa0.*?\xa0»", "x", text)
            assert not re.search(r"(?<!\xa0)[:;?!»%]|«", bare), bare
            assert "'" not in text
            assert '"' not in text
            assert "“" not in text
            assert not UNACCENTED.search(bare), UNACCENTED.search(bare)


# Files and commands
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    evidence = collect_study_data(study_record(test_curve=True))
    write_report(evidence, folder)
    write_latex(replace(build_report(evidence), language="fr"), folder)
    return folder


def test_every_renderer_has_the_answers_and_the_json_has_both_languages(folder: Path) -> None:
    (answer,) = json.loads((folder / "report.json").read_text(encoding="utf-8"))["answers"]
    assert set(answer["measured"]) == set(answer["question"]) == {"en", "fr"}
    english = answer["measured"]["en"].split(" [")[0]
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "Answers" in text
        assert english in text.replace("\N{NO-BREAK SPACE}", " ").replace("&#39;", "'")
    latex = (folder / "report.tex").read_text(encoding="utf-8")
    assert r"\guillemotleft{}\,residual 56 (A)\,\guillemotright{} atteint une précision" in latex
    assert "U+" not in latex.split(r"\section*{Réponses}")[1].split(r"\section*")[0]


def test_the_command_prints_the_answers_in_a_language_and_refuses_studies_without_answers(
    folder: Path, tmp_path: Path
) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["study", "answers", *words])
        return done.exit_code, done.output

    code, french = run(str(folder), "--lang", "fr")
    assert code == 0
    assert "Un raccourci aide-t-il un réseau de 56 couches" in french
    assert "Does a shortcut help" in run(str(folder))[1]
    table = json.loads(run(str(folder), "--json")[1])
    assert table[0]["statuses"] == ["supported"]
    refused = CliRunner().invoke(app, ["study", "answers", str(folder), "--lang", "de"])
    assert isinstance(refused.exception, InputError)
    assert run(str(tmp_path))[0] != 0


@pytest.mark.parametrize("variant", ["budget", "evidence"])
def test_a_variant_of_a_study_answers_the_questions_of_its_file(variant: Any) -> None:
    study = load_study("shortcuts", Overrides(variant=variant))
    assert study.name == f"shortcuts-{variant}"
    truth = {condition.label: [("trained", 90.0)] * 5 for condition in study.conditions}
    analysis = analyze(collect_study_data(study_record(truth, study=study)))
    numbers = [question.number for question in catalog_questions("shortcuts", study.question)]
    assert [answer.number["en"] for answer in answer_all_questions(analysis)] == numbers
    assert "shortcuts-" not in command(analysis)
