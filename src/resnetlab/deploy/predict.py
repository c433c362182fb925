"""Photographs in, classes out: the one place where a trained network looks at pictures.

Pictures are decoded and cut by threads, a batch ahead of the network; none is held longer than its batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resnetlab.bundle.spec import ModelFile
from resnetlab.bundle.store import Bundle, load_bundle
from resnetlab.data.augment import normalise
from resnetlab.data.sources import images
from resnetlab.data.sources.decoded import default_workers
from resnetlab.data.view import View, show, ten_crops
from resnetlab.deploy.asked import Tta, check_model, check_tta
from resnetlab.deploy.pictures import Picture, picture
from resnetlab.errors import InputError, Problem, ResourceError
from resnetlab.training.accelerate import prepare
from resnetlab.training.numerics import Numerics, parse_device
from resnetlab.training.resolve import resolve

BATCH = 32


@dataclass(frozen=True)
class Guess:
    """A class and the probability that the network gives it, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, best first."""

    name: str
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Seen:
    """A picture with the probability of each class (K,), or the reason why it is no image."""

    picture: Picture
    probabilities: NDArray[np.float64] | None
    reason: str = ""


class Classifier:
    """A trained network that looks at photographs: `load_model("pets").predict(["cat.jpg"])`."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.file: ModelFile = bundle.file
        kind, index = parse_device(device)
        self.numerics = resolve(Numerics(device=kind, precision="fp32"), single=True)  # type: ignore[arg-type]
        self.device = prepare(self.numerics, index)
        self.module = bundle.module.to(self.device)
        self._mean, self._deviation = (
            torch.tensor(values, device=self.device) for values in (bundle.file.view.mean, bundle.file.view.deviation)
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        return self.file.classes

    def predict(
        self, pictures: Iterable[str | Path | Image.Image], *, top: int = 5, tta: Tta = "none"
    ) -> list[Prediction]:
        """The `top` classes of each file or Pillow image. Raises InputError that names each one that is no image."""
        wanted = [_picture(item, number) for number, item in enumerate(pictures)]
        seen = list(self.look(wanted, tta=tta))
        bad = [Problem(one.picture.name, one.reason, "replace it, or leave it out") for one in seen if one.reason]
        if bad:
            raise InputError(*bad)
        return [self.best(one, top) for one in seen]

    def best(self, seen: Seen, top: int) -> Prediction:
        """The `top` classes of a picture that was seen."""
        assert seen.probabilities is not None, seen.reason
        order = np.argsort(-seen.probabilities, kind="stable")[:top]
        guesses = tuple(Guess(self.classes[k], float(seen.probabilities[k])) for k in order)
        return Prediction(seen.picture.name, guesses)

    def look(self, pictures: Iterable[Picture], *, tta: Tta = "none", batch: int = BATCH) -> Iterator[Seen]:
        """Each picture with its probabilities or the reason why it is none, in order, `batch` at a time.

        Raises InputError when `tta` does not go with the model, and ResourceError when a batch does not fit in memory.
        """
        check_tta(self.file.view, tta)
        for chunk in _ahead(pictures, self.file.view, tta, batch):
            by_shape = defaultdict(list)  # whole photographs differ in shape
            for place, (_, held) in enumerate(chunk):
                if not isinstance(held, str):
                    by_shape[held.shape].append(place)
            found: dict[int, NDArray[np.float64]] = {}
            for places in by_shape.values():
                stacked = np.stack([held for place in places if not isinstance(held := chunk[place][1], str)])
                found |= zip(places, self.probabilities(stacked), strict=True)
            for place, (one, held) in enumerate(chunk):
                yield Seen(one, found.get(place), held if isinstance(held, str) else "")

    def probabilities(self, views: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The mean probabilities (N, K) over the V views of each picture: (N, V, H, W, C) uint8."""
        count, per_picture = views.shape[:2]
        try:
            with torch.inference_mode():
                logits = self.module(self.images(views.reshape(-1, *views.shape[2:])))
                mean = logits.double().softmax(1).view(count, per_picture, -1).mean(1)
                return mean.cpu().numpy()  # type: ignore[no-any-return]
        except torch.OutOfMemoryError as error:
            what = f"a batch of {count} pictures does not fit in the device's memory"
            raise ResourceError(Problem(self.file.name, what, "a smaller --batch-size, or --device cpu")) from error

    def images(self, shown: NDArray[np.uint8]) -> torch.Tensor:
        """What the network is given for pixels (B, H, W, C) uint8: (B, C, H, W) fp32 on its device."""
        return normalise(torch.from_numpy(shown).to(self.device), self._mean, self._deviation)


def load_model(folder: str | Path, *, device: str = "auto", accept_licence: bool = False) -> Classifier:
    """The model in `folder`: a model's folder, a finished run's, or what `import-weights` wrote.

    Raises InputError when it is none or a byte of its weights is not as written, and when its licence rules out
    commercial use unless `accept_licence` says that this is known.
    """
    check_model(Path(folder), accept_licence)
    return Classifier(load_bundle(Path(folder)), device)


def views(image: Image.Image, view: View, tta: Tta) -> NDArray[np.uint8]:
    """The V views of a photograph that a network averages over: (V, H, W, C) uint8."""
    match tta:
        case "none":
            return show(image, view)[np.newaxis]
        case "flip":
            shown = show(image, view)
            return np.stack([shown, shown[:, ::-1]])
        case "ten-crop":
            return ten_crops(image, view)


def _ahead(
    pictures: Iterable[Picture], view: View, tta: Tta, batch: int
) -> Iterator[list[tuple[Picture, NDArray[np.uint8] | str]]]:
    """Batches of pictures as views, or the reason why one is no image; the next is read while one is used."""

    def prepared(one: Picture) -> NDArray[np.uint8] | str:
        try:
            return views(one.load(), view, tta)
        except images.BadImageError as error:
            return str(error)

    waiting = iter(pictures)
    with images.quiet(), ThreadPoolExecutor(max_workers=min(default_workers(), 16)) as pool:

        def submit() -> list[tuple[Picture, Future[NDArray[np.uint8] | str]]]:
            return [(one, pool.submit(prepared, one)) for one in islice(waiting, batch)]

        following = submit()
        while following:
            current, following = following, submit()
            yield [(one, future.result()) for one, future in current]


def _picture(item: str | Path | Image.Image, number: int) -> Picture:
    if isinstance(item, Image.Image):
        return Picture(f"image {number}", lambda: images.flatten(item))
    return picture(Path(item))
