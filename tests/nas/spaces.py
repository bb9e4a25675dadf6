"""Distributions of every kind, and a cell of categories."""

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

CELL: dict[str, BaseDistribution] = {
    f"edge_{i}": CategoricalDistribution(("none", "skip", "a", "b", "c")) for i in range(6)
}

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution((None, True, 2, "x")),
    "one": CategoricalDistribution(("only",)),
    "depth": IntDistribution(2, 8),
    "even": IntDistribution(0, 30, step=2),
    "width": IntDistribution(1, 1024, log=True),
    "still": IntDistribution(3, 3),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "share": FloatDistribution(-1.0, 1.0),
    "tenth": FloatDistribution(0.0, 1.0, step=0.1),
}


def allowed(name: str, value: object) -> bool:
    """Whether a distribution has the value, of the right type."""
    distribution = DISTRIBUTIONS[name]
    if isinstance(distribution, IntDistribution):
        assert type(value) is int
    return distribution._contains(distribution.to_internal_repr(value))
