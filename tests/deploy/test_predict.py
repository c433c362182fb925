"""`predict` prepares, averages and reports photographs as documented."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, TenCrop, ToTensor

from helpers.model_folders import CLASSES, write_model
from helpers.pictures import encoded, picture, save
from resnetlab.cli.main import main
from resnetlab.data.photo_loader import augmented_views
from resnetlab.data.transforms.eval_transform import EvalTransform
from resnetlab.deploy.inputs import find_images
from resnetlab.deploy.predict import load_model
from resnetlab.errors import InputError, ResourceError
from resnetlab.model_folder.model_file import License
from resnetlab.model_folder.store import load_model_folder
from resnetlab.models.photo_predictions import PredictOutputs, make_predict_outputs
from resnetlab.training.device import preserve_device_settings

HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
THEIRS = Compose(
    [Resize(28), CenterCrop(24), ToTensor(), Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))]
)


Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return the command line in this process, with the attributes of a finished process."""

    def call(*arguments: str | Path) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["resnetlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=int(done.value.code or 0), stdout=out, stderr=err)

    return call


def by_torchvision(folder: Path, image: Image.Image, *, mirror: bool = False) -> torch.Tensor:
    """Probabilities (K,), without a line of ours between the file and the network."""
    tensor = THEIRS(image)
    with torch.inference_mode():
        return (
            load_model_folder(folder)
            .module((tensor.flip(2) if mirror else tensor)[None])
            .double()
            .softmax(1)[0]
        )


def test_a_prediction_equals_torchvision_preprocessing_and_the_network(pets: Path) -> None:
    image = picture(5, 61, 45)
    expected = by_torchvision(pets, image)
    prediction = load_model(pets).predict([image], top=6)[0]
    assert {item.label for item in prediction.top_classes} == set(CLASSES)
    given = [item.probability for item in prediction.top_classes]
    assert np.allclose(given, sorted(expected.tolist(), reverse=True), atol=1e-6)
    assert prediction.top_classes[0].label == CLASSES[int(expected.argmax())]


def test_flip_averages_the_probabilities_of_a_photograph_and_its_mirror_image(pets: Path) -> None:
    image = picture(5, 61, 45)
    expected = (by_torchvision(pets, image) + by_torchvision(pets, image, mirror=True)) / 2
    prediction = load_model(pets).predict([image], top=6, tta="flip")[0]
    given = {item.label: item.probability for item in prediction.top_classes}
    assert np.allclose([given[name] for name in CLASSES], expected.numpy(), atol=1e-6)


@given(st.integers(8, 70), st.integers(8, 70), st.integers(4, 30), st.integers(0, 9))
def test_the_ten_crops_equal_torchvision(width: int, height: int, size: int, more: int) -> None:
    transform = EvalTransform(size=size, resize=size + more, **HALF)
    image = picture(2, width, height)
    theirs = Compose([Resize(size + more), TenCrop(size)])(image)
    assert np.array_equal(
        augmented_views(image, transform, "ten-crop"),
        np.stack([np.asarray(part) for part in theirs]),
    )


def test_ten_crops_are_refused_for_a_model_of_whole_images(tmp_path: Path) -> None:
    model_folder = write_model(
        tmp_path / "whole", eval_transform=EvalTransform(crop_mode="whole", size=32, **HALF)
    )
    with pytest.raises(InputError, match="no corner crops"):
        load_model(model_folder).predict([picture(0)], tta="ten-crop")
    with pytest.raises(InputError, match="allowed: none, flip, ten-crop"):
        load_model(model_folder).predict([picture(0)], tta="five")  # type: ignore[arg-type]


def test_whole_photographs_of_many_shapes_have_the_same_predictions_together_and_singly(
    tmp_path: Path,
) -> None:
    model = load_model(
        write_model(
            tmp_path / "whole", eval_transform=EvalTransform(crop_mode="whole", size=32, **HALF)
        )
    )
    images = [picture(seed, 20 + 7 * seed, 60 - 5 * seed) for seed in range(6)]
    together = model.predict(images)
    alone = [model.predict([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert [item.label for item in a.top_classes] == [item.label for item in b.top_classes]
        assert np.allclose(
            [g.probability for g in a.top_classes],
            [g.probability for g in b.top_classes],
            atol=1e-6,
        )


def test_the_batch_size_does_not_change_the_predictions(pets: Path, photos: Path) -> None:
    model, pictures = load_model(pets), find_images([photos])[0]
    rows = [
        [seen.probabilities for seen in model.predict_images(pictures, batch_size=batch)]
        for batch in (1, 5, 64)
    ]
    assert len(rows[0]) == 22
    assert np.allclose(rows[0], rows[1], atol=1e-6)
    assert np.allclose(rows[0], rows[2], atol=1e-6)


def test_the_exif_orientation_is_applied_before_a_prediction(pets: Path, tmp_path: Path) -> None:
    image = picture(7, 60, 40)
    save(tmp_path / "plain.png", image)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise when it is shown
    save(tmp_path / "turned.png", image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    plain, turned = load_model(pets).predict([tmp_path / "plain.png", tmp_path / "turned.png"])
    assert plain.top_classes == turned.top_classes


def test_broken_files_are_skipped_and_reported_with_an_exit_code(
    pets: Path, tmp_path: Path, run: Run
) -> None:
    save(tmp_path / "in" / "a.png", picture(0))
    content = encoded(picture(1, 64, 64), "JPEG")
    (tmp_path / "in" / "b.jpg").write_bytes(content[: len(content) * 3 // 4])
    (tmp_path / "in" / "c.jpg").write_text("a text")
    (tmp_path / "in" / "notes.txt").write_text("no picture, by its name")
    save(tmp_path / "in" / "d.png", picture(3))
    done = run("predict", pets, tmp_path / "in", "--json")
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["a.png", "b.jpg", "c.jpg", "d.png"]
    assert [line["error"] is not None for line in lines] == [False, True, True, False]
    assert "b.jpg: truncated JPEG" in done.stderr
    assert "not an image: 2 of 4 files" in done.stderr
    assert "skipped: 1 not an image by its name" in done.stderr
    nothing = run("predict", pets, tmp_path / "in" / "c.jpg", tmp_path / "absent.jpg")
    assert nothing.returncode == 2
    assert "absent.jpg: cannot be read: no such file or directory" in nothing.stderr
    with pytest.raises(InputError, match=r"c\.jpg: not an image"):
        load_model(pets).predict([tmp_path / "in" / "a.png", tmp_path / "in" / "c.jpg"])


def test_links_are_predicted_only_if_the_user_allows_it(
    pets: Path, tmp_path: Path, run: Run
) -> None:
    save(tmp_path / "disk" / "far.png", picture(1, 60, 50))
    (tmp_path / "album").mkdir()
    save(tmp_path / "album" / "near.png", picture(2, 60, 50))
    (tmp_path / "album" / "far.png").symlink_to(tmp_path / "disk" / "far.png")
    (tmp_path / "album" / "more").symlink_to(tmp_path / "disk")
    done = run("predict", pets, tmp_path / "album", "--top", 1)
    assert done.returncode == 0
    assert "skipped: 2 a link" in done.stderr
    assert done.stdout.count(".png") == 1
    done = run("predict", pets, tmp_path / "album", "--follow-links", "anywhere", "--top", 1)
    assert done.returncode == 0
    assert done.stdout.count(".png") == 3
    done = run("predict", pets, tmp_path / "album", "--follow-links", "inside")
    assert done.returncode == 2
    assert "a link that leaves the folder" in done.stderr
    link = tmp_path / "album" / "far.png"
    assert run("predict", pets, link).returncode == 2
    assert run("predict", pets, link, "--follow-links", "anywhere").returncode == 0


def test_predictions_as_csv_have_one_line_for_each_class(
    pets: Path, photos: Path, run: Run
) -> None:
    done = run(
        "predict",
        pets,
        photos / "test" / "cat" / "000.jpg",
        photos / "test" / "dog" / "000.jpg",
        "--top",
        2,
        "--csv",
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert all(
        0 < float(row["probability"]) < 1 and row["class"] in CLASSES and not row["error"]
        for row in rows
    )


def test_weights_without_commercial_license_need_the_consent_of_the_user(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "wsl", license=License(name="CC-BY-NC-4.0", applies_to="the backbone")
    )
    with pytest.raises(InputError, match=r"CC-BY-NC-4.0 \(the backbone\).*--accept-license"):
        load_model(folder)
    assert load_model(folder, accept_license=True).predict([picture(0)])


def test_a_batch_that_does_not_fit_into_memory_is_reported_with_a_fix(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(pets)

    def full(_: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.module, "forward", full)
    with pytest.raises(ResourceError, match="a smaller --batch-size"):
        model.predict([picture(0)])


def test_imported_torchvision_weights_can_be_used_as_a_model(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    from resnetlab.models.convert import import_weights

    theirs = resnet18(num_classes=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")
    import_weights(tmp_path / "r18.pth", "resnet18", tmp_path / "r18")
    image = picture(4, 300, 260)
    transform = Compose(
        [
            Resize(256),
            CenterCrop(224),
            ToTensor(),
            Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    with torch.inference_mode():
        expected = theirs(transform(image)[None]).double().softmax(1)[0]
    prediction = load_model(tmp_path / "r18").predict([image], top=4)[0]
    given = {item.label: item.probability for item in prediction.top_classes}
    assert np.allclose([given[f"class {k}"] for k in range(4)], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("threads", "variable", "expected"), [(0, "1", 1), (3, "1", 3), (0, "", 4), (0, "2,1", 2)]
)
def test_the_number_of_threads_is_set_by_the_option_or_the_environment(
    pets: Path, monkeypatch: pytest.MonkeyPatch, threads: int, variable: str, expected: int
) -> None:
    monkeypatch.setattr("resnetlab.training.resolve.available_cpus", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    with preserve_device_settings():
        assert load_model(pets, device="cpu", threads=threads).numerics.threads == expected


def count_norms(network: torch.nn.Module) -> int:
    return sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_predictions_use_a_folded_copy_and_leave_the_network_as_it_is(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(pets, device="cpu")
    norms = count_norms(model.module)
    expected = make_predict_outputs(model.module, model.file.eval_transform, model.device, "pets")
    used: list[torch.nn.Module] = []

    def record(network: torch.nn.Module, *details: Any, **more: Any) -> PredictOutputs:
        used.append(network)
        return make_predict_outputs(network, *details, **more)

    monkeypatch.setattr("resnetlab.deploy.predict.make_predict_outputs", record)
    views = np.random.default_rng(0).integers(0, 256, (5, 1, 24, 24, 3), np.uint8)
    given = model.predict_outputs(views)
    assert np.allclose(given.probabilities, expected(views).probabilities, rtol=0, atol=1e-6)
    assert count_norms(model.module) == norms > 0
    assert [count_norms(network) for network in used] == [0]


def test_a_model_in_bf16_predicts_with_the_network_of_its_run(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its predictions repeat the evaluation of the run, in the rounding of bf16."""
    images = [picture(seed) for seed in range(8)]
    expected = load_model(pets, device="cpu").predict(images)
    model = load_model(pets, device="cpu")
    model.numerics = replace(model.numerics, precision="bf16-emulated")
    monkeypatch.setattr("resnetlab.deploy.predict.prepare_for_inference", None)
    predictions = model.predict(images)
    answers, expected_answers = (
        [prediction.answer for prediction in each] for each in (predictions, expected)
    )
    assert [one.label for one in answers] == [one.label for one in expected_answers]
    probabilities = [one.probability for one in answers]
    expected_probabilities = [one.probability for one in expected_answers]
    assert probabilities == pytest.approx(expected_probabilities, abs=0.02)
    assert probabilities != pytest.approx(expected_probabilities, abs=1e-6)


def test_several_photographs_are_printed_one_per_line_with_a_count_of_the_classes(
    pets: Path, photos: Path, run: Run
) -> None:
    done = run("predict", pets, photos / "test")
    *lines, summary = done.stdout.splitlines()
    assert len(lines) == 14
    named = [re.fullmatch(r" *([\d.]+) %  (\w+)  (\S+)(  \(not sure\))?", line) for line in lines]
    assert all(named)
    labels = Counter(match[2] for match in named if match)
    unsure = sum(float(match[1]) < 50 for match in named if match)
    assert sum(bool(match[4]) for match in named if match) == unsure
    assert summary.startswith(f"14 photographs: {labels.most_common()[0][1]} ")
    assert sum(int(count) for count in re.findall(r"[:,] (\d+) \w", summary)) == 14
    assert ("not sure of" in summary) == bool(unsure)
    one = run("predict", pets, photos / "test" / "cat" / "000.jpg").stdout.splitlines()
    assert len(one) == 6  # its name and five classes
    two = run("predict", pets, photos / "test", "--top", 2).stdout.splitlines()
    assert len(two) == 14 * 3 + 1
    as_json = run("predict", pets, photos / "test", "--json").stdout.splitlines()
    assert [len(json.loads(line)["predictions"]) for line in as_json] == [5] * 14


def test_two_classes_with_one_title_are_printed_by_their_names(
    photos: Path, tmp_path: Path, run: Run
) -> None:
    """ImageNet has a bird and a machine called crane; one of them alone is printed too."""
    cranes = ("n02012849-crane", "n03126707-crane")
    classes = ("a", "b", cranes[0], "n02105641-Old_English_sheepdog", "c", cranes[1])
    model = write_model(tmp_path / "cranes", classes=classes)
    for words in (("--top", 1), ("--top", 2)):
        text = run("predict", model, photos / "test", photos / "train", *words).stdout
        assert any(name in text for name in cranes)
        assert not re.search(r"(?<!n02012849-)(?<!n03126707-)crane\b(?!s)", text)
    one = run("predict", model, photos / "test/cat/000.jpg", "--top", 6).stdout
    assert "Old English sheepdog" in one
