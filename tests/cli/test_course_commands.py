"""The commands of the course work together in the folder of a student."""

from __future__ import annotations

import json
from collections.abc import Callable

from resnetlab.course.student import student_seed


def test_the_course_commands_work_one_after_another(
    resnetlab: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = resnetlab("course", "seed", "Ada Lovelace")
    assert (code, out.strip()) == (0, str(student_seed("Ada Lovelace")))
    code, out, _ = resnetlab("course", "answer", "Q9", "padding=0", "stride=2", "--json")
    assert code == 0
    assert json.loads(out)["correct"]
    code, out, _ = resnetlab("course", "answer", "Q9", "padding=1")
    assert code == 5
    code, out, _ = resnetlab("course", "show", "3", "--lang", "fr")
    assert code == 0
    assert "Champ récepteur" in out
    code, out, _ = resnetlab("course", "check", "8")
    assert code == 3
    assert "no run" in out
    code, out, err = resnetlab("course", "report", "--lang", "fr")
    assert code == 0
    assert "Q5.1" in err
    code, _, err = resnetlab("course", "check", "11")
    assert code == 2
    assert "allowed: 1 to 10" in err
    code, _, err = resnetlab("course", "show", "1", "--lang", "de")
    assert code == 2
    assert "en, fr" in err
