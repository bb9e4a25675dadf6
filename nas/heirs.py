"""Whose weights a new genome may begin with: a trained one that differs in a single choice.

Decided on the Optuna parameters, so it serves every space, and written down with the trial, so that
a search that goes on decides the same.
"""

import numpy as np
from optuna.trial import FrozenTrial

from nas.axes import Used
from nas.observations import Observations


def parent_of(known: Observations, child: FrozenTrial, used: Used | None) -> int | None:
    """Number of the best trained trial that differs from ``child`` in exactly one choice.

    A parameter that makes no difference in one of the two does not count: it came with the choice
    that made it matter, such as a further block with the depth.

    Args:
        known: all other trials.
        child: the new one; only its parameters count.
        used: which parameters matter; None for all.

    Returns:
        Of the candidates, the one with the most budget, then the best score, then the earliest;
        None if there is none.
    """
    if not len(known.rows) or not known.budgets:
        return None
    rows = np.vstack([known.rows, known.axes.rows([child.params])])
    if used is not None:
        rows = known.axes.without(rows, used)
    others, own = rows[:-1], rows[-1]
    apart = (others != own) & ~np.isnan(others) & ~np.isnan(own)
    trained = ~np.isnan(known.scores[:, 0])
    near = np.flatnonzero((apart.sum(1) == 1) & trained & known.allowed)
    if not len(near):
        return None
    reached = (~np.isnan(known.scores[near])).sum(1)
    scores = known.scores[near, reached - 1]
    order = np.lexsort((known.numbers[near], -scores, -reached))
    return int(known.numbers[near[order[0]]])
