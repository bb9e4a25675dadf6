"""The members of a space that is small enough to ask for all of them."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from search_spaces import NetworkSpace
from tests.strategies import fixed


def every_point(space: NetworkSpace) -> Iterator[dict[str, Any]]:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    space.suggest(trial)
    names = list(trial.distributions)
    for values in product(*map(_values, trial.distributions.values())):
        yield dict(zip(names, values, strict=True))


def members(space: NetworkSpace) -> int:
    """How many genomes are different."""
    return len({space.suggest(fixed(point)).key for point in every_point(space)})


def _values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, CategoricalDistribution)
    return list(distribution.choices)
