"""Sentences and a contact sheet about the limits of crops and flips."""

from __future__ import annotations

import numpy as np
import torch

from resnetlab.data.config import Augment, Dataset
from resnetlab.data.contact_sheet import SheetRow, render_contact_sheet
from resnetlab.inspection.augmentation import (
    CLEAR_POINTS,
    FLIPPED,
    SAME_CLASS,
    SHIFTED,
    AugmentationLimits,
    crop_steps,
    image_variants,
    middle_place,
)

MAX_SHEET_ROWS = 10

CLEAR_LABELS_PCT = 50.0
"""Share of images whose nearest image has their label, from which it can judge a flip."""


def augmentation_sentences(limits: AugmentationLimits) -> list[str]:
    """Return the conclusions that the values support, computed by rule."""
    variants = limits.places * limits.flips
    images = variants * limits.train_images
    lines = [
        (
            f"Crops and flips give {limits.places} places x {limits.flips} = {variants} variants "
            f"of an image, {limits.distinct:.1f} different ones on average: at most {images:,} "
            f"from {limits.train_images:,} train images, all of the same objects in the same light."
        )
    ]
    correlations = limits.correlations
    copies = {name: correlations[name] for name in (SHIFTED, FLIPPED) if name in correlations}
    other = correlations.get(SAME_CLASS)
    if other is not None and copies:
        texts = " and ".join(f"{r:.2f} with {name}" for name, r in copies.items())
        conclusion = "only some of the copies vary less than new images would."
        if min(copies.values()) > other:
            conclusion = "the copies vary less than new images would."
        elif max(copies.values()) < other:
            conclusion = (
                "moved or mirrored pixels differ from it more than a new image of its class."
            )
        lines.append(
            f"An image correlates {texts}, and {other:.2f} with another image of its class: "
            f"{conclusion}"
        )
    if limits.labels:
        lines.append(_flip_sentence(limits))
    return lines


def _flip_sentence(limits: AugmentationLimits) -> str:
    weights = np.array([row["images"] for row in limits.labels], float)
    before, after = (
        float(np.average([row[name] for row in limits.labels], weights=weights))
        for name in ("same_label_pct", "same_label_flipped_pct")
    )
    text = (
        f"The nearest other train image has the label of {before:.1f} % of the images, and of "
        f"{after:.1f} % after a flip; "
    )
    if before < CLEAR_LABELS_PCT:
        return text + "that is too few to tell from pixels what a flip changes."
    if before - after < CLEAR_POINTS:
        return text + "by this measure a flip hardly changes what they show."
    worst = max(
        limits.labels, key=lambda row: row["same_label_pct"] - row["same_label_flipped_pct"]
    )
    percents = f"{worst['same_label_pct']:.0f} % to {worst['same_label_flipped_pct']:.0f} %"
    return text + (
        "by their pixels many flipped images look like another class, most of all those of class "
        f"{worst['class']} ({percents}, most often taken for {worst['most_frequent_other_label']})."
    )


def draw_variants(dataset: Dataset, augment: Augment, title: str) -> bytes:
    """Return a PNG: for each of the first classes an image, its outermost crops, and their flips.

    The crops are the one in the middle and the four in the corners.
    """
    steps = crop_steps(dataset.image_size, augment)
    places = steps**2
    columns = {"middle": middle_place(places)}
    if steps > 1:
        columns |= {"top left": 0, "top right": steps - 1}
        columns |= {"bottom left": places - steps, "bottom right": places - 1}
    if augment.flip:
        columns |= {f"{name}, flipped": places + number for name, number in columns.items()}
    rows = []
    for label, name in enumerate(dataset.classes[:MAX_SHEET_ROWS]):
        image = dataset.train.pixels[dataset.train.labels == label][0]
        variants = image_variants(torch.from_numpy(image), augment).numpy()
        rows.append(SheetRow(name, [image, *variants[list(columns.values())]]))
    return render_contact_sheet(rows, title, ["image", *columns])
