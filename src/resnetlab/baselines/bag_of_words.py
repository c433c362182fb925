"""Bag of visual words with a linear SVM (scikit-learn): training and scoring. Writes no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnetlab.data.config import LabeledImages
from resnetlab.errors import input_error
from resnetlab.models.configs.bag_of_words import BagOfWordsConfig
from resnetlab.training.rng import derive_seed

Floats = NDArray[np.float64]

NUM_PATCHES = 100_000
"""Number of patches from which the whitening and the dictionary are learned."""
IMAGES_PER_BATCH = 250
"""Number of images whose patches are in memory at once."""
CONTRAST_EPSILON = 10.0
"""Added to a patch's variance before the division, for pixels 0 to 255 (Coates and Ng 2011)."""
SCORE_OF_ABSENT_CLASS = -1e30
"""Score of a class that no train image has: finite in fp32, and never the largest."""
WHITENING_EPSILON = 0.1
"""Constant added to the variances before whitening divides by them (Coates and Ng 2011)."""


@dataclass(frozen=True)
class FittedBagOfWords:
    """Trained bag of visual words: whitening, dictionary and SVM."""

    config: BagOfWordsConfig
    mean: Floats  # (D,)
    whitening: Floats  # (D, D)
    dictionary: Floats  # (words, D)
    weights: Floats  # (K, F)
    bias: Floats  # (K,)

    def decision_function(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return the SVM's scores (N, K) of images (N, H, W, C); the largest is predicted."""
        return (
            _features(pixels, self.config, self.mean, self.whitening, self.dictionary)
            @ self.weights.T
            + self.bias
        )


def fit(
    config: BagOfWordsConfig, train: LabeledImages, num_classes: int, seed: int
) -> FittedBagOfWords:
    """Train whitening and dictionary on random patches, then the SVM on the word counts.

    Raises InputError if the images are smaller than a patch, or all of one class.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.svm import LinearSVC

    config.patches_per_side(train.pixels.shape[1])
    if len(np.unique(train.labels)) < 2:
        fix = "use train images of two classes or more"
        raise input_error("the train images", "all of one class, which no SVM can separate", fix)
    generator = np.random.default_rng(derive_seed(seed, "words", "patches"))
    sample = _sample_patches(train.pixels, config, generator)
    mean = sample.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    whitening: Floats = (vectors / np.sqrt(np.maximum(values, 0) + WHITENING_EPSILON)) @ vectors.T
    kmeans = MiniBatchKMeans(
        min(config.words, len(sample)),
        batch_size=4096,
        n_init=1,
        max_iter=20,
        random_state=derive_seed(seed, "words", "dictionary") % 2**32,
    )
    dictionary: Floats = kmeans.fit((sample - mean) @ whitening).cluster_centers_
    features = _features(train.pixels, config, mean, whitening, dictionary)
    svm = LinearSVC(
        C=config.penalty, dual=False, random_state=derive_seed(seed, "words", "svm") % 2**32
    )
    svm.fit(features, train.labels)
    weights, bias = np.asarray(svm.coef_), np.asarray(svm.intercept_)
    if len(weights) == 1:  # for two classes scikit-learn stores only the second
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    # The rows of a class without train images are not fitted: it is never predicted.
    all_weights = np.zeros_like(weights, shape=(num_classes, weights.shape[1]))
    all_bias = np.full(num_classes, SCORE_OF_ABSENT_CLASS)
    all_weights[svm.classes_], all_bias[svm.classes_] = weights, bias
    return FittedBagOfWords(config, mean, whitening, dictionary, all_weights, all_bias)


def _sample_patches(
    pixels: NDArray[np.uint8], config: BagOfWordsConfig, generator: np.random.Generator
) -> Floats:
    """Return random patches (P, D), equally many of each image and about `NUM_PATCHES` in all."""
    each = max(1, NUM_PATCHES // len(pixels))
    return np.concatenate(
        [
            generator.permuted(part, axis=1)[:, :each].reshape(-1, part.shape[2])
            for part in _iter_patches(pixels, config)
        ]
    )


def _iter_patches(pixels: NDArray[np.uint8], config: BagOfWordsConfig) -> Iterator[Floats]:
    """Yield the patches (B, P, D) of batches of images, with zero mean and normalized contrast."""
    step = config.stride
    for start in range(0, len(pixels), IMAGES_PER_BATCH):
        part = pixels[start : start + IMAGES_PER_BATCH]
        windows = np.lib.stride_tricks.sliding_window_view(
            part, (config.patch, config.patch), axis=(1, 2)
        )
        patches = (
            windows[:, ::step, ::step]
            .reshape(len(part), -1, part.shape[3] * config.patch**2)
            .astype(np.float64)
        )
        patches -= patches.mean(axis=2, keepdims=True)
        yield patches / np.sqrt(patches.var(axis=2, keepdims=True) + CONTRAST_EPSILON)


def _features(
    pixels: NDArray[np.uint8],
    config: BagOfWordsConfig,
    mean: Floats,
    whitening: Floats,
    dictionary: Floats,
) -> Floats:
    """Return the square roots of each word's share in each region, (N, regions^2 x words)."""
    words, patches_per_side = len(dictionary), config.patches_per_side(pixels.shape[1])
    region_index = np.arange(patches_per_side) * config.regions // patches_per_side
    region = (region_index[:, None] * config.regions + region_index[None, :]).reshape(-1)  # (P,)
    projected, lengths = whitening @ dictionary.T, (dictionary**2).sum(axis=1) / 2
    length = config.regions**2 * words
    counts = []
    for part in _iter_patches(pixels, config):
        nearest = ((part - mean) @ projected - lengths).argmax(axis=2)  # (B, P): the least distance
        index = np.arange(len(part))[:, None] * length + region * words + nearest
        counts.append(
            np.bincount(index.reshape(-1), minlength=len(part) * length).reshape(len(part), length)
        )
    return np.sqrt(np.concatenate(counts) / (patches_per_side**2))
