"""Files are parsed into configs, all mistakes are reported at once, and equal configs have equal
hashes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resnetlab.data.config
import resnetlab.models.parse
import resnetlab.recipes.numerics
import resnetlab.recipes.train
import resnetlab.runs.config
import resnetlab.runs.records
import resnetlab.studies.parsing.study_file
from resnetlab import files, schema
from resnetlab.analysis import data_files
from resnetlab.data.config import Augment, ChannelStats, DataConfig, DataIdentity, RandAugment
from resnetlab.errors import InputError
from resnetlab.inspection.diagnostics_config import DiagnosticsConfig
from resnetlab.model_folder.read import read_model_file
from resnetlab.models.configs import CifarConfig
from resnetlab.models.configs.external import ExternalConfig
from resnetlab.recipes.finetune import AnyRecipe, FinetuneRecipe, Stage
from resnetlab.recipes.numerics import Numerics, Placement
from resnetlab.recipes.train import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    Recipe,
)
from resnetlab.runs.config import RunConfig
from resnetlab.runs.run_folder import RunFolder
from resnetlab.schema import (
    Name,
    PositiveInt,
    UnitInterval,
    config_hash,
    decode,
    discriminated_by,
    encode,
    strict_dataclass,
)
from resnetlab.schema_errors import RENAMED_FIELDS, FieldError
from resnetlab.studies.claims import Better
from resnetlab.studies.published.references import Protocol, ProtocolDifference, ReferenceValue
from resnetlab.studies.study import Condition, Distance, Ensemble, Study

MODULES = [
    resnetlab.data.config,
    resnetlab.models.parse,
    resnetlab.runs.records,
    resnetlab.runs.config,
    resnetlab.studies.parsing.study_file,
    resnetlab.recipes.numerics,
    resnetlab.recipes.train,
]
CONFIG_CLASSES = sorted(
    {
        cls
        for module in MODULES
        for cls in vars(module).values()
        if isinstance(cls, type)
        and dataclasses.is_dataclass(cls)
        and "__pydantic_config__" in vars(cls)
    },
    key=lambda cls: cls.__name__,
)


@strict_dataclass
class Cat:
    kind: Literal["cat"] = "cat"
    lives: PositiveInt = 9


@strict_dataclass
class Dog:
    kind: Literal["dog"] = "dog"
    tricks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "bite" in self.tricks:
            raise FieldError("tricks", "a dog must not bite", 'tricks = ["sit"]')


@strict_dataclass
class House:
    street: str
    animal: Annotated[Cat | Dog, discriminated_by("kind")] = Cat()
    animals: tuple[Annotated[Cat | Dog, discriminated_by("kind")], ...] = ()
    share: UnitInterval = 0.5
    color: Literal["red", "green"] = "red"
    floors: PositiveInt | None = None
    label: Name = "home"


FIELDS = "animal, animals, color, floors, label, share, street"
NAMES = "a string, a letter or digit, then up to 63 more, '.', '_' or '-'"


def error_text(form: Any, value: object, field: str = "") -> list[str]:
    with pytest.raises(InputError) as caught:
        decode(form, value, "house.toml", field)
    return str(caught.value).splitlines()


def check_one_line(lines: list[str], start: str) -> None:
    """Check that a refusal is one line that begins with the file and `start`, and has a fix."""
    (line,) = lines
    assert line.startswith(f"house.toml: {start}")
    assert "Fix: " in line


# Mistakes
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({}, 'house.toml: street: missing. Fix: add street = "..."'),
        (
            {"street": "a", "colr": 1},
            f'house.toml: colr: unknown field (allowed: {FIELDS}). Fix: did you mean "color"?',
        ),
        (
            {"street": 3},
            "house.toml: street: not allowed (got 3; allowed: a string). Fix: give a string",
        ),
        (
            {"street": "a", "floors": "ten"},
            (
                'house.toml: floors: not allowed (got "ten"; allowed: a whole number, at least 1). '
                "Fix: floors = 1"
            ),
        ),
        (
            {"street": "a", "floors": 0},
            (
                "house.toml: floors: out of range (got 0; allowed: a whole number, at least 1). "
                "Fix: floors = 1"
            ),
        ),
        (
            {"street": "a", "share": 1},
            (
                "house.toml: share: out of range (got 1; allowed: a number, at least 0, below 1). "
                "Fix: share = 0.5"
            ),
        ),
        (
            {"street": "a", "color": "gren"},
            (
                'house.toml: color: unknown value (got "gren"; allowed: red, green). Fix: did you '
                'mean "green"?'
            ),
        ),
        (
            {"street": "a", "animal": {"kind": "cow"}},
            'house.toml: animal.kind: unknown (got "cow"; allowed: cat, dog). Fix: kind = "cat"',
        ),
        (
            {"street": "a", "animal": {"lives": 3}},
            'house.toml: animal.kind: unknown (got none; allowed: cat, dog). Fix: kind = "cat"',
        ),
        (
            {"street": "a", "animal": "cat"},
            'house.toml: animal: not a table (got "cat"). Fix: animal = { kind = "cat" }',
        ),
        (
            {"street": "a", "animal": {"kind": "cat", "live": 3}},
            (
                "house.toml: animal.live: unknown field (allowed: kind, lives). Fix: did you mean "
                '"lives"?'
            ),
        ),
        (
            {"street": "a", "animals": [{"kind": "cat"}, {"kind": "dog", "tricks": ["sit", 4]}]},
            (
                "house.toml: animals[1].tricks[1]: not allowed (got 4; allowed: a string). Fix: "
                "give a string"
            ),
        ),
        (
            {"street": "a", "animals": [{"kind": "dog", "tricks": ["bite"]}]},
            'house.toml: animals[0].tricks: a dog must not bite. Fix: tricks = ["sit"]',
        ),
        (
            {"street": "a", "label": "a/b"},
            f'house.toml: label: not allowed (got "a/b"; allowed: {NAMES}). Fix: label = "home"',
        ),
    ],
)
def test_a_mistake_is_reported_with_location_value_allowed_values_and_fix(
    table: dict[str, Any], line: str
) -> None:
    assert error_text(House, table) == [line]


def test_all_mistakes_are_reported_at_once() -> None:
    lines = error_text(
        House,
        {"colr": 1, "share": 2, "animal": {"kind": "cat", "lives": 0}, "animals": [{"kind": "x"}]},
    )
    assert sorted(line.split(":")[1].strip() for line in lines) == [
        "animal.lives",
        "animals[0].kind",
        "colr",
        "share",
        "street",
    ]


def test_the_location_in_a_file_is_given_from_the_top_level() -> None:
    assert error_text(House, {"street": "a", "share": 2}, "city.house")[0].startswith(
        "house.toml: city.house.share: "
    )


def test_the_work_of_counting_thousands_of_mistakes_is_proportional_to_their_number(
    calls: Callable[[Callable[[], object]], int],
) -> None:
    fewer, more = (
        calls(lambda count=count: error_text(House, {f"x{index}": 1 for index in range(count)}))
        for count in (1_000, 4_000)
    )
    assert more < 5 * fewer
    lines = error_text(House, {f"x{index}": 1 for index in range(80_000)})
    assert lines[-1] == "house.toml: 79,981 more mistakes. Fix: correct these first"
    assert len(lines) == 21


@strict_dataclass
class Ring:
    bell: Literal["soft", "loud"] | Literal["never"]


def test_a_nested_union_is_reported_as_one_choice() -> None:
    line = (
        'house.toml: bell: unknown value (got "sof"; allowed: soft, loud, never). Fix: did you '
        'mean "soft"?'
    )
    assert error_text(Ring, {"bell": "sof"}) == [line]


@pytest.mark.parametrize("value", [[], 3, "house", None, True])
def test_a_value_that_is_not_a_table_is_refused(value: object) -> None:
    assert len(error_text(House, value)) == 1


@pytest.mark.parametrize(
    ("form", "table"),
    [
        (PositiveInt, 1.0),
        (PositiveInt, True),
        (PositiveInt, "1"),
        (float, True),
        (float, "1"),
        (bool, 1),
        (bool, "true"),
        (str, 1),
    ],
)
def test_a_value_of_another_type_is_never_converted(form: Any, table: object) -> None:
    check_one_line(error_text(form, table, "field"), "field: ")


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "huge"]
)
@pytest.mark.parametrize(
    "form", [schema.NonNegativeFloat, schema.PositiveFloat, schema.UnitInterval]
)
def test_a_value_that_is_not_a_finite_number_is_refused(form: Any, number: float) -> None:
    check_one_line(error_text(form, number, "lr"), "lr: ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**5000, "has a value that cannot be written as JSON. "),
        ({"a": "\udcff"}, "has text that is not UTF-8. "),
    ],
    ids=["huge", "not UTF-8"],
)
def test_a_value_that_json_cannot_contain_is_refused(value: object, message: str) -> None:
    check_one_line(error_text(House, {"street": value}), message)


def test_an_endlessly_nested_table_is_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    message = "has a value that cannot be written as JSON. "
    check_one_line(error_text(House, {"street": value}), message)


# Random tables
# --------------------------------------------------------------------------------------------------

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "sgd",
            "adam",
            "step",
            "cosine",
            "cifar",
            "A",
            "cpu",
            "digits",
            "cifar-resnet20",
            "greater",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)

RUN = RunConfig(
    algorithm_version=1,
    model=CifarConfig(blocks=(3, 3, 3), shortcut="B"),
    data=DataIdentity(sha256="0" * 64, validation=0.0),
    recipe=Recipe(
        epochs=10, optimizer=SGD(lr=0.05, weight_decay=1e-4), schedule=MultiStep(milestones=(0.5,))
    ),
    numerics=Numerics(device="cpu", precision="fp32", memory_format="channels_last", threads=1),
    seed=3,
)
STUDY = Study(
    name="depth",
    question="?",
    seeds=(0, 1),
    claims=(Better(statement="better", left="a", right="b"),),
    conditions=(
        Condition(
            label="a",
            values={"model.depth": 20},
            model=RUN.model,
            data=DataConfig(source="digits"),
            recipe=RUN.recipe,
        ),
    ),
)


def decodes_or_raises(form: type, value: object) -> None:
    refused: InputError | None = None
    try:
        assert isinstance(decode(form, value, "x.toml"), form)
    except InputError as error:
        refused = error
    if refused:
        lines = str(refused).splitlines()
        assert len(lines) == len(refused.problems) > 0
        for line in lines:
            assert line.startswith("x.toml: ")
            assert line.replace("\xa0", " ").isprintable()
            assert "Fix: " in line


@pytest.mark.parametrize("form", CONFIG_CLASSES, ids=lambda cls: cls.__name__)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_table_is_decoded_or_refused_with_readable_lines(
    form: type, data: st.DataObject
) -> None:
    names = st.sampled_from([item.name for item in dataclasses.fields(form)]) | st.text(max_size=6)
    decodes_or_raises(form, data.draw(st.dictionaries(names, json_like, max_size=6) | json_like))


@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_a_wrong_value_for_a_union_of_tables_is_reported_once(value: object) -> None:
    with pytest.raises(InputError) as caught:
        decode(type(RUN), encode(RUN) | {"recipe": value}, "x.toml")
    assert [problem.field for problem in caught.value.problems] == ["recipe"]


@given(config=st.sampled_from([RUN, STUDY]), data=st.data())
def test_any_value_in_a_correct_table_may_be_replaced_by_anything(
    config: Any, data: st.DataObject
) -> None:
    spoil(config, data)


@pytest.mark.slow
@settings(max_examples=2000)
@given(config=st.sampled_from([RUN, STUDY]), data=st.data())
def test_any_value_in_a_correct_table_may_be_replaced_by_anything_in_many_examples(
    config: Any, data: st.DataObject
) -> None:
    spoil(config, data)


def spoil(config: Any, data: st.DataObject) -> None:
    table = copy.deepcopy(encode(config))
    holder, key = table, data.draw(st.sampled_from(sorted(table)))
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
        holder = holder[key]
        key = data.draw(
            st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        )
    holder[key] = data.draw(json_like)
    decodes_or_raises(type(config), table)


# Encoding and decoding
# --------------------------------------------------------------------------------------------------

fraction = st.floats(0, 1, exclude_max=True)
positive_amount = st.floats(1e-6, 10)
optimizers = st.one_of(
    st.builds(
        SGD,
        lr=positive_amount,
        momentum=st.floats(0.1, 0.9),
        nesterov=st.booleans(),
        weight_decay=fraction,
    ),
    st.builds(Adam, lr=positive_amount, betas=st.tuples(fraction, fraction)),
    st.builds(AdamW, lr=positive_amount, weight_decay=fraction),
)
schedules = st.one_of(
    st.builds(Constant, warmup=fraction),
    st.builds(
        MultiStep, milestones=st.lists(fraction, max_size=3).map(tuple), gamma=positive_amount
    ),
    st.builds(Exponential, gamma=positive_amount),
    st.builds(Cosine, final=fraction, warmup=fraction),
    st.builds(OneCycle, peak=st.floats(0.1, 0.9), start=fraction),
)
recipes = st.builds(
    Recipe,
    batch_size=st.integers(2, 512),
    epochs=st.integers(1, 300),
    optimizer=optimizers,
    schedule=schedules,
    augment=st.builds(
        Augment,
        crop_padding=st.integers(0, 4),
        flip=st.booleans(),
        cutout=st.integers(0, 8),
        randaugment=st.sampled_from([None, RandAugment(operations=3)]),
        mixup=st.sampled_from([0.0, 0.2]),
    ),
    normalize=st.sampled_from(
        ["train", "half", "none", "zca", ChannelStats(mean=(0.5,), std=(0.2,))]
    ),
    label_smoothing=fraction,
    decay_norm_and_bias=st.booleans(),
    ema=fraction,
    clip_norm=fraction,
    select=st.sampled_from(["last", "best"]),
)
models = st.builds(
    CifarConfig,
    blocks=st.tuples(*[st.integers(1, 9)] * 3),
    shortcut=st.sampled_from(["none", "A", "B", "C"]),
    widths=st.lists(st.integers(1, 64), min_size=3, max_size=3).map(sorted).map(tuple),
    batch_norm=st.booleans(),
    dropout=fraction,
    init=st.sampled_from(["he", "pytorch"]),
)
runs = st.builds(
    RunConfig,
    algorithm_version=st.integers(1, 3),
    model=models,
    recipe=recipes,
    seed=st.integers(0, 2**40),
    data=st.builds(
        DataIdentity,
        sha256=st.text("0123456789abcdef", min_size=4, max_size=4),
        validation=fraction,
    ),
    numerics=st.builds(
        Numerics, device=st.sampled_from(["cpu", "cuda"]), threads=st.integers(1, 8)
    ),
)


@given(runs)
def test_encoded_values_are_decoded_unchanged_even_through_a_file(run: RunConfig) -> None:
    assert decode(RunConfig, encode(run), "x") == run
    assert decode(RunConfig, json.loads(json.dumps(encode(run))), "x") == run
    assert decode(RunConfig, schema.without_defaults(run), "x") == run


@given(runs, runs)
def test_two_runs_have_the_same_hash_only_if_they_are_equal(
    left: RunConfig, right: RunConfig
) -> None:
    assert (config_hash(left) == config_hash(right)) == (left == right)


@given(runs, runs, st.data())
def test_a_change_of_any_single_field_changes_the_hash(
    run: RunConfig, other: RunConfig, data: st.DataObject
) -> None:
    path: list[str] = []
    values, theirs = run, other
    while dataclasses.is_dataclass(values) and type(values) is type(theirs):
        name = data.draw(st.sampled_from([item.name for item in dataclasses.fields(values)]))
        path, values, theirs = [*path, name], getattr(values, name), getattr(theirs, name)
    changed = _with(run, path, theirs)
    assert (config_hash(run) == config_hash(changed)) == (values == theirs)


def _with(value: Any, path: list[str], new: object) -> Any:
    name, *rest = path
    return dataclasses.replace(
        value, **{name: _with(getattr(value, name), rest, new) if rest else new}
    )


@pytest.mark.parametrize(
    "same",
    [
        lambda: dataclasses.replace(RUN, data=DataIdentity(sha256="0" * 64, validation=0)),
        lambda: dataclasses.replace(RUN, data=DataIdentity(sha256="0" * 64, validation=-0.0)),
        lambda: _with(
            RUN,
            ["recipe", "optimizer"],
            SGD(lr=0.05, weight_decay=1e-4, momentum=0.9, nesterov=False),
        ),
        lambda: _with(RUN, ["recipe", "ema"], 0),
        lambda: _with(RUN, ["model", "widths"], (16, 32, 64)),
        lambda: decode(RunConfig, dict(reversed(encode(RUN).items())), "x"),
        lambda: decode(RunConfig, schema.without_defaults(RUN), "x"),
    ],
    ids=[
        "1 for 1.0",
        "-0.0",
        "defaults given",
        "0 for 0.0",
        "default tuple",
        "fields in another order",
        "left out",
    ],
)
def test_equal_configs_have_the_same_hash_in_every_notation(same: Callable[[], RunConfig]) -> None:
    assert config_hash(same()) == config_hash(RUN)


def test_the_hash_of_a_run_does_not_change() -> None:
    """Whoever changes this hash makes every finished run on every disk a stranger."""
    canonical = (
        '{"algorithm_version":1,"data":{"sha256":"' + "0" * 64 + '","validation":0.0},'
        '"model":{"blocks":[3,3,3],"family":"cifar","shortcut":"B"},'
        '"numerics":{"device":"cpu","memory_format":"channels_last","precision":"fp32","threads":1},'
        '"recipe":{"epochs":10,"optimizer":{"lr":0.05,"name":"sgd","weight_decay":0.0001},'
        '"schedule":{"milestones":[0.5],"name":"step"}},"seed":3}'
    )
    assert hashlib.sha256(canonical.encode()).hexdigest() == config_hash(RUN)
    assert config_hash(RUN) == "244d8a9195e0c6cfe6ad72f985fd5d4e10f14e6de568d6268d5f8b91b39153c8"


def test_the_canonical_form_always_contains_the_kind_of_a_table() -> None:
    assert schema.without_defaults(Recipe(epochs=1, optimizer=AdamW())) == {
        "epochs": 1,
        "optimizer": {"name": "adamw"},
    }
    assert schema.without_defaults(CifarConfig(blocks=(1, 1, 1)))["family"] == "cifar"


def test_a_recipe_that_names_the_default_optimizer_equals_one_that_omits_it() -> None:
    assert config_hash(
        decode(Recipe, {"epochs": 1, "optimizer": {"name": "sgd"}}, "x")
    ) == config_hash(Recipe(epochs=1))


def test_placement_is_not_part_of_a_run() -> None:
    assert Placement not in {type(getattr(RUN, item.name)) for item in dataclasses.fields(RUN)}


# Files
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a = 1\nb =\n", ":2: not TOML: Invalid value. Fix: "),
        (b"a = 1\n\na = 2\n", ":3: not TOML: Cannot overwrite a value. Fix: "),
        (b'a = "\n', ":1: not TOML: "),
        (b"a = '", ": not TOML: "),
        (b"\xff\xfe", ": not text in UTF-8. Fix: save it as UTF-8"),
        (b"#" * 1_000_001, ": larger than 1,000,000 bytes. Fix: "),
        (b"a = " + b"9" * 5000, ": a whole number beyond 64 bits"),
        (b"a = 0x" + b"f" * 5000, ": a whole number beyond 64 bits"),
        (b"a = [1, 9223372036854775808]", ": a whole number beyond 64 bits"),
        (b"a = " + b"[" * 300 + b"]" * 300, "nested deeper than 20"),
        (b"a = " + b"[" * 100_000, "nested deeper than 20"),
        (b".".join([b"a"] * 1_000) + b" = 1", "nested deeper than 20"),
        (b".".join([b"a"] * 400_000) + b" = 1", "a key of thousands of parts"),
        ((b".".join([b"a"] * 100) + b" = 1\n") * 4_000, "a key of thousands of parts"),
    ],
    ids=range(14),
)
def test_a_file_that_is_not_toml_is_refused_in_one_line(
    tmp_path: Path, content: bytes, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input that would take the parser minutes, or all memory, is refused before it is parsed."""
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    if "thousands" in line or "larger" in line:
        monkeypatch.setattr(schema, "tomllib", None)
    with pytest.raises(InputError) as caught:
        schema.read_toml(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)
    assert line in str(caught.value)


def test_toml_is_read_with_a_byte_order_mark_and_any_line_endings(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes("\ufeffa = 1\r\n[b]\r\nc = 'ö'\r\n".encode())
    assert schema.read_toml(path) == {"a": 1, "b": {"c": "ö"}}


@pytest.mark.parametrize("name", ["absent.toml", ".", "a\0b"])
def test_an_unreadable_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        schema.read_toml(tmp_path / name)


def test_an_endless_device_is_refused_and_not_read() -> None:
    with pytest.raises(InputError, match="larger than"):
        schema.read_toml(Path("/dev/zero"))


@pytest.mark.parametrize("content", [b"{", b"", b"[" * 100_000, b"9" * 5000, b"\xff"], ids=range(5))
def test_a_file_that_is_not_json_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        files.read_json(path)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(st.sampled_from("ab.=[]{}\"'0_1\n#, -:TZé\\")))
def test_any_text_is_parsed_as_toml_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(schema.parse_toml(text, "a.toml"), dict)


# Schema 2
# --------------------------------------------------------------------------------------------------

FILE = resnetlab.studies.parsing.study_file._StudyFile
RENAMED_KEYS = [
    (Placement, "abreast", "parallel_seeds"),
    (Placement, "longest_loss_seconds", "max_checkpoint_seconds"),
    (Numerics, "accumulate", "grad_accum_steps"),
    (Numerics, "capture", "cuda_graphs"),
    (Numerics, "ranks", "world_size"),
    (Stage, "accumulate", "grad_accum_steps"),
    (Stage, "checkpoint_parts", "grad_checkpointing"),
    (Stage, "depth_decay", "layer_decay"),
    (Stage, "rates", "lrs"),
    (Stage, "trains", "trainable"),
    (FinetuneRecipe, "view", "crop_mode"),
    (Recipe, "choose", "select"),
    (Recipe, "normalise", "normalize"),
    (Recipe, "optimiser", "optimizer"),
    (ChannelStats, "deviation", "std"),
    (ExternalConfig, "deviation", "std"),
    (ExternalConfig, "licence", "license"),
    (DiagnosticsConfig, "drop_blocks", "ablate_blocks"),
    (DiagnosticsConfig, "gradients", "gradient_norms"),
    (FILE, "instruments", "diagnostics"),
    (FILE, "published", "references"),
    (Better, "says", "statement"),
    (Distance, "says", "statement"),
    (Ensemble, "of", "conditions"),
    (Ensemble, "says", "statement"),
    (Protocol, "differs", "differences"),
    (Protocol, "said", "summary"),
    (ProtocolDifference, "published", "reference"),
    (ReferenceValue, "chosen", "selected_on"),
    (ReferenceValue, "m", "num_runs"),
    (ReferenceValue, "runs", "run_values"),
]
"""Class of a table, its key in schema 1, its key in schema 2."""


@pytest.mark.parametrize(("form", "old", "new"), RENAMED_KEYS)
def test_a_key_of_schema_1_is_refused_in_one_line_with_its_new_name(
    form: type, old: str, new: str
) -> None:
    (line,) = [line for line in error_text(form, {old: 1}) if "unknown field" in line]
    assert line.startswith(f"house.toml: {old}: unknown field (allowed: ")
    assert line.endswith(f". Fix: write {new}: the field was renamed in schema 2")


@pytest.mark.parametrize(("old", "new"), [("deviation", "std"), ("licence", "license")])
def test_a_renamed_key_in_a_model_table_is_refused_with_its_new_name(old: str, new: str) -> None:
    with pytest.raises(InputError) as caught:
        resnetlab.models.parse.parse_model(
            {"family": "external", "source": "timm/resnet18", old: 1}, "model.toml"
        )
    line = str(caught.value).splitlines()[0]
    assert line.startswith(f"model.toml: model.{old}: unknown field (allowed: ")
    assert line.endswith(f". Fix: write {new}: the field was renamed in schema 2")


def test_the_changelog_and_these_tests_contain_every_renamed_key() -> None:
    assert set(RENAMED_FIELDS) == {(old, new) for _, old, new in RENAMED_KEYS}
    changelog = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert {
        (old, new)
        for old, new in RENAMED_FIELDS
        if not re.search(rf"^\| `{old}` \| `{new}` \|", changelog, re.MULTILINE)
    } == set()


def read_run(folder: Path) -> object:
    return RunFolder(folder).file()


def read_result(folder: Path) -> object:
    return RunFolder(folder).result()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("run.json", read_run),
        ("result.json", read_result),
        ("model.json", read_model_file),
        ("report.json", data_files.load_study_data),
    ],
)
@pytest.mark.parametrize(
    ("table", "problem", "got"),
    [
        ({"licence": ""}, "written by an older resnetlab: fields were renamed in schema 2", "1"),
        ({"schema": 1}, "written by an older resnetlab: fields were renamed in schema 2", "1"),
        ({"schema": 3}, "has another schema version", "3"),
        ({"schema": "two"}, "has another schema version", "two"),
    ],
)
def test_a_file_of_another_schema_is_refused_in_one_line(
    tmp_path: Path,
    name: str,
    read: Callable[[Path], object],
    table: dict[str, Any],
    problem: str,
    got: str,
) -> None:
    (tmp_path / name).write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path / name}: schema: {problem}")
    assert f"(got {got}; allowed: 2). Fix: " in line
    assert "the resnetlab that wrote it" in line or "the version that wrote it" in line


def test_a_value_of_the_wrong_type_is_refused_in_one_line_with_all_allowed_types() -> None:
    table = {"family": "external", "source": "timm/resnet18", "kwargs": {"groups": {"a": 1}}}
    with pytest.raises(InputError) as caught:
        decode(ExternalConfig, table, "net.toml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith('net.toml: kwargs.groups: not allowed (got {"a": 1}; allowed: ')
    for words in ("true or false", "a whole number", "a string", "a list, each a whole number"):
        assert words in line


@pytest.mark.parametrize(
    ("field", "value"), [("batch_size", "many"), ("epochz", 3), ("label_smoothing", 2)]
)
def test_only_the_wrong_field_of_a_union_of_tables_is_listed(field: str, value: object) -> None:
    table = encode(Recipe(epochs=1)) | {field: value}
    with pytest.raises(InputError) as caught:
        decode(AnyRecipe, table, "run.json", "recipe")
    assert [problem.field for problem in caught.value.problems] == [f"recipe.{field}"]
    stage = encode(Stage(name="a", recipe=Recipe(epochs=1)))
    stage["recipe"][field] = value
    with pytest.raises(InputError) as caught:
        decode(AnyRecipe, {"name": "a", "stages": [stage]}, "run.json", "recipe")
    assert [problem.field for problem in caught.value.problems] == [
        f"recipe.stages[0].recipe.{field}"
    ]
