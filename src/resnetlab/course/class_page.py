"""Page of a class: a table of the submissions, and the variation between students."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnetlab import files
from resnetlab.course.class_study import variance_sentences, write_class_study
from resnetlab.course.classroom import Submission, class_rows, read_class, result_counts
from resnetlab.course.findings import RESULT_TEXTS
from resnetlab.course.lessons import Lesson
from resnetlab.course.report_files import render_page
from resnetlab.course.texts import Text
from resnetlab.messages import Notify, format_count, silent
from resnetlab.shell import command_line
from resnetlab.translation import Language

VERIFIED_RUNS = 3
"""Number of runs in the command that trains a drawn few again."""


@dataclass(frozen=True)
class ClassResult:
    """Graded class: a row for each submission, and the studies of its honest runs."""

    language: Language
    rows: tuple[dict[str, Any], ...]
    counts: dict[str, int]
    sentences: tuple[Text, ...]
    page: Path
    studies: tuple[Path, ...]
    seconds: float

    @property
    def has_failures(self) -> bool:
        """True if a check of a submission failed."""
        return bool(self.counts["failed"])

    @property
    def commands(self) -> list[str]:
        """Commands that train a drawn few of the runs again."""
        return [_verify_command(study.parent) for study in self.studies]

    def lines(self) -> list[str]:
        """Return the result as lines: a student each, then the variation and the files."""
        lines = []
        for row in self.rows:
            result = RESULT_TEXTS[row["result"]].in_language(self.language)
            lines.append(
                f"{row['student']:24} {result:12} {row['correct_numbers']}/{row['numbers']}  "
                f"{row['answered']}/{row['questions']}"
            )
            lines += [f"    {line}" for line in _reasons(row, self.language)]
        lines += [text.in_language(self.language) for text in self.sentences]
        lines.append(_summary(self.counts, self.seconds).in_language(self.language))
        lines += [str(self.page), *(str(study) for study in self.studies), *self.commands]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for `--json`."""
        return {
            "submissions": self.rows,
            "results": {name.replace(" ", "_"): count for name, count in self.counts.items()},
            "sentences": [{"en": text.en, "fr": text.fr} for text in self.sentences],
            "page": self.page,
            "studies": self.studies,
            "commands": self.commands,
            "seconds": self.seconds,
        }


def grade_class(
    folder: Path,
    lessons: Sequence[Lesson],
    out: Path,
    language: Language,
    *,
    pack: Path | None = None,
    data: str = "",
    notify: Notify = silent,
) -> ClassResult:
    """Check the submissions in a folder, write the page and the studies, and train nothing.

    Args:
        folder: Folder with one folder for each student.
        lessons: Lessons whose exercises are checked.
        out: Folder for `class.html`, `studies` and `runs`.
        language: Language of the page.
        pack: Folder of `resnetlab data pack` with the data sets of the class.
        data: Location of the data; empty for that of the exercises.
        notify: Function that gets a line about each submission.

    Raises:
        InputError: There is no submission in the folder.
    """
    began = time.monotonic()
    submissions = read_class(folder, lessons, pack=pack, data=data, notify=notify)
    rows = class_rows(submissions, lessons)
    studies, sentences = [], []
    for lesson in lessons:
        page = write_class_study(submissions, lesson, out)
        if page is not None:
            studies.append(page)
            sentences += variance_sentences(submissions, lesson)
    counts = result_counts(submissions)
    seconds = round(time.monotonic() - began, 1)
    path = out / "class.html"
    files.write_text(path, _page(submissions, rows, counts, sentences, studies, language))
    return ClassResult(
        language, tuple(rows), counts, tuple(sentences), path, tuple(studies), seconds
    )


def _page(
    submissions: Sequence[Submission],
    rows: Sequence[dict[str, Any]],
    counts: dict[str, int],
    sentences: Sequence[Text],
    studies: Sequence[Path],
    language: Language,
) -> str:
    title = Text("Submissions of the class", "Rendus de la classe").in_language(language)
    headings = (
        ("student", "étudiant"),
        ("seed", "graine"),
        ("checks", "vérifications"),
        ("correct numbers", "nombres justes"),
        ("answered", "réponses"),
        ("to look at", "à regarder"),
    )
    columns = [Text(*pair).in_language(language) for pair in headings]
    cells = [
        [
            row["student"],
            str(row["seed"] or ""),
            RESULT_TEXTS[row["result"]].in_language(language),
            f"{row['correct_numbers']} / {row['numbers']}",
            f"{row['answered']} / {row['questions']}",
            " · ".join(_reasons(row, language)),
        ]
        for row in rows
    ]
    notes = [
        _summary(counts, None).in_language(language),
        RULES.in_language(language),
        *(text.in_language(language) for text in sentences),
        *(_verify_command(study.parent) for study in studies),
    ]
    author = f"resnetlab course class · {len(submissions)}"
    return render_page(language, title, author, notes, columns, cells)


RULES = Text(
    "A check fails if files changed after the run, if the scores do not follow from the logits or "
    "the logits from the weights, if network, training or data are not those of the exercise, if "
    "the weights do not come from the student's seed, or if another submission has the same ones. "
    "It is unusual if the accuracy lies outside the 99 % prediction interval of the reference "
    "runs: of a hundred honest runs one does. An unusual run proves nothing; train it again.",
    "Une vérification échoue si des fichiers ont changé après l'essai, si les résultats ne suivent "
    "pas des logits ou les logits des poids, si le réseau, l'apprentissage ou les données ne sont "
    "pas ceux de l'exercice, si les poids ne viennent pas de la graine de l'étudiant, ou si un "
    "autre rendu a les mêmes. Elle est inhabituelle si la précision sort de l'intervalle de "
    "prédiction à 99 % des essais de référence : c'est le cas d'un essai honnête sur cent. Un "
    "essai inhabituel ne prouve rien ; réentraînez-le.",
)
"""Rules of the checks in plain words."""


def _reasons(row: dict[str, Any], language: Language) -> list[str]:
    return [": ".join(filter(None, (item["exercise"], item[language]))) for item in row["reasons"]]


def _verify_command(study: Path) -> str:
    return command_line(["resnetlab", "verify", str(study), "--runs", str(VERIFIED_RUNS)])


def _summary(counts: dict[str, int], seconds: float | None) -> Text:
    total = sum(counts.values())
    clock = "" if seconds is None else f" ({seconds:.0f} s)"
    return Text(
        f"{format_count(total, 'submission')}: {counts['passed']} passed, {counts['unusual']} "
        f"unusual, {counts['failed']} failed, {counts['not checked']} not checked{clock}.",
        f"Rendus : {total} ; réussis : {counts['passed']} ; inhabituels : {counts['unusual']} ; "
        f"en échec : {counts['failed']} ; non vérifiés : {counts['not checked']}{clock}.",
    )
