"""Sources are cited by keys of the bibliography. Reports print the work, and a mistyped key is
refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.synthetic import study_record
from resnetlab import reports
from resnetlab.analysis.collect import collect_study_data
from resnetlab.errors import InputError
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.references import load_reference_source
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.parsing.toml_tables import catalog_names, read_named
from resnetlab.studies.published.bibliography import bibliography, cited_works, format_citation


def test_a_citation_is_the_short_name_of_a_work_and_a_page_or_table() -> None:
    assert format_citation("he2016, table 6") == "He et al. 2016, table 6"
    assert format_citation("practical; zhang2018") == (
        "Deep Learning practical 5-6; Zhang et al. 2018"
    )
    assert cited_works("Smith 2024, table 1") == [("", "Smith 2024, table 1")]
    assert format_citation("") == ""


@pytest.mark.parametrize("name", catalog_names("studies"))
def test_every_claim_of_the_catalog_cites_a_work_or_resnetlab(name: str) -> None:
    study = load_study(name)
    for part in (*study.claims, *study.ladder, *study.distances, *study.ensembles):
        works = cited_works(part.source)
        assert works or not part.source
        assert all(key or text.startswith("resnetlab's own") for key, text in works), part.source


def test_all_published_numbers_cite_a_work() -> None:
    for name in catalog_names("references"):
        assert all(key for key, _ in cited_works(load_reference_source(name).source)), name


def test_a_mistyped_key_is_refused_in_one_line_with_the_right_key() -> None:
    raw, where = read_named("studies", "digits", "study")
    claim = raw["claim"][0] | {"source": "he216, table 6"}
    with pytest.raises(InputError) as caught:
        parse_study(raw | {"claim": [claim]}, where, Overrides())
    assert len(caught.value.problems) == 1
    line = str(caught.value.problems[0])
    assert "\n" not in line
    assert 'claim[0].source: "he216" is no key of the bibliography' in line
    assert 'did you mean "he2016"?' in line


def test_a_report_lists_each_cited_work_once_with_title_authors_year_and_address(
    tmp_path: Path,
) -> None:
    study = load_study("digits")
    cited = tuple(replace(c, source="he2016, table 6; depth-report") for c in study.claims)
    study = replace(study, claims=cited)
    reports.write_report(collect_study_data(study_record(study=study)), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    work = bibliography()["he2016"]
    line = f"- He et al. 2016: [{work.title}. {work.authors}. 2016.]({work.url})"
    assert text.count(line) == 1
    students = bibliography()["depth-report"]
    assert f"- Depth report: {students.title}. Author names not given." in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f'<a href="{work.url}" rel="noopener">{work.title}' in page
