"""Findings of the check of a run folder. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from resnetlab.course.texts import Text
from resnetlab.translation import Language

CheckResult = Literal["passed", "unusual", "failed", "not checked"]
"""Result of one check.

unusual: an honest run may give it, but rarely. not checked: something needed for it is absent.
"""

RESULT_TEXTS = {
    "passed": Text("passed", "réussi"),
    "unusual": Text("unusual", "inhabituel"),
    "failed": Text("FAILED", "ÉCHEC"),
    "not checked": Text("not checked", "non vérifié"),
}

CHECKS = {
    "files": Text("files", "fichiers"),
    "network": Text("network", "réseau"),
    "training": Text("training", "apprentissage"),
    "data": Text("data", "données"),
    "seed": Text("seed", "graine"),
    "scores": Text("scores", "résultats"),
    "logits": Text("weights and logits", "poids et logits"),
    "initial weights": Text("initial weights", "poids initiaux"),
    "accuracy": Text("accuracy", "précision"),
    "copies": Text("copies", "copies"),
}
"""Checks in the order in which they are printed."""


@dataclass(frozen=True)
class CheckFinding:
    """Result of one check of a run, with a sentence."""

    check: str
    result: CheckResult
    text: Text

    def line(self, language: Language) -> str:
        """Return the finding as a line."""
        name = CHECKS[self.check].in_language(language)
        return f"  {name:20} {self.label(language):12} {self.text.in_language(language)}"

    def label(self, language: Language) -> str:
        """Return the result in a language."""
        return RESULT_TEXTS[self.result].in_language(language)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`."""
        return {
            "check": self.check,
            "result": self.result,
            "en": self.text.en,
            "fr": self.text.fr,
        }


def passed(check: str, en: str, fr: str) -> CheckFinding:
    """Return a passed check."""
    return CheckFinding(check, "passed", Text(en, fr))


def failed(check: str, en: str, fr: str) -> CheckFinding:
    """Return a failed check."""
    return CheckFinding(check, "failed", Text(en, fr))


def not_checked(check: str, en: str, fr: str) -> CheckFinding:
    """Return a check for which something is absent."""
    return CheckFinding(check, "not checked", Text(en, fr))
