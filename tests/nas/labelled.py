"""Probabilities with labels, by hand and drawn, that tests of figures share."""

import numpy as np
from hypothesis import strategies as st

from nas.metrics import Labels, Probabilities


def pair(scores: list[float], labels: list[int]) -> tuple[Probabilities, Labels]:
    """Probabilities of two classes, from those of class 1."""
    second = np.array(scores, dtype=np.float64)
    return np.stack([1 - second, second], 1), np.array(labels, dtype=np.int64)


@st.composite
def two_classes(draw: st.DrawFn, least: int = 1) -> tuple[Probabilities, Labels]:
    """Few different scores, so that ties are many."""
    positive = draw(st.integers(least, 12))
    negative = draw(st.integers(least, 12))
    count = positive + negative
    eighths = draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
    labels = draw(st.permutations([1] * positive + [0] * negative))
    return pair([eighth / 8 for eighth in eighths], labels)


@st.composite
def many_classes(draw: st.DrawFn) -> tuple[Probabilities, Labels]:
    """Three to five classes, each with an image."""
    classes = draw(st.integers(3, 5))
    count = draw(st.integers(classes, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = rng.dirichlet(np.ones(classes), count)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    return probabilities, labels.astype(np.int64)


def names(probabilities: Probabilities) -> tuple[str, ...]:
    """Of the classes: A, B and so on."""
    return tuple("ABCDE"[: probabilities.shape[1]])


def clinic(n: int, seed: int = 0, shift: float = 2.0) -> tuple[Probabilities, Labels]:
    """Two classes in turn whose logits are normal and ``shift`` apart: calibrated for 2."""
    labels = np.arange(n) % 2
    logits = np.random.default_rng(seed).standard_normal(n) + shift * (labels - 0.5)
    scores = 1 / (1 + np.exp(-shift * logits))
    return np.stack([1 - scores, scores], 1), labels
