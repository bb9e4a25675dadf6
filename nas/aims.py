"""Several aims at once: a score to be maximised, and costs to be minimised beside it.

Samplers of Optuna's own see all aims. For samplers and schedulers that know one aim, trials are
shown with one number each: to samplers another mixture of the aims at every proposal, to schedulers
the place in the order of non-dominated sorting.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas.front import NOWHERE, Array, Direction, crowding, non_dominated, ranks
from nas.ledger import Ledger
from nas.scheduler import Standing
from nas.study import Ended, TrialRecord

BLEND = 0.05
"""Weight of the sum of all losses beside the largest one (Knowles 2006, section III)."""

Mixture = Callable[[Array, Array], Array]
"""Scores [n] and costs [n, aims - 1] -> one number each [n], higher is better."""


def directions(costs: int) -> list[Direction]:
    """Of a score and some costs."""
    return [Direction.MAXIMIZE] + [Direction.MINIMIZE] * costs


def chebyshev(weights: Array) -> Mixture:
    """The mixture of ParEGO (Knowles 2006, IEEE TEVC 10:1, equation 2), turned to be maximised.

    Losses are scaled to [0, 1] over the trials at hand; costs, which differ by powers of ten, by
    their logarithm.

    Args:
        weights: of the score and of every cost, at least 0, with a sum of 1.
    """

    def mixed(scores: Array, costs: Array) -> Array:
        losses = np.c_[-scores, np.log(np.maximum(costs, 1e-12))]
        low, high = losses.min(0), losses.max(0)
        weighed = (losses - low) / np.where(high > low, high - low, 1) * weights
        return np.asarray(-(weighed.max(1) + BLEND * weighed.sum(1)))

    return mixed


def score_alone(scores: Array, _: Array) -> Array:
    """The mixture in which costs do not count."""
    return scores


def drawn_weights(aims: int, rng: np.random.Generator) -> Array:
    """Weights [aims] drawn evenly from all that are at least 0 and have a sum of 1."""
    return rng.dirichlet(np.ones(aims))


def mixed_study(ledger: Ledger, mixture: Mixture) -> optuna.Study:
    """The study with one aim: what trials have scored so far, mixed at each budget by itself."""
    study = optuna.create_study(direction=StudyDirection.MAXIMIZE)
    trials = ledger.study.get_trials(deepcopy=False)
    values: list[dict[int, float]] = [{} for _ in trials]
    for budget in sorted({rung.budget for record in ledger.records for rung in record.rungs}):
        there = [(r, r.scores_at(budget)) for r in ledger.records if r.scores_at(budget)]
        scores = np.array([np.mean(found) for _, found in there])
        costs = ledger.costs([record.number for record, _ in there])
        for (record, _), value in zip(there, mixture(scores, costs), strict=True):
            values[record.number][budget] = float(value)
    for trial, known in zip(trials, values, strict=True):
        shown = copy.copy(trial)
        shown.intermediate_values, shown.values = known, None
        if known and trial.state is TrialState.COMPLETE:
            shown.state, shown.values = TrialState.PRUNED, [known[max(known)]]
        study.add_trial(shown)
    return study


def worth(scores: Sequence[float] | Array, costs: Array) -> Array:
    """[n] numbers that rise with the place in non-dominated sorting, then with the crowding.

    Args:
        scores: [n], higher is better.
        costs: [n, aims - 1], lower is better.
    """
    points = np.c_[np.asarray(scores, np.float64), costs]
    rank = ranks(points, directions(points.shape[1] - 1))
    below = np.where(rank == NOWHERE, len(points), rank)
    order = np.lexsort((-crowding(points, rank), below))
    place = np.empty(len(points))
    place[order] = np.arange(len(points))
    return -place


def ranked_standings(ledger: Ledger) -> list[Standing]:
    """How trials stand, with their worth at each rung in place of the score."""
    standings = ledger.standings()
    costs = ledger.costs([one.number for one in standings])
    scores: list[list[float]] = [[] for _ in standings]
    for rung in range(max((len(one.scores) for one in standings), default=0)):
        there = [place for place, one in enumerate(standings) if len(one.scores) > rung]
        values = worth([standings[place].scores[rung] for place in there], costs[there])
        for place, value in zip(there, values, strict=True):
            scores[place].append(float(value))
    return [
        Standing(one.number, tuple(own), one.paused)
        for one, own in zip(standings, scores, strict=True)
    ]


def front(records: Sequence[TrialRecord], aims: Sequence[str]) -> tuple[TrialRecord, ...]:
    """Of the trials that were trained furthest, those that no other one beats; best score first."""
    scored = [r for r in records if r.score is not None and r.ended is not Ended.DUPLICATE]
    furthest = max((record.budget for record in scored), default=0)
    there = [record for record in scored if record.budget == furthest]
    points = [[record.means[-1], *(record.facts[name] for name in aims)] for record in there]
    found = [there[place] for place in non_dominated(points, directions(len(aims)))]
    return tuple(sorted(found, key=lambda record: (-(record.score or 0.0), record.number)))
