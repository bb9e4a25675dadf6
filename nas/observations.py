"""What a study tells a sampler: points, their scores at each budget, and what must be avoided."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.neighbours import Point, Seen, Space, draw, filled, unseen
from nas.seeds import derive

FULL = math.inf
"""The budget of a final value that came without scores at rungs."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One trial, as far as it matters to a sampler.

    Attributes:
        number: of the trial.
        point: its parameters.
        scores: budget -> score, budgets rising, higher is better; empty while nothing is known.
        excess: highest value of its constraints; above 0 it is over a limit, None if it has none.
        pending: whether it is still being evaluated.
    """

    number: int
    point: Point
    scores: Mapping[float, float]
    excess: float | None
    pending: bool

    @property
    def allowed(self) -> bool:
        """Whether it is within every limit."""
        return self.excess is None or self.excess <= 0


@dataclass(frozen=True)
class Observations:
    """All trials but the one that is being proposed, by number, and the space they span.

    The space has every parameter that any trial had, with its latest distribution, so that a
    conditional parameter is known as soon as one trial had it.
    """

    every: tuple[Observation, ...]
    space: Space

    @cached_property
    def seen(self) -> Seen:
        """Points of all trials, whatever became of them.

        A trial whose parameters are still being suggested is left out: half a point would make
        every point that contains it count as seen.
        """
        whole = {tuple(one.point) for one in self.every if not one.pending}
        return Seen(
            one.point
            for one in self.every
            if not one.pending or one.scores or tuple(one.point) in whole
        )

    @cached_property
    def budget(self) -> float:
        """The lowest at which there is a score: the one that nearly all trials share."""
        return min((budget for one in self.every for budget in one.scores), default=FULL)

    @cached_property
    def scored(self) -> tuple[Observation, ...]:
        """Allowed trials with a score at the lowest budget, by number."""
        return tuple(one for one in self.every if one.allowed and self.budget in one.scores)

    def score(self, one: Observation) -> float:
        """Of one of ``scored``: at the lowest budget, where all compare."""
        return one.scores[self.budget]

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Numbers that are equal where values are, [trials, parameters]; -1 where there is none."""
        columns = []
        for name in self.space:
            labels: dict[Any, int] = {}
            columns.append(
                [
                    labels.setdefault(one.point[name], len(labels)) if name in one.point else -1
                    for one in self.every
                ]
            )
        return np.array(columns, np.int64).reshape(len(self.space), len(self.every)).T


def observe(study: optuna.Study, number: int) -> Observations:
    """What the study tells about all trials but ``number``; scores are turned to be maximised.

    Trials that only wait, or have no parameters yet, are left out.
    """
    sign = -1.0 if study.direction is StudyDirection.MINIMIZE else 1.0
    trials = _others(study, number)
    every = [
        Observation(
            number=trial.number,
            point=trial.params,
            scores={} if trial.state is TrialState.FAIL else _scores(trial, sign),
            excess=max(trial.constraints.values(), default=None),
            pending=trial.state is TrialState.RUNNING,
        )
        for trial in trials
    ]
    return Observations(tuple(every), _space(trials))


def _others(study: optuna.Study, number: int) -> list[FrozenTrial]:
    return [
        trial
        for place, trial in enumerate(study.get_trials(deepcopy=False))
        if place != number and trial.state is not TrialState.WAITING and trial.params
    ]


def _space(trials: list[FrozenTrial]) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for trial in reversed(trials):  # the latest first: of most others no name is new
        if not found.keys() >= trial.distributions.keys():
            found = {**trial.distributions, **found}
    return dict(sorted(found.items()))


def _scores(trial: FrozenTrial, sign: float) -> dict[float, float]:
    """What was reported at rungs; if there is nothing, the final value."""
    found: dict[float, float] = {}
    found.update(trial.intermediate_values.items())
    if trial.state is TrialState.COMPLETE and not found and trial.value is not None:
        found[FULL] = trial.value
    return {b: sign * s for b, s in sorted(found.items()) if math.isfinite(s)}


class PointSampler(BaseSampler):
    """Proposes whole points from a study's trials and a seed, and keeps no state.

    A subclass has one method, ``propose``. Parameters that no trial had so far are drawn at
    random, each from the seed and its own name: in whatever order they are asked for, and however
    often a search was killed between two of them, the values are the same.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def propose(self, known: Observations, rng: np.random.Generator) -> Point:
        """The next point, of some or all parameters of ``known.space``, which is not empty."""
        raise NotImplementedError

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        """Every parameter that any other trial had."""
        self._raise_error_if_multi_objective(study)
        return _space(_others(study, trial.number))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        """The proposed point; empty while no trial had a parameter."""
        if not search_space:
            return {}
        known = observe(study, trial.number)
        rng = np.random.default_rng(derive(self.seed, trial.number, "point"))
        return filled(self.propose(known, rng), known.space, rng)

    def sample_independent(
        self,
        study: optuna.Study,  # noqa: ARG002 - Optuna gives it to every sampler
        trial: FrozenTrial,
        param_name: str,
        param_distribution: Any,
    ) -> Any:
        """A parameter that is new to the study."""
        seed = derive(self.seed, trial.number, "parameter", param_name)
        return draw(param_distribution, np.random.default_rng(seed))


def random_point(known: Observations, rng: np.random.Generator) -> dict[str, Any]:
    """A point drawn from the whole space, new if one is found."""
    return unseen(lambda: filled({}, known.space, rng), known.seen)


def new_points(
    points: Iterable[Point], known: Observations, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Those of the points that are new, with what they lack filled in."""
    return [full for p in points if (full := filled(p, known.space, rng)) not in known.seen]
