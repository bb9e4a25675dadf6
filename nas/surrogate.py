"""A surrogate of our own: a Gaussian process over encoded points and rungs, and mutated candidates.

Every proposal fits the process afresh to what the study holds, so no state is kept.
"""

import math
from typing import Any

import numpy as np

from nas.belief import Belief, Describe
from nas.neighbours import Point, crossed, filled, mutated, neighbours
from nas.observations import Observations, PointSampler, new_points, random_point

STARTS = 10
"""Random points before the first fit."""

PARENTS = 5
CANDIDATES = 300
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
    """

    def __init__(self, seed: int, describe: Describe | None = None) -> None:
        super().__init__(seed)
        self._describe = describe

    def propose(self, known: Observations, rng: np.random.Generator) -> Point:
        """See PointSampler."""
        if len(known.scored) < STARTS:
            return random_point(known, rng)
        belief = Belief.of(known, self._describe)
        pool = new_points(_pool(belief, known, rng), known, rng)
        best, worth = None, -math.inf
        for _ in range(CLIMB):
            if not pool:
                break
            values = belief.promise(pool)
            place = int(values.argmax())
            if values[place] <= worth:
                break
            best, worth = pool[place], float(values[place])
            pool = new_points(neighbours(best, known.space), known, rng)
        return random_point(known, rng) if best is None else best


def _pool(belief: Belief, known: Observations, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Candidates: neighbours of the best, further mutations and crossings, and random points."""
    points = [one.point for one in belief.trials]
    mean = belief.predict(points, belief.aim)[0]
    parents = [points[i] for i in np.argsort(-mean, kind="stable")[: 2 * PARENTS]]
    near = [n for parent in parents[:PARENTS] for n in neighbours(parent, known.space)]
    if len(near) > CANDIDATES:
        near = [near[i] for i in rng.choice(len(near), CANDIDATES, replace=False)]

    def parent() -> Point:
        chosen: Point = parents[rng.integers(len(parents))]
        return chosen

    third = CANDIDATES // 3
    pool = list(near)
    for _ in range(third):
        pool.append(mutated(parent(), known.space, rng, int(rng.integers(2, 4))))
        pool.append(crossed(parent(), parent(), rng))
        pool.append(filled({}, known.space, rng))
    return pool
