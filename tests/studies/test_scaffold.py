"""`study new` turns the answers of a user into a valid study file, and overwrites no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnetlab.errors import InputError
from resnetlab.schema import parse_toml
from resnetlab.studies.parsing.overrides import Overrides
from resnetlab.studies.parsing.study_file import load_study, parse_study
from resnetlab.studies.scaffold import StudyOptions, parse_axes, study_text, write_study

TWO = ("model.depth=20,56", "model.shortcut=none,A")


def answers(*vary: str, **changes: object) -> StudyOptions:
    defaults = {"question": "Is deeper better?", "data": "digits", "recipe": "digits", "seeds": 3}
    return StudyOptions(vary=vary, **(defaults | changes))


def test_the_scaffold_is_a_study_of_the_requested_axes(tmp_path: Path) -> None:
    path = tmp_path / "deeper.toml"
    write_study(answers(*TWO), path)
    study = load_study(path)
    assert study.name == "deeper"
    assert study.seeds == (0, 1, 2)
    assert [c.label for c in study.conditions] == [
        "plain 20",
        "residual 20 (A)",
        "plain 56",
        "residual 56 (A)",
    ]
    assert not study.claims


def test_the_proposed_claim_is_valid_after_the_comment_signs_are_removed() -> None:
    text = study_text(answers(*TWO), Path("x.toml"))
    comment, claim = text.split("# A claim is a sentence")
    study = parse_study(
        parse_toml(comment + claim.partition("\n")[2].replace("# ", ""), "x.toml"),
        "x.toml",
        Overrides(),
    )
    assert [(c.left, c.right) for c in study.claims] == [("plain 56", "plain 20")]


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from([8, 14, 20, 26, 32]), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(["none", "A", "B", "C"]), min_size=1, max_size=4, unique=True),
)
def test_a_written_study_file_contains_the_options(
    question: str, depths: list[int], shortcuts: list[str]
) -> None:
    vary = (f"model.depth={','.join(map(str, depths))}", f"model.shortcut={','.join(shortcuts)}")
    text = study_text(answers(*vary, question=question), Path("x.toml"))
    study = parse_study(parse_toml(text, "x.toml"), "x.toml", Overrides())
    assert study.question == question
    assert len(study.conditions) == len(depths) * len(shortcuts)


def test_values_are_read_as_toml_and_a_list_may_be_one_value() -> None:
    assert parse_axes(["recipe.optimizer.lr=1e-3,0.1"]) == {"recipe.optimizer.lr": [1e-3, 0.1]}
    assert parse_axes(["model.blocks=[[1, 1, 1], [2, 2, 2]]"]) == {
        "model.blocks": [[1, 1, 1], [2, 2, 2]]
    }
    assert parse_axes(["model.batch_norm=true,false"]) == {"model.batch_norm": [True, False]}


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (("depth=20,56",), r"--vary: not FIELD=VALUE,VALUE \(got depth=20,56"),
        (("model.depth",), "--vary: not FIELD=VALUE,VALUE"),
        (("model.depth=20", "model.depth=56"), "model.depth is given twice"),
        (("model.depth=21",), r"21 is not 6n \+ 2. Fix: 20 or 26"),
        (("recipe.epoch=1,2",), 'unknown field .*did you mean "epochs"'),
    ],
)
def test_after_a_mistake_no_file_is_written(
    tmp_path: Path, vary: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_study(answers(*vary), tmp_path / "x.toml")
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("# mine\n")
    with pytest.raises(InputError, match="already exists"):
        write_study(answers(*TWO), path)
    assert path.read_text() == "# mine\n"


def test_in_a_terminal_the_command_prompts_and_repeats_a_question_after_an_invalid_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from resnetlab.cli.study.scaffold import prompt_options

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    typed = iter(
        [
            "Is it so?",
            "depth=8",
            "model.depth=8,14",
            "model.shortcut=A,B",
            "",
            "digits",
            "adam",
            "4",
            "so.toml",
        ]
    )
    monkeypatch.setattr("typer.prompt", lambda *_, type=str, **__: type(next(typed)))
    options, out = prompt_options(answers(), Path("study.toml"))
    assert options == answers(
        "model.depth=8,14", "model.shortcut=A,B", question="Is it so?", recipe="adam", seeds=4
    )
    assert out == Path("so.toml")
    assert "not FIELD=VALUE,VALUE" in capsys.readouterr().out
