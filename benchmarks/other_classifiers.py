"""The sides of fastai and AutoGluon in classifiers.py, started by it in their own environment.

`other_classifiers.py TOOL FOLDER MODEL.toml SECONDS SEED OUT.csv` trains a classifier within about
these seconds and writes the predicted class of each test photograph. It imports nothing of
resnetlab.
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

START = time.monotonic()
CLOSING_SHARE = 0.1
"""Share of the time limit for the predictions and the end of the process."""
VALIDATION_SHARE = 0.15
BATCH_SIZE, TIMED_BATCHES, MAX_EPOCHS = 32, 4, 30


def load_network(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the network of a TOML file with its weights, and the table of the file."""
    import timm
    from safetensors.torch import load_file

    table = tomllib.loads(path.read_text(encoding="utf-8"))
    arguments = table.get("kwargs", {})
    model = timm.create_model(table["source"].removeprefix("timm/"), **arguments)
    model.load_state_dict(load_file(path.parent / table["weights"]))
    return model, table


def fastai_side(folder: Path, model: Path, seconds: float, seed: int) -> dict[str, str]:
    """Train by `fine_tune` with as many epochs as fit, and return the predicted classes.

    Presizing, augmentation and rates are those of fastai's documentation. The epochs follow from
    the time of a few steps of the whole network, which are undone.
    """
    import torch
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        aug_transforms,
        error_rate,
        get_image_files,
        set_seed,
        vision_learner,
    )

    torch.set_num_threads(2)
    set_seed(seed, reproducible=True)
    network, table = load_network(model)

    def body(pretrained: bool = False) -> Any:  # noqa: ARG001
        # fastai puts its head in the place of the pooling layer, the last one here.
        children = [child for name, child in network.named_children() if name != "classifier"]
        return torch.nn.Sequential(*children)

    files = get_image_files(folder / "train")
    dls = ImageDataLoaders.from_path_func(
        folder,
        files,
        lambda path: path.parent.name,
        valid_pct=VALIDATION_SHARE,
        seed=seed,
        item_tfms=Resize(256),
        batch_tfms=[
            *aug_transforms(size=224, min_scale=0.75),
            Normalize.from_stats(table["mean"], table["std"], cuda=False),
        ],
        bs=min(BATCH_SIZE, max(2, len(files) // 4)),  # a last batch that is not full is left out
        num_workers=2,
        device=torch.device("cpu"),
    )
    learn = vision_learner(dls, body, pretrained=False, normalize=False, metrics=error_rate)
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    times = []
    repeated = itertools.chain.from_iterable(itertools.repeat(dls.train))
    start = time.monotonic()
    for images, labels in itertools.islice(repeated, TIMED_BATCHES):
        learn.loss_func(learn.model(images), labels).backward()
        times.append(time.monotonic() - start)
        start = time.monotonic()
    learn.model.zero_grad()
    learn.model.load_state_dict(before)
    epoch = min(times[1:]) * len(dls.train) * (1 + VALIDATION_SHARE / 3)
    rest = seconds * (1 - CLOSING_SHARE) - (time.monotonic() - START)
    epochs = max(1, min(MAX_EPOCHS, int(rest / epoch) - 1))
    print(f"fastai: {epochs} epochs of about {epoch:.0f} s", file=sys.stderr)
    learn.fine_tune(epochs)
    files = get_image_files(folder / "test")
    probabilities, _ = learn.get_preds(dl=dls.test_dl(files))
    predicted = [dls.vocab[index] for index in probabilities.argmax(1).tolist()]
    return {f.relative_to(folder).as_posix(): p for f, p in zip(files, predicted, strict=True)}


def autogluon_side(folder: Path, model: Path, seconds: float, seed: int) -> dict[str, str]:
    """Train by MultiModalPredictor with the preset medium_quality, and return the classes.

    timm's function that makes networks is replaced by one that loads the weights of the file, since
    AutoGluon only knows those of the hub.
    """
    import pandas
    import timm
    from autogluon.multimodal import MultiModalPredictor

    network, table = load_network(model)
    weights = network.state_dict()
    create = timm.create_model

    def create_model(name: str, *_: Any, num_classes: int = 0, **__: Any) -> Any:
        made = create(name, **{**table.get("kwargs", {}), "num_classes": num_classes})
        head = {k: v for k, v in made.state_dict().items() if k.startswith("classifier.")}
        body = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
        made.load_state_dict(body | head)
        made.default_cfg.update(mean=tuple(table["mean"]), std=tuple(table["std"]))
        return made

    import autogluon.multimodal.models.timm_image as module

    module.create_model = timm.create_model = create_model
    train = sorted(path for path in (folder / "train").rglob("*") if path.is_file())
    test = sorted(path for path in (folder / "test").rglob("*") if path.is_file())
    frame = pandas.DataFrame(
        {"image": list(map(str, train)), "label": [path.parent.name for path in train]}
    )
    predictor = MultiModalPredictor(label="label", presets="medium_quality", verbosity=1)
    predictor.fit(
        frame,
        time_limit=seconds * (1 - CLOSING_SHARE),
        seed=seed,
        hyperparameters={
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": table["source"].removeprefix("timm/"),
            "env.num_workers": 2,
        },
    )
    predicted = predictor.predict(pandas.DataFrame({"image": list(map(str, test))}))
    names = [path.relative_to(folder).as_posix() for path in test]
    return dict(zip(names, map(str, predicted), strict=True))


def main() -> None:
    """Train one classifier, and write its predictions."""
    tool, folder, model, seconds, seed, out = sys.argv[1:]
    side = {"fastai": fastai_side, "autogluon": autogluon_side}[tool]
    predicted = side(Path(folder), Path(model), float(seconds), int(seed))
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "predicted"))
        writer.writerows(sorted(predicted.items()))


if __name__ == "__main__":
    main()
