"""A sampler that proposes whole points: what is common to ours, with one method to be written."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from nas.axes import Array, Axes
from nas.observations import NOTE, Observations, observe
from nas.seeds import derive

TRIES = 100
"""Drawn points among which a new one is looked for."""

Leave = Callable[[Mapping[str, Any]], None]
"""Leaves JSON values with the trial that is proposed; later proposals find the latest ones."""


class PointSampler(BaseSampler):
    """Proposes whole points from a study's trials and a seed, and keeps no state.

    A subclass has one method, ``propose``. Parameters that no trial had so far are drawn at
    random, each from the seed and its own name: in whatever order they are asked for, and however
    often a search was killed between two of them, the values are the same.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def propose(self, known: Observations, rng: np.random.Generator, leave: Leave) -> Array:
        """The next point, a row of all or some parameters of ``known.axes``, which has some."""
        raise NotImplementedError

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        """Every parameter that any other trial had."""
        self._raise_error_if_multi_objective(study)
        return dict(observe(study, trial.number).axes.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        """The proposed point; empty while no trial had a parameter."""
        if not search_space:
            return {}
        known = observe(study, trial.number)
        rng = np.random.default_rng(derive(self.seed, trial.number, "point"))

        def leave(note: Mapping[str, Any]) -> None:
            study._storage.set_trial_system_attr(trial._trial_id, NOTE, note)

        row = self.propose(known, rng, leave)
        return known.axes.point(known.axes.filled(row[None], rng)[0])

    def sample_independent(
        self,
        study: optuna.Study,  # noqa: ARG002 - Optuna gives it to every sampler
        trial: FrozenTrial,
        param_name: str,
        param_distribution: Any,
    ) -> Any:
        """A parameter that is new to the study."""
        axes = Axes({param_name: param_distribution})
        seed = derive(self.seed, trial.number, "parameter", param_name)
        return axes.point(axes.drawn(1, np.random.default_rng(seed))[0])[param_name]


def random_point(known: Observations, rng: np.random.Generator) -> Array:
    """A row drawn from the whole space, new if one is found."""
    return first_new(known.axes.drawn(TRIES, rng), known)


def first_new(rows: Array, known: Observations) -> Array:
    """The first of the rows that was not seen; the last one if all were."""
    fresh = np.flatnonzero(~known.seen.among(rows))
    place = int(fresh[0]) if len(fresh) else len(rows) - 1
    return np.asarray(rows[place])


def new_points(rows: Array, known: Observations, rng: np.random.Generator) -> Array:
    """Those of the rows that are new, with what they lack filled in."""
    full = known.axes.filled(rows, rng) if np.isnan(rows).any() else rows
    return full[~known.seen.among(full)]
