"""Preprocessing and class names of well-known sources of weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnetlab.errors import input_error, suggest

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel of ImageNet's pixels, as in torchvision."""

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100_CLASSES = tuple(_CIFAR100_NAMES.split())

NAMED_CLASSES = ("cifar10", "cifar100", "imagenet")
"""Data sets whose class names `--classes` knows."""


@dataclass(frozen=True)
class WeightSource:
    """Preprocessing that the code of a repository states, for its numbers of outputs."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: dict[int, str]
    """Data set of the outputs, by their number."""
    zero_channels: Literal["", "both ends", "end"] = ""
    """Zero channels of its shortcut option A; empty if it has none."""


_CIFAR_MEAN, _CIFAR10, _CIFAR100 = (0.4914, 0.4822, 0.4465), {10: "cifar10"}, {100: "cifar100"}
_CIFAR10_STD = (0.2023, 0.1994, 0.2010)  # of images, not of all pixels: an early mistake, much used

REPOSITORIES = {
    "akamaster/pytorch_resnet_cifar10": WeightSource(
        IMAGENET_MEAN, IMAGENET_STD, _CIFAR10, "both ends"
    ),
    "kuangliu/pytorch-cifar": WeightSource(_CIFAR_MEAN, _CIFAR10_STD, _CIFAR10),
    "bearpaw/pytorch-classification": WeightSource(_CIFAR_MEAN, _CIFAR10_STD, _CIFAR10 | _CIFAR100),
    "chenyaofo/pytorch-cifar-models": WeightSource(_CIFAR_MEAN, _CIFAR10_STD, _CIFAR10),
    "chenyaofo/pytorch-cifar-models:cifar100": WeightSource(
        (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761), _CIFAR100
    ),
    "weiaicunzai/pytorch-cifar100": WeightSource(
        (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
        _CIFAR100,
    ),
    "pytorch/vision": WeightSource(IMAGENET_MEAN, IMAGENET_STD, {1000: "imagenet"}),
}
"""Well-known repositories of weights, by owner and name. The numbers are those of their code."""


def find_source(name: str, outputs: int | None = None) -> WeightSource:
    """Return the repository of that name, or of that owner.

    If it has several kinds of weights, that with `outputs` outputs is taken.
    Raises InputError if it has none.
    """
    matches = [key for key in REPOSITORIES if name in (key, key.split(":")[0], key.split("/")[0])]
    if not matches:
        fix = suggest(name, REPOSITORIES) or "give --mean, --std and --classes instead"
        allowed = ", ".join(REPOSITORIES)
        raise input_error("--repository", "unknown", fix, got=name, allowed=allowed)
    fitting = [key for key in matches if outputs in (None, *REPOSITORIES[key].classes)]
    if not fitting and len(matches) > 1:
        fix = "give --mean, --std and --classes instead"
        message = f"none of its weights has {outputs} outputs"
        raise input_error("--repository", message, fix, got=name, allowed=", ".join(matches))
    return REPOSITORIES[(fitting or matches)[0]]


def known_class_names(name: str) -> tuple[str, ...]:
    """Return the class names of one of `NAMED_CLASSES`, in the order of the outputs."""
    if name == "imagenet":
        from torchvision.models import ResNet18_Weights

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    return CIFAR10_CLASSES if name == "cifar10" else CIFAR100_CLASSES


def parse_classes(text: str) -> tuple[str, ...]:
    """Return the class names that `--classes` gives: a known data set, or a file with one a line.

    Raises InputError if a value does not fit.
    """
    if text in NAMED_CLASSES:
        return known_class_names(text)
    path = Path(text)
    allowed = f"{', '.join(NAMED_CLASSES)}, or a file with one name a line"
    if not path.is_file():
        raise input_error("--classes", "no such file", "give a file", got=text, allowed=allowed)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise input_error(text, "not a text in UTF-8", "save it as UTF-8") from None
    names = [name for name in names if name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        message = f'the name "{twice[0]}" occurs twice' if twice else "no names"
        raise input_error(text, message, "one name a line, in the order of the outputs")
    return tuple(names)


def parse_channels(text: str, option: str) -> tuple[float, ...]:
    """Return the numbers of `--mean` or `--std`, one per channel.

    Raises InputError if they are no numbers.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    positive = all(0 < value < 1 if option == "--std" else 0 <= value <= 1 for value in values)
    if len(values) not in (1, 3) or not positive:
        allowed = "one or three numbers for pixels from 0 to 1"
        fix = f"{option} 0.4914,0.4822,0.4465"
        raise input_error(option, "not a value per channel", fix, got=text, allowed=allowed)
    return values
