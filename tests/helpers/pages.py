"""Hostile names for reports, and a reader of their HTML."""

from dataclasses import replace
from html.parser import HTMLParser

from helpers.synthetic import EVERY_STATUS, study_record
from resnetlab.studies.parsing.study_file import load_study

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`x`$a$ ![x](https://evil.example/x.png)"


def hostile_record():
    """Every name that a person or a data set gives is hostile."""
    study = load_study("digits")
    labels = {condition.label: condition.label + HOSTILE for condition in study.conditions}
    conditions = tuple(replace(c, label=labels[c.label]) for c in study.conditions)
    claims = tuple(
        replace(c, statement=HOSTILE, source=HOSTILE, left=labels[c.left], right=labels[c.right])
        for c in study.claims
    )
    study = replace(
        study, question=HOSTILE, about=HOSTILE, limits=HOSTILE, conditions=conditions, claims=claims
    )
    study = replace(study, overrides=(f"recipe.epochs = 2 (was {HOSTILE})",))
    truth = {labels[label]: runs for label, runs in EVERY_STATUS.items()}
    return study_record(truth, study=study, classes=(HOSTILE, "a"))


class Page(HTMLParser):
    """Tags, their attributes and the text of the tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([])
            self.cell = self.rows[-1][-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None and data.strip():
            self.cell.append(data.replace("\N{NO-BREAK SPACE}", " ").strip())
