"""A surrogate of our own: a Gaussian process over encoded points and rungs, and mutated candidates.

What it believes is read from the study for every proposal, so no state is kept.
"""

import math

import numpy as np

from nas.axes import Array, Ints, Used
from nas.belief import Belief, Describe
from nas.neighbours import crossed, mutated, neighbours
from nas.observations import Observations
from nas.point_sampler import Leave, PointSampler, new_points, random_point

STARTS = 10
"""Random points before the first fit."""

PARENTS = 5
CANDIDATES = 150
"""Neighbours of the best, and as many others. With 300 of each NAS-Bench-201 (CIFAR-10, 20 seeds)
gave no better after 50 and 100 full trainings."""

CLIMB = 4
"""Steps by which the best candidate is improved among its own neighbours."""


class SurrogateSampler(PointSampler):
    """Expected improvement over unseen neighbours, mutations and crossings of the best, and others.

    Over-limit trials never count as scores: a second process learns where the limit lies, and the
    improvement is multiplied by the probability of being within it. Points that are still being
    evaluated count with what is expected of them, so that parallel workers spread.

    Args:
        seed: of the candidates.
        describe: optional figures of a point, as further columns of its encoding.
        used: optional; which parameters of a point make a difference.
    """

    def __init__(
        self, seed: int, describe: Describe | None = None, used: Used | None = None
    ) -> None:
        super().__init__(seed)
        self._describe, self._used = describe, used

    def propose(self, known: Observations, rng: np.random.Generator, leave: Leave) -> Array:
        """See PointSampler."""
        if len(known.scored) < STARTS:
            return random_point(known, rng)
        belief = Belief.of(known, self._describe, self._used)
        if belief.note is not None:
            leave(belief.note)
        pool = new_points(_pool(belief, rng), known, rng)
        best, worth = None, -math.inf
        for _ in range(CLIMB):
            found = belief.most_promising(pool, worth)
            if found is None:
                break
            best, worth = pool[found[0]], found[1]
            pool = new_points(neighbours(known.axes, best[None]), known, rng)
        return random_point(known, rng) if best is None else best


def _pool(belief: Belief, rng: np.random.Generator) -> Array:
    """Candidates: neighbours of the best, further mutations and crossings, and random points."""
    axes = belief.known.axes
    order = np.argsort(-belief.means, kind="stable")[: 2 * PARENTS]
    parents = belief.known.rows[belief.places[order]]
    near = neighbours(axes, parents[:PARENTS])
    if len(near) > CANDIDATES:
        near = near[rng.choice(len(near), CANDIDATES, replace=False)]
    third = CANDIDATES // 3

    def chosen() -> Ints:
        return rng.integers(len(parents), size=third)

    return np.concatenate([
        near,
        mutated(axes, parents, chosen(), rng.integers(2, 4, size=third), rng),
        crossed(parents[chosen()], parents[chosen()], rng),
        axes.drawn(third, rng),
    ])  # fmt: skip
